"""The typed half of an export: ``backbone.onnx`` in fp32, fp16 or int8, and the gate its decisions pass."""
