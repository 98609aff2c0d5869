"""CoMat (arXiv 2404.03653): a LoRA trained by what captioner, masks and discriminator say of pictures."""
