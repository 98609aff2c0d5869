"""SDXL's UNet: its architecture, its weight files and names, its attention layers."""
