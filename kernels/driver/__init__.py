"""CUDA driver calls, streams and graphs, and arrays of other libraries where they lie."""
