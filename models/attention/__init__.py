"""Attention probabilities and heat maps of them."""
