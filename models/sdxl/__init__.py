"""SDXL's UNet on disk and by name, for everything that loads, compares or changes one.

- `files`: the file format. `open_unet` opens a diffusers folder or a single file and reads its headers.
- `names`: the names of weights, diffusers' ones and the original ones, and the groups of blocks.
- `architecture`: the sizes of a UNet, inferred from names and shapes, and what a file holds that is no SDXL.
- `attention_layers`: the numbers that IFAdapter's checkpoints give to the UNet's cross-attention layers.
"""
