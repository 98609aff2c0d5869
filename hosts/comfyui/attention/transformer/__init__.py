"""Transformers (DiTs): texts joined to the prompt's, and attention that lets each row see what it may."""
