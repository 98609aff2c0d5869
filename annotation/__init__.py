"""Pictures to training data: what is where in them, and what each thing looks like."""
