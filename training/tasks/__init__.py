"""What is trained: one `Task` per file."""
