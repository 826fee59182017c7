"""What decides: parts of the unknown score, the scorer that computes them, fusion, threshold. NumPy only."""
