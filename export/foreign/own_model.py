"""The deployed model itself, run by onnxruntime on what its own preprocessing would give it."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import EdgeosrError, import_extra
from edgeosr.export.foreign.logits import ADDED
from edgeosr.export.foreign.recipe import normalised
from edgeosr.export.graph.image_input import GREY_NOTE
from edgeosr.export.scored_graph import ClassifierGraph
from edgeosr.export.threads import graph_threads
from edgeosr.files import storage_errors
from edgeosr.preprocessing import Preprocessing
from edgeosr.runtime.sessions import SessionSettings, open_session, run_session

_BATCH = 16


class OwnModel:
    """A deployed classifier's logits.

    The file itself is run where it has the tensor of the logits (or that of which they are a multiple, or the
    same with the other sign, which is made of it) and takes images as edgeosr gives them
    (``[batch, 3, height, width]``); else the graph that was made of it.

    Attributes:
        is_the_file: True if it is the file itself that runs.
        grey: True if its own input is grey: one mean and one std, and no order of colours.
        logits_name: the tensor that is its logits.
    """

    def __init__(self, path: Path, classifier: ClassifierGraph, threads: int | None = None) -> None:
        """Load the model; what cannot run as the file says runs as the exporter reads it."""
        assert classifier.logits is not None, "a classifier with a head of its own"
        threads = threads or graph_threads(classifier.graph)
        settings = SessionSettings(threads=threads)
        self.logits_name, self._path, self._classifier = classifier.logits, path, classifier
        self._batch = _BATCH
        self.is_the_file = self.grey = False
        try:
            model, self._input, batch = _file_with_logits(path, classifier)
            self._session = open_session(model, settings, name=str(path))
            self._batch = batch or _BATCH
            self.logits(np.zeros((1, 3, *_size(classifier)), np.float32))
            self.is_the_file = True
        except (EdgeosrError, LookupError):
            self._batch, self._input = _BATCH, classifier.input_name
            proto = _parsed(classifier.graph)
            self.grey = any(entry.key == GREY_NOTE for entry in proto.metadata_props)
            graph = _with_output(proto, classifier.logits)
            self._session = open_session(graph, SessionSettings(threads=threads), name=str(path))

    def logits(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return float32 ``[n, C]`` for normalised images ``[n, 3, height, width]``, n >= 1."""
        found = []
        for start in range(0, len(inputs), self._batch):
            part = inputs[start : start + self._batch]
            given = part
            if len(part) < self._batch < _BATCH:  # a batch that is frozen into the file
                given = np.concatenate([part, np.repeat(part[-1:], self._batch - len(part), axis=0)])
            (logits,) = run_session(self._session, [self.logits_name], {self._input: given}, name="the model")
            found.append(logits.reshape(len(given), -1)[: len(part)])
        return np.concatenate(found).astype(np.float32)

    def proto(self) -> tuple[Any, str]:
        """Return the model that runs, as ``onnx`` parses it, and the name of its input."""
        if self.is_the_file:
            return _parsed(_file_with_logits(self._path, self._classifier)[0]), self._input
        return _parsed(self._classifier.graph), self._input

    def logits_of(
        self, images: Sequence[NDArray[np.uint8]], preprocessing: Preprocessing
    ) -> NDArray[np.float32]:
        """Return float32 ``[n, C]`` for fitted uint8 ``[height, width, 3]``, a few at a time; n >= 1."""
        parts = (images[start : start + _BATCH] for start in range(0, len(images), _BATCH))
        return np.concatenate([self.logits(normalised(np.stack(part), preprocessing)) for part in parts])


def top_classes(logits: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return int64 ``[n]``, the class of the largest of ``[n, C]``; the first of equal ones."""
    return np.asarray(logits.argmax(axis=1), np.int64)


def _size(classifier: ClassifierGraph) -> tuple[int, int]:
    return classifier.preprocessing.height, classifier.preprocessing.width


def _file_with_logits(path: Path, classifier: ClassifierGraph) -> tuple[bytes, str, int | None]:
    """Return the file with its logits as an output, its input's name and its batch (None: any)."""
    with storage_errors("read", path):
        proto = _parsed(path.read_bytes())
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in weights]
    made = {name for node in proto.graph.node for name in node.output}
    sizes = [dim.dim_value for dim in inputs[0].type.tensor_type.shape.dim] if len(inputs) == 1 else []
    if len(sizes) != 4 or sizes[1] != 3 or sizes[0] > _BATCH:
        raise LookupError(path)
    if classifier.logits not in made:
        _add_end(proto, classifier, made)
    return _with_output(proto, str(classifier.logits)), str(inputs[0].name), sizes[0] or None


def _add_end(proto: Any, classifier: ClassifierGraph, made: Collection[str]) -> None:
    """Put what ``logits.py`` added behind a tensor of the file, such as another sign, behind it there too.

    Raises:
        LookupError: the logits are made of something else.
    """
    graph = _parsed(classifier.graph).graph
    makers = {name: node for node in graph.node for name in node.output}
    nodes, name = list[Any](), str(classifier.logits)
    while name not in made:
        node = makers.get(name)
        if node is None or not node.name.startswith(ADDED):
            raise LookupError(name)
        nodes.insert(0, node)
        name = node.input[0]
    read = {name for node in nodes for name in node.input[1:]}
    proto.graph.initializer.extend(tensor for tensor in graph.initializer if tensor.name in read)
    proto.graph.node.extend(nodes)


def _parsed(data: bytes) -> Any:
    onnx = import_extra("onnx", extra="export", purpose="running the model itself")
    return onnx.load_model_from_string(data)


def _with_output(proto: Any, name: str) -> bytes:
    onnx = import_extra("onnx", extra="export", purpose="running the model itself")
    graph = proto.graph
    if name not in {value.name for value in graph.output}:
        graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    data: bytes = proto.SerializeToString()
    return data
