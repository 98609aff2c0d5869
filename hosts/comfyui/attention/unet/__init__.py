"""Cross-attention of SDXL's UNet: its blocks, the patch on them, and one call of the UNet."""
