"""Rectified flow: its objective, the texts it is told, and its sampling."""
