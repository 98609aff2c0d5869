"""Placement: do things stand where the layout puts them, by method of placing."""
