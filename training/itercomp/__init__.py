"""Training of rewards, and of UNets by them."""
