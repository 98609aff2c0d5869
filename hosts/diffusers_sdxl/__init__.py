"""Instance Composer on diffusers, for SDXL."""
