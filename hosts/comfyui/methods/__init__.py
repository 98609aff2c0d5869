"""Methods of drawing by the names of `generation`, and the process that samples with them."""
