"""Published benchmarks by name, a module each: it is a `PublishedBenchmark`, and reads and makes its data.

`read(data, limit)` gives the cases of the user's copy; `write_tiny(folder, number)` writes Shapes World in
the same form and gives the sample of each unit (a prompt).
"""

from __future__ import annotations

from . import coco_mig, ifg, layoutsam_eval, overlap, t2i_compbench

BENCHMARKS = {one.name: one for one in (ifg, coco_mig, t2i_compbench, layoutsam_eval, overlap)}
