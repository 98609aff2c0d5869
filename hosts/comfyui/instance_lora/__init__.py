"""A LoRA that acts on one instance of a layout alone."""
