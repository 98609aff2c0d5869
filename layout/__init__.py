"""The layout document: what goes where. Standard library only."""
