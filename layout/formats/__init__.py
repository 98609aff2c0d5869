"""Importers and exporters, one format per file."""
