"""Training of IFAdapters, reward models, tuned UNets and the demo model, on one loop."""
