"""Evaluation: methods of drawing measured against each other, benchmark by benchmark."""
