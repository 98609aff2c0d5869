"""The demo model: the stages that train it, and its packing."""
