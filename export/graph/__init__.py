"""Any ONNX graph: reading it, checking it, writing nodes into it, and the file that ships."""
