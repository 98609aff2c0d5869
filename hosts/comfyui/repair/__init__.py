"""Repair: one instance of a finished picture drawn again."""
