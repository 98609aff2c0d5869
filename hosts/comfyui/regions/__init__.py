"""Regions of a layout drawn by attention alone, without an adapter."""
