"""The mathematics, in pure torch: nothing here knows a host."""
