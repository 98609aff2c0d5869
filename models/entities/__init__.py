"""Entities of a prompt: nouns with the words that describe them."""
