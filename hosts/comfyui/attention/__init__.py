"""Attention of ComfyUI's models: terms on conditionings, and the wrappers and patches that run them."""
