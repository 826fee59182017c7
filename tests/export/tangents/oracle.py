"""Independent derivatives of one-node ONNX graphs, in float64.

The rule under test writes its nodes behind a one-node graph; ``onnx.reference`` evaluates them. The expected
tangents are central differences of the node alone, evaluated by the same independent evaluator.
"""

import warnings

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import torch
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgeosr.export.tangents.context import RuleContext
from edgeosr.export.tangents.rules import load_rules

DIRECTIONS = 3
STEP = 1e-5
# How many directions each form of tangent is tried with: a single one is written without an axis of its own.
FORMS = {"full": 2, "narrow": 2, "single": 1}


def one_node(op_type, inputs, *, attributes=None, varying=(0,), batched=None, opset=18, outputs=1):
    """Make a graph of one node.

    Args:
        op_type: a standard operator.
        inputs: its inputs as arrays, None for one that is left out.
        attributes: of the node.
        varying: indices of inputs that are graph inputs; the others are constants.
        batched: indices of those whose first axis is a symbolic batch; None: all that vary.
        opset: of the graph.
        outputs: how many the node has.
    """
    batched = varying if batched is None else batched
    names = ["" if array is None else f"x{index}" for index, array in enumerate(inputs)]
    results = [f"y{index}" for index in range(outputs)]
    node = helper.make_node(op_type, names, results, name="the_node", **(attributes or {}))
    graph_inputs, constants = [], []
    for index, (name, array) in enumerate(zip(names, inputs, strict=True)):
        if array is None:
            continue
        if index not in varying:
            constants.append(numpy_helper.from_array(np.asarray(array), name))
            continue
        shape = ["batch", *array.shape[1:]] if index in batched else list(array.shape)
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        graph_inputs.append(helper.make_tensor_value_info(name, kind, shape))
    graph = helper.make_graph(
        [node],
        "one_node",
        graph_inputs,
        [onnx.ValueInfoProto(name=name) for name in results],
        constants,
    )
    imports = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=10)
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def rule_tangents(model, feeds, tangents, constant=(), *, runtime=False):
    """Apply the rule of a one-node graph and evaluate what it wrote.

    Args:
        model: from ``one_node``.
        feeds: the varying inputs by name, the first size being that of the batch.
        tangents: input name -> ``[K, *shape]``; inputs without one have no tangent.
        constant: names whose tangent is a constant of the graph, as the directions of the input are.
        runtime: evaluate with onnxruntime (float32), where the reference evaluator is wrong or has no
            implementation.

    Returns:
        A list with the tangent ``[K, ...]`` of each output, None where the rule says there is none.
    """
    graph = ir.from_proto(model)
    node = graph.graph[0]
    directions = len(next(iter(tangents.values())))
    values = {}
    for name, array in tangents.items():
        kind = ir.TensorType(ir.DataType.from_numpy(array.dtype))
        value = ir.Value(name=f"t_{name}", shape=ir.Shape([None] * array.ndim), type=kind)
        if name in constant:
            value.const_value = ir.tensor(array, name=value.name)
            value.shape = ir.Shape(array.shape)
            graph.graph.register_initializer(value)
        else:
            graph.graph.inputs.append(value)
        values[name] = value
    context = RuleContext(graph, directions, "tangents")
    given = [None if value is None else values.get(value.name) for value in node.inputs]
    results = load_rules()[node.op_type](context, node, given)
    finals = [None if t is None else context.op("Identity", t) for t in results]
    kept = [final for final in finals if final is not None]
    primal = _evaluated(model, feeds, runtime)
    for final, output in zip(finals, primal, strict=False):
        if final is not None:
            final.type = ir.TensorType(ir.DataType.from_numpy(output.dtype))
            final.shape = ir.Shape([None] * (1 + output.ndim))
    context.finish(*kept)
    graph.graph.outputs[:] = kept
    proto = ir.to_proto(graph)
    onnx.checker.check_model(proto, full_check=True)
    fed = dict(feeds) | {f"t_{name}": array for name, array in tangents.items() if name not in constant}
    got = iter(_evaluated(proto, fed, runtime))
    return [None if final is None else next(got) for final in finals]


def _evaluated(model, feeds, runtime):
    if not runtime:
        return ReferenceEvaluator(model).run(None, dict(feeds))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, dict(feeds))


def central_differences(model, feeds, tangents):
    """Return d output / d direction of each float output, ``[K, ...]``, evaluated by ``onnx.reference``."""
    evaluator = ReferenceEvaluator(model)
    directions = len(next(iter(tangents.values())))
    rows = []
    for k in range(directions):
        sides = []
        for sign in (1, -1):
            moved = {name: feeds[name] + sign * STEP * tangents[name][k] for name in tangents}
            sides.append(evaluator.run(None, {**feeds, **moved}))
        rows.append([(above - below) / (2 * STEP) for above, below in zip(*sides, strict=True)])
    return [np.stack(column) for column in zip(*rows, strict=True)]


def check_rule(
    op_type,
    inputs,
    *,
    attributes=None,
    varying=(0,),
    batched=None,
    still=(),
    opset=18,
    outputs=1,
    checked=None,
    seed=0,
    tolerance=1e-7,
    forms=tuple(FORMS),
):
    """Compare a rule with central differences of its operator, in float64.

    Each form of tangent is tried: ``full`` (one per sample), ``narrow`` (one for all samples, a constant) and
    ``single`` (one per sample, a single direction).

    Args:
        op_type: the operator.
        inputs: float64 arrays and whatever else the node reads; None for an input that is left out.
        attributes: of the node.
        varying: indices of inputs that depend on the images; the others are constants.
        batched: indices of those whose first axis is the batch; None: all that vary.
        still: indices of varying inputs that have no tangent (integers, skips held constant).
        opset: of the graph.
        outputs: how many the node has.
        checked: indices of the outputs to compare; None: all.
        seed: of the random tangents.
        tolerance: relative to the largest expected derivative.
        forms: of tangents to try.
    """
    rng = np.random.default_rng(seed)
    batched = varying if batched is None else batched
    model = one_node(
        op_type,
        inputs,
        attributes=attributes,
        varying=varying,
        batched=batched,
        opset=opset,
        outputs=outputs,
    )
    feeds = {f"x{index}": inputs[index] for index in varying}
    for form in forms:
        tangents = {}
        for index in varying:
            if index in still:
                continue
            shape = list(inputs[index].shape)
            if form == "narrow" and index in batched:
                shape[0] = 1
            tangents[f"x{index}"] = rng.standard_normal((FORMS[form], *shape))
        got = rule_tangents(model, feeds, tangents, tangents if form == "narrow" else ())
        expected = central_differences(model, feeds, tangents)
        for index in range(outputs) if checked is None else checked:
            assert got[index] is not None, f"{op_type}: output {index} has no tangent ({form})"
            assert got[index].dtype == np.float64, (op_type, got[index].dtype)
            want = expected[index]
            if form == "narrow":  # a narrow result is right where broadcasting makes it so
                assert got[index].ndim == want.ndim, (op_type, got[index].shape, want.shape)
                assert got[index].shape[2:] == want.shape[2:], (op_type, got[index].shape, want.shape)
            else:
                assert got[index].shape == want.shape, (op_type, got[index].shape, want.shape)
            error = np.abs(got[index] - want).max() / max(np.abs(want).max(), 1e-3)
            assert error < tolerance, f"{op_type} ({form}), output {index}: relative error {error:.1e}"


def torch_tangent(function, points, directions):
    """Return ``torch.func.jvp``'s tangent; its first call meets a deprecation in torch itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=DeprecationWarning)
        return torch.func.jvp(function, points, directions)[1]


def check_against_torch(
    op_type,
    inputs,
    function,
    *,
    attributes=None,
    varying=(0,),
    opset=18,
    dtype=np.float64,
    runtime=False,
    seed=0,
    tolerance=1e-10,
):
    """Compare a rule with ``torch.func.jvp`` of the same function, which runs in float64.

    Args:
        op_type: the operator.
        inputs: its inputs, None for one that is left out.
        function: the operator in torch, of the varying inputs.
        attributes: of the node.
        varying: indices of inputs that depend on the images.
        opset: of the graph.
        dtype: of the rule's evaluation.
        runtime: evaluate with onnxruntime, in float32.
        seed: of the random tangents.
        tolerance: relative to the largest expected derivative.
    """
    rng = np.random.default_rng(seed)
    dtype = np.float32 if runtime else dtype
    inputs = [array if array is None or array.dtype.kind != "f" else array.astype(dtype) for array in inputs]
    model = one_node(op_type, inputs, attributes=attributes, varying=varying, opset=opset)
    feeds = {f"x{index}": inputs[index] for index in varying}
    tangents = {
        name: rng.standard_normal((DIRECTIONS, *array.shape)).astype(dtype) for name, array in feeds.items()
    }
    (got,) = rule_tangents(model, feeds, tangents, runtime=runtime)
    points = tuple(torch.from_numpy(feeds[name]).double() for name in feeds)
    for k in range(DIRECTIONS):
        moved = tuple(torch.from_numpy(tangents[name][k]).double() for name in feeds)
        want = torch_tangent(function, points, moved).numpy()
        error = np.abs(got[k] - want).max() / max(np.abs(want).max(), 1e-3)
        assert error < tolerance, f"{op_type}: relative error {error:.1e} against torch"
