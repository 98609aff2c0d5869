"""Routes of the pack on ComfyUI's server, which the layout editor asks."""
