"""Checkpoints: UNets, text encoders and VAEs from files, and deltas between UNets."""
