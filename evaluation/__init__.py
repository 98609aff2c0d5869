"""How well methods put things where they belong, measured on Shapes World in real ComfyUI."""
