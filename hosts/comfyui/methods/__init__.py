"""Methods that evaluations compare, and the process that samples with them."""
