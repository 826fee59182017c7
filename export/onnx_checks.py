"""Two functions under the name of the module that they first had; scripts of users import it."""

from edgeosr.export.closed_form.pooling import find_embedding
from edgeosr.export.graph.checks import load_classifier_onnx

__all__ = ["find_embedding", "load_classifier_onnx"]
