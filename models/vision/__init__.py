"""Models that look at pictures: detectors, segmenters, captioners.

- `interfaces`: the protocols that callers name, and how a further model joins.
- `grounding_dino`: the detector, with its checkpoints and two backends.
- `sam`: the segmenter.
- `captioning`: captions and answers by any vision-language model of the transformers library.
- `question_answering`, `similarity`, `depth`: what benchmarks ask besides (BLIP, CLIP, DPT and the like).
- `checklist`: a layout as questions, and the share of yes.
- `loading`: folders and names of that library, and errors in the user's words.
"""
