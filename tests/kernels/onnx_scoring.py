"""The scoring nodes of a bundle's graph on onnxruntime, on the inputs of a case of the kernel."""

from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
from fused_cases import Inputs

from edgeosr.export.graph.assemble import model_bytes
from edgeosr.export.scoring_graph import add_scoring
from edgeosr.scoring.activations import activate
from edgeosr.scoring.reference import closed_form_squared, probes_squared
from edgeosr.scoring.scorer import Scorer


def onnx_verdicts(scorer: Scorer, inputs: Inputs) -> list[Any]:
    """Label, score and values of the scoring nodes on onnxruntime, from z and |dz/dh|_F^2."""
    if inputs.map is not None:
        form = scorer.closed_form
        assert form is not None
        activated, slopes = activate(form.activation, form.parameters, inputs.map.astype(np.float64))
        z, squared = activated.mean(axis=(2, 3)), closed_form_squared(form, slopes)
    else:
        assert inputs.embedding is not None
        z, squared = inputs.embedding.astype(np.float64), None
        if scorer.probes is not None:
            assert inputs.tangents is not None
            unit = z / np.linalg.norm(z, axis=1, keepdims=True)
            squared = probes_squared(scorer.probes, unit, inputs.tangents.astype(np.float64))
    feeds = {"z": z}
    if squared is not None:
        feeds["squared"] = squared
    if inputs.logits is not None:
        feeds["own"] = inputs.logits
    values = {}
    for name, array in feeds.items():
        shape = ir.Shape(["N", *array.shape[1:]])
        values[name] = ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT), shape=shape)
    same = {name: ir.Node("", "Identity", [value]) for name, value in values.items()}
    for name, node in same.items():
        node.outputs[0].name, node.outputs[0].shape = f"{name}_in", values[name].shape
        node.outputs[0].dtype = ir.DataType.FLOAT
    graph = ir.Graph(
        list(values.values()),
        [same["z"].outputs[0]],
        nodes=list(same.values()),
        opset_imports={"": 18},
        name="g",
    )
    model = ir.Model(graph, ir_version=10)
    add_scoring(
        model,
        scorer,
        embedding="z_in",
        logits="own_in" if "own" in feeds else None,
        jacobian_squared=None if squared is None else "squared_in",
    )
    session = onnxruntime.InferenceSession(model_bytes(model), providers=["CPUExecutionProvider"])
    found = session.run(
        ["label", "score", "values"], {name: array.astype(np.float32) for name, array in feeds.items()}
    )
    return list(found)
