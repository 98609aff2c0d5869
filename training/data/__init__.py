"""Data of training runs: pictures, latents, prompts and rankings, by number."""
