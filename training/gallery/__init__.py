"""Members of a gallery at work: how each draws, the sampling of all of them, and judges of their pictures."""
