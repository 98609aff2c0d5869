"""Segment Entities: detection, outlines, and the files they need."""
