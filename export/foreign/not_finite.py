"""Class scores that are not finite: on how many images, and where in the graph they begin."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import EdgeosrError, ExportError, import_extra
from edgeosr.export.foreign.own_model import OwnModel
from edgeosr.runtime.sessions import SessionSettings, open_session, run_session


@dataclass(frozen=True)
class _Graph:
    """A model with its weights and what it computed on one image, by tensor."""

    proto: Any
    weights: dict[str, NDArray[Any]]
    computed: dict[str, NDArray[Any]]

    def is_bad(self, name: str) -> bool:
        return any(_bad(values.get(name)) for values in (self.weights, self.computed))


def told(count: int, images: int, own: OwnModel, inputs: NDArray[np.float32]) -> str:
    """Return what is wrong, in a sentence without its end.

    Args:
        count: images whose scores are not finite.
        images: how many were looked at.
        own: the model.
        inputs: one of those images as the model takes it, ``[1, 3, height, width]``.
    """
    start = f"the model's class scores are not finite (NaN or infinite) on {count} of {images} known images"
    try:
        place = _place(own, inputs)
    except (EdgeosrError, LookupError, ValueError):  # what cannot be looked into is told without the place
        place = ""
    return f"{start}{place}"


def refused(sentence: str) -> ExportError:
    """Return the error for a model with scores that are not finite."""
    return ExportError(
        f"{sentence}; export it again from weights that are finite, in float32, and check what it needs: "
        "--preprocessing, --mean, --std"
    )


def _place(own: OwnModel, inputs: NDArray[np.float32]) -> str:
    graph = _computed(own, inputs)
    makers = {name: node for node in graph.proto.graph.node for name in node.output}
    name, seen = own.logits_name, set[str]()
    while name in makers and name not in seen and graph.is_bad(name):
        seen.add(name)
        node = makers[name]
        of_node = f"the node {node.name or node.output[0]!r} ({node.op_type})"
        stored = next((one for one in node.input if _bad(graph.weights.get(one))), None)
        if stored is not None:
            values = graph.weights[stored]
            bad = int((~np.isfinite(values)).sum())
            return f": {bad} of {values.size} values of the weights {stored!r} are not, which {of_node} reads"
        before = next((one for one in node.input if graph.is_bad(one)), None)
        if before is None:
            return f": they begin with the tensor {name!r}, which {of_node} makes of finite numbers"
        name = before
    return ""


def _computed(own: OwnModel, inputs: NDArray[np.float32]) -> _Graph:
    onnx = import_extra("onnx", extra="export", purpose="looking for numbers that are not finite")
    proto, given = own.proto()
    weights = {one.name: onnx.numpy_helper.to_array(one) for one in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    weights[node.output[0]] = onnx.numpy_helper.to_array(attribute.t)
    names = [name for node in proto.graph.node for name in node.output if name]
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    settings = SessionSettings(threads=1, optimisation="none")
    session = open_session(proto.SerializeToString(), settings, name="the model")
    found = run_session(session, names, {given: inputs}, name="the model")
    return _Graph(proto, weights, dict(zip(names, found, strict=True)))


def _bad(values: Any) -> bool:
    return (
        isinstance(values, np.ndarray)
        and np.issubdtype(values.dtype, np.floating)
        and not bool(np.isfinite(values).all())
    )
