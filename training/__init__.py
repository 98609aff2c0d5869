"""Training: the demo world, its models and judge, and the loop that trains IFAdapters on any SDXL."""
