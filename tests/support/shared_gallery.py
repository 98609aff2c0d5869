"""`shared_gallery.py RUN`: the pictures of the member "sdxl" for all prompts, shared among the processes."""

from __future__ import annotations

import sys
from pathlib import Path

from instance_composer.rankings.gallery import read_gallery
from instance_composer.training.gallery.sampling import sample

if __name__ == "__main__":
    run = Path(sys.argv[1])
    gallery = read_gallery(run)
    sample(run, gallery, [gallery.members["sdxl"]], gallery.prompts)
