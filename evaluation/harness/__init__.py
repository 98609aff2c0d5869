"""Harness of published benchmarks: cases, drawing, measuring and reporting, each step on disk and resumable.

- `cases`: what is to be drawn, frozen in one file with a checksum.
- `run_folder`: the folder of a run: pictures of each way, findings of each model.
- `drawing`: missing pictures are drawn; `measuring`: missing findings are made, one model at a time.
- `results`: findings to measures with intervals; `report`: tables, a plot and a sheet of best and worst.
"""
