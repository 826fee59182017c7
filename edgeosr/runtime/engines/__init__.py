"""TensorRT engines of a bundle: what can be built and loaded here, building, and keeping the plans."""
