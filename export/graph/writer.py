"""Write ONNX nodes into a graph that already exists, with onnx-ir."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import ExportError, UnsupportedGraphError, import_extra, suggestion

if TYPE_CHECKING:
    import onnx_ir as ir

# ReduceSum and Unsqueeze took their present form in 13, the other reductions in 18.
OLDEST_OPSET = 13
_AXES_INPUT_SINCE = {"ReduceSum": 13}


def import_onnx_ir() -> Any:
    """Return the onnx_ir module; raises MissingDependencyError with the install line."""
    return import_extra("onnx_ir", extra="export", purpose="building the graph")


class NodeWriter:
    """Records nodes and constants, then puts them into a graph at once.

    Every name starts with ``prefix``, so that it cannot meet a name of the graph it goes into.
    """

    def __init__(self, model: "ir.Model", prefix: str) -> None:
        """Make a writer for ``model``.

        Raises:
            UnsupportedGraphError: the model's opset is older than 13.
        """
        self._ir = import_onnx_ir()
        self._tape = self._ir.tape.Tape()
        self._graph = model.graph
        self._prefix = prefix
        self._constants: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}
        self._opset = model.opset_imports.get("", 0)
        if self._opset < OLDEST_OPSET:
            raise UnsupportedGraphError(
                f"the ONNX opset must be {OLDEST_OPSET} or later; got {self._opset}; "
                "export the classifier again with opset 18"
            )

    def op(self, op_type: str, *inputs: "ir.Value", name: str | None = None, **attributes: Any) -> "ir.Value":
        """Add one node with one output.

        Args:
            op_type: the operator's name.
            inputs: its inputs, in order.
            name: the output's name; made up if None.
            attributes: the operator's attributes.
        """
        value: ir.Value = self._tape.op(op_type, list(inputs), attributes)
        number = len(self._tape.nodes)
        value.name = name or f"{self._prefix}/{op_type.lower()}_{number}"
        node = value.producer()
        assert node is not None
        node.name = f"{self._prefix}/node_{number}"
        return value

    def reduce(
        self, op_type: str, value: "ir.Value", axes: Sequence[int], *, keepdims: bool = True
    ) -> "ir.Value":
        """Add a reduction over ``axes``, in the form that the model's opset has."""
        if self._opset >= _AXES_INPUT_SINCE.get(op_type, 18):
            return self.op(op_type, value, self.constant(np.array(axes, np.int64)), keepdims=int(keepdims))
        return self.op(op_type, value, axes=list(axes), keepdims=int(keepdims))

    def constant(self, array: NDArray[Any], name: str | None = None) -> "ir.Value":
        """Return an initialiser of this value; unnamed equal ones are shared."""
        array = np.asarray(array, order="C")
        key = (array.dtype.str, array.shape, array.tobytes())
        if name is None and key in self._constants:
            return self._constants[key]
        label = name or f"{self._prefix}/constant_{len(self._tape.initializers)}"
        value: ir.Value = self._tape.initializer(self._ir.tensor(array, name=label))
        if name is None:
            self._constants[key] = value
        return value

    def insert_first(self) -> None:
        """Put what was recorded before the graph's first node."""
        self._register()
        if len(self._graph):
            self._graph.insert_before(self._graph[0], self._tape.nodes)
        else:
            self._graph.extend(self._tape.nodes)

    def append(self) -> None:
        """Put what was recorded after the graph's last node."""
        self._register()
        self._graph.extend(self._tape.nodes)

    def _register(self) -> None:
        for value in self._tape.initializers:
            self._graph.register_initializer(value)


def find_value(model: "ir.Model", name: str) -> "ir.Value":
    """Return the value called ``name``: an input, an initialiser or the output of a node.

    Raises:
        ExportError: there is none.
    """
    values = {value.name: value for node in model.graph for value in node.outputs if value.name}
    values.update(model.graph.initializers)
    values.update({value.name: value for value in model.graph.inputs if value.name})
    if name in values:
        return values[name]
    raise ExportError(
        f"the ONNX graph has no tensor named {name!r}{suggestion(name, values)}; a viewer such as Netron "
        "shows the names of all tensors"
    )


def claim_name(model: "ir.Model", name: str, owner: "ir.Value | None" = None) -> None:
    """Free ``name``: a value other than ``owner`` that has it is renamed ``name__classifier``."""
    values = [*model.graph.inputs, *model.graph.initializers.values()]
    values += [value for node in model.graph for value in node.outputs]
    taken = {value.name for value in values}
    for value in values:
        if value.name == name and value is not owner:
            new = f"{name}__classifier"
            while new in taken:
                new += "_"
            value.name = new
            return
