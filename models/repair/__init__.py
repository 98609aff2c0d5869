"""Repair: which part of a picture is drawn again, and how it is put back."""
