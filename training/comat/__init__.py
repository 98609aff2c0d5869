"""CoMat (arXiv 2404.03653): a LoRA trained by captioner, masks and discriminator on the model's own pictures."""
