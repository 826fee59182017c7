"""Bring a classifier's ONNX graph to an opset that every backend reads, tested to compute the same."""

from pathlib import Path
from typing import Any

import numpy as np

from edgeosr.errors import ExportError, InferenceError, import_extra
from edgeosr.export.graph.newer_opset import is_known, lowered, may_round_otherwise
from edgeosr.runtime.sessions import SessionSettings, open_session, run_session

# What onnxruntime still runs, so that the converted graph can be compared.
OLDEST_READ = 7
# Below 13 reductions and Squeeze are written another way; above 20 onnxruntime 1.17 cannot read the graph.
OLDEST, NEWEST = 13, 20
# Before, Resize and Upsample mapped positions in one way only; onnx's converter forgets to say which.
_RESIZE_CHANGED = 11


def require_readable_opset(proto: Any, path: Path) -> int:
    """Return the graph's opset.

    Raises:
        ExportError: it is older than 7, or newer than the installed onnx.
    """
    opset = max((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    if opset < OLDEST_READ:
        raise ExportError(
            f"the ONNX opset must be {OLDEST_READ} or later; {path} has {opset}; export the classifier again "
            "with opset 18"
        )
    onnx = import_extra("onnx", extra="export", purpose="reading an ONNX file")
    if opset > onnx.defs.onnx_opset_version():
        raise ExportError(
            f"the ONNX opset must be one that the installed onnx {onnx.__version__} knows, up to "
            f"{onnx.defs.onnx_opset_version()}; {path} has {opset}; pip install -U onnx, or export the "
            "classifier again with opset 18"
        )
    return int(opset)


def converted(proto: Any, path: Path) -> Any:
    """Return the graph in an opset from 13 to 20; unchanged if it is.

    Args:
        proto: ``onnx.ModelProto`` with one input, float32, all of its sizes fixed but the batch.
        path: the file, for messages.

    Raises:
        ExportError: its opset is older than 7, or onnx cannot convert it, or the converted graph computes
            something else.
    """
    onnx = import_extra("onnx", extra="export", purpose="reading an ONNX file")
    opset = require_readable_opset(proto, path)
    if OLDEST <= opset <= NEWEST:
        return proto
    target = OLDEST if opset < OLDEST else NEWEST
    advice = "export the classifier again with opset 18"
    try:
        if opset > NEWEST and is_known(opset, onnx):
            result = lowered(proto, opset, target, onnx)
        else:
            result = onnx.version_converter.convert_version(proto, target)
        if opset < _RESIZE_CHANGED:
            _resize_as_before(result, onnx)
        onnx.checker.check_model(result)
    except Exception as error:  # also of the converter: RuntimeError, ConvertError and ValidationError
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ExportError(
            f"{path} has ONNX opset {opset} and cannot be converted to {target}: {reason}; {advice}"
        ) from error
    difference = largest_difference(proto, result, 1)
    if difference is None and opset > NEWEST and not runs(proto) and runs(result):
        # An older onnxruntime, which reads no such opset: then the operators' meaning must do.
        if is_known(opset, onnx) and not may_round_otherwise(proto):
            return result
        raise ExportError(
            f"{path} has ONNX opset {opset}, which the installed onnxruntime does not run, so nothing tells "
            f"whether it is the same in opset {target}; pip install -U onnxruntime, or {advice}"
        )
    if difference is None or difference > 1e-3:
        raise ExportError(
            f"{path} has ONNX opset {opset}, and converted to {target} it "
            + ("does not run" if difference is None else f"gives other outputs (by {difference:.3g})")
            + f"; {advice}"
        )
    return result


def _resize_as_before(proto: Any, onnx: Any) -> None:
    wanted = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    for node in proto.graph.node:
        if node.op_type == "Resize":
            kept = [attribute for attribute in node.attribute if attribute.name not in wanted]
            del node.attribute[:]
            node.attribute.extend(kept)
            node.attribute.extend(onnx.helper.make_attribute(*pair) for pair in wanted.items())


def raised(proto: Any, opset: int, ir_version: int) -> Any:
    """Return a graph of standard operators at ``opset`` or later.

    Args:
        proto: ``onnx.ModelProto``.
        opset: to reach.
        ir_version: the least that goes with it.

    Raises:
        ExportError: onnx cannot convert it.
    """
    onnx = import_extra("onnx", extra="export", purpose="converting the opset")
    (version,) = (entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
    if version >= opset:
        return proto
    # Some tools note domains that no node uses; the converter knows none of them.
    del proto.opset_import[:]
    proto.opset_import.append(onnx.helper.make_opsetid("", version))
    try:
        proto = onnx.version_converter.convert_version(proto, opset)
    except Exception as error:  # RuntimeError, ConvertError, whatever the operator's adapter raises
        raise ExportError(
            f"onnx cannot bring the graph from opset {version} to {opset}, which int8 needs: {error}; export "
            f"the classifier with opset {opset}, or use --engine fp16"
        ) from error
    proto.ir_version = max(proto.ir_version, ir_version)
    return proto


def runs(proto: Any) -> bool:
    """Tell whether onnxruntime runs a graph on one image."""
    sizes = [dim.dim_value for dim in proto.graph.input[0].type.tensor_type.shape.dim[1:]]
    return _run(proto, np.zeros((1, *sizes), np.float32)) is not None


def largest_difference(expected: Any, got: Any, batch: int) -> float | None:
    """Run two graphs on the same noise and compare all their outputs that are numbers.

    Args:
        expected: run on one image after another.
        got: run on all images at once.
        batch: number of images.

    Returns:
        The largest difference of an output, relative to its largest expected value; None if one of them does
        not run.
    """
    sizes = [dim.dim_value for dim in expected.graph.input[0].type.tensor_type.shape.dim[1:]]
    noise = np.random.default_rng(0).normal(size=(batch, *sizes)).astype(np.float32)
    one_by_one = [_run(expected, noise[index : index + 1]) for index in range(batch)]
    together = _run(got, noise)
    if together is None or any(part is None for part in one_by_one):
        return None
    parts = zip(*(part for part in one_by_one if part is not None), strict=True)
    largest = 0.0
    for alone, output in zip(parts, together, strict=True):
        reference = alone[0] if batch == 1 else np.concatenate(alone)
        if reference.shape != output.shape:
            return None
        if reference.dtype.kind == "f":
            usable = np.isfinite(reference)
            if not np.array_equal(usable, np.isfinite(output)):
                return None
            scale = max(float(np.abs(reference[usable]).max(initial=0.0)), 1e-6)
            distance = float(np.abs(reference[usable] - output[usable]).max(initial=0.0))
            largest = max(largest, distance / scale)
    return largest


def _run(proto: Any, images: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]] | None:
    try:
        # A few images, once: threads would save a second at most, and cost minutes on a busy machine.
        session = open_session(proto.SerializeToString(), SessionSettings(threads=1))
        return run_session(session, None, {session.get_inputs()[0].name: images})
    except InferenceError:
        return None
