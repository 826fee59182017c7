"""Forward-mode differentiation of an ONNX graph: from directions at a cut to the embedding's tangents."""
