"""Grounding DINO: its checkpoints, its backends, and detection by it."""
