"""Finding things in pictures: what Segment Entities needs of Grounding DINO, without a host."""
