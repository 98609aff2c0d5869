"""Grounding DINO (arXiv 2303.05499): boxes of nouns in pictures.

- `detector`: pixels and nouns in, boxes out; `captions` is its text, `noun_rules` the choice of nouns.
- `pixels`: a tensor's picture prepared for it; `picture_detector`: Pillow pictures, for annotation.
- `backend_transformers`, `backend_groundingdino`: the network, by either library.
- `original`, `conversion`: checkpoints of the original code, and their names in transformers.
"""
