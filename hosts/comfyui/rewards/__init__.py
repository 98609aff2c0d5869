"""Composition rewards: their folder, and scores of pictures."""
