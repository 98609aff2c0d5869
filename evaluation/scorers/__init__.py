"""Scorers: a picture and what was asked of it, to plain values."""
