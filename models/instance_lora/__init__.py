"""A LoRA for one instance: low-rank changes of layers, added where the instance is and nowhere else."""
