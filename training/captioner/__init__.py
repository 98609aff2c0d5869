"""Training of a small captioner of Shapes World, a frozen judge of likelihood for other training."""
