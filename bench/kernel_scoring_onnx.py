"""The scoring part of model.onnx for a case of the kernel's selftest, cut at the map."""

from typing import Any

from edgeosr.bundle.tensors import LABEL, MAP, SCORE, VALUES
from edgeosr.errors import UsageError, import_extra
from edgeosr.export.closed_form.jacobian import add_closed_form
from edgeosr.export.graph.assemble import model_bytes
from edgeosr.export.graph.writer import import_onnx_ir
from edgeosr.export.scoring_graph import add_scoring
from edgeosr.kernels.selftest.cases import SelftestCase, case_filters, case_scorer


def scoring_onnx(case: SelftestCase) -> bytes:
    """Return the graph that the export makes behind the last convolution, batch and map of fixed size.

    Its input is ``map`` float32 ``[B, D, H, W]``, its outputs ``label``, ``score`` and ``values``.

    Args:
        case: a ReLU map; the convolution has the case's filters, so that the closed form has its table.

    Raises:
        UsageError: another source or activation.
        MissingDependencyError: the export extra is not installed.
    """
    if not case.size or case.activation != "relu":
        raise UsageError(f"the scoring part is made for a ReLU map; got {case.name}")
    onnx = import_extra("onnx", extra="export", purpose="building the scoring part for TensorRT")
    utils = import_extra("onnx.utils", extra="export", purpose="building the scoring part for TensorRT")
    model = import_onnx_ir().from_proto(onnx.shape_inference.infer_shapes(_classifier(onnx, case)))
    added = add_closed_form(model)
    add_scoring(
        model,
        case_scorer(case),
        embedding=added.embedding,
        jacobian_squared=added.jacobian_squared,
        map=added.map,
    )
    whole: Any = onnx.load_from_string(model_bytes(model))
    inferred = onnx.shape_inference.infer_shapes(whole)
    part = utils.Extractor(inferred).extract_model([MAP], [LABEL, SCORE, VALUES])
    shape = part.graph.input[0].type.tensor_type.shape
    for axis, size in zip(shape.dim, (case.batch, case.dimension, case.size, case.size), strict=True):
        axis.dim_value = size
    for output in part.graph.output:
        output.type.tensor_type.shape.dim[0].dim_value = case.batch
    del part.graph.value_info[:]
    onnx.checker.check_model(part)
    return bytes(part.SerializeToString())


def _classifier(onnx: Any, case: SelftestCase) -> Any:
    """Convolution, ReLU, mean: the end of a backbone, which the export's closed form is added to."""
    helper, floating = onnx.helper, onnx.TensorProto.FLOAT
    filters = case_filters(case)
    radius = filters.shape[-1] // 2
    nodes = [
        helper.make_node("Conv", ["h", "filters"], ["y"], pads=[radius] * 4, name="last_convolution"),
        helper.make_node("Relu", ["y"], ["a"], name="last_activation"),
        helper.make_node("GlobalAveragePool", ["a"], ["pooled"], name="pool"),
        helper.make_node("Flatten", ["pooled"], ["z"], name="flatten"),
    ]
    graph = helper.make_graph(
        nodes,
        "end_of_a_backbone",
        [helper.make_tensor_value_info("h", floating, ["batch", 2, case.size, case.size])],
        [helper.make_tensor_value_info("z", floating, ["batch", case.dimension])],
        [onnx.numpy_helper.from_array(filters, "filters")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
