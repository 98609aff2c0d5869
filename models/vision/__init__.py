"""Models that look at pictures: detectors, segmenters, captioners.

- `interfaces`: the protocols that callers name, and how a further model joins.
- `grounding_dino`: the detector, with its checkpoints and two backends.
- `sam`: the segmenter.
- `captioning`: captions by any vision-language model of the transformers library.
- `loading`: folders and names of that library, and errors in the user's words.
"""
