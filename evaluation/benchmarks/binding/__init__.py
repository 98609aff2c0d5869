"""Binding: do attributes stay on their nouns, by method of guidance."""
