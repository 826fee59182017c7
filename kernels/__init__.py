"""The packed scorer and its float64 reference; the CUDA kernel will live here."""
