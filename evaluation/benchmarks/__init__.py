"""Benchmarks: one package each, with its plan, its scores and its report."""
