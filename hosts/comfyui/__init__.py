"""Instance Composer inside ComfyUI."""
