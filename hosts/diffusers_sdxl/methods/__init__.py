"""Methods of `generation/diffusers_methods.py`, functions of a request, and the drawer that runs them."""
