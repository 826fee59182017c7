"""From uint8 frames of any size to the network's input, as ONNX nodes."""
