"""One package per host application; the only code that touches a host."""
