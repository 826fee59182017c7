"""The rung that needs a device: is the compiled kernel right there, and how fast."""
