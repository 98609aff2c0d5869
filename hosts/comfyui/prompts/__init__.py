"""Prompts as ComfyUI's CLIP reads them: syntax, tokens, entities."""
