"""Training of IFAdapters."""
