"""IFAdapter: its weights, its folder, and its term on a MODEL."""
