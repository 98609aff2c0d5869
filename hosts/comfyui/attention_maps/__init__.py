"""Attention maps: recorded while sampling, shown as heat maps."""
