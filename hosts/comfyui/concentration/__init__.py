"""Attribute concentration while sampling, local and through the latent."""
