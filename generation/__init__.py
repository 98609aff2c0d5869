"""Generation: jobs for pictures, names of the methods that draw them, and the processes that do."""
