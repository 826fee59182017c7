"""ONNX files that nobody vouches for, read before onnxruntime: the wire format, and what is allowed."""
