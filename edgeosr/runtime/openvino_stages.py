"""``model.onnx`` cut into the stages that OpenVINO runs one after another, each in a precision of its own.

    front   frames, channel_order -> pixels           float32, any size of frame
    rest    pixels -> label, score, values            float32, one frame or any batch

or, with a body in a precision of its own, the ends stay float32:

    body    pixels -> map | embedding, tangents | embedding (and logits)
    tail    these -> label, score, values
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from edgeosr.bundle.body import BF16, F32
from edgeosr.bundle.tensors import FRAMES, PIXELS, TANGENTS
from edgeosr.errors import BundleError, InferenceError
from edgeosr.printed import LONGEST_REASON, shortened


@dataclass(frozen=True, kw_only=True)
class Body:
    """The network between the ends, in a precision.

    Attributes:
        model: the bytes of an ONNX graph from ``pixels``; what it gives is float32.
        precision: ``f32``, ``bf16``; or ``int8``, of a graph with Q/DQ pairs.
        outputs: names of what it gives, which ``model.onnx`` has too.
    """

    model: bytes
    precision: str
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Stage:
    """``model``: of openvino, not compiled; ``hint``: the precision that openvino is to compute in."""

    model: Any
    hint: str


def read(openvino: ModuleType, core: Any, model: bytes, name: str) -> Any:
    """Return openvino's model of an ONNX file.

    Raises:
        InferenceError: openvino cannot read it.
    """
    try:
        return core.read_model(model)
    except Exception as error:  # openvino raises RuntimeError, and others of its own
        raise cannot(openvino, f"read {name}", error) from error


def cannot(openvino: ModuleType, what: str, error: Exception) -> InferenceError:
    """Return the error of something that openvino could not do."""
    version = str(openvino.__version__).split("-")[0]
    return InferenceError(
        f"openvino {version} cannot {what}: {shortened(error, LONGEST_REASON)}; take backend='onnxruntime', "
        "or another version of it: pip install -U openvino"
    )


def stages_of(
    openvino: ModuleType, core: Any, model: bytes, body: Body | None, expose: Sequence[str] = ()
) -> tuple[Stage, ...]:
    """Cut a graph.

    Args:
        openvino: the module.
        core: of it.
        model: the bytes of ``model.onnx``.
        body: what replaces the network between the ends; None: float32 throughout.
        expose: names of further tensors that the last stage gives; for a graph that is cut.

    Returns:
        The front and what follows; the whole graph alone where it has no tensor ``pixels``.

    Raises:
        BundleError: it has not the tensors at which the body is to be put in.
        InferenceError: openvino cannot read or cut it.
    """
    whole = read(openvino, core, model, "model.onnx")
    tensors = {
        name: output
        for node in whole.get_ordered_ops()
        for output in node.outputs()
        for name in output.get_names()
    }
    missing = [name for name in (PIXELS, *(body.outputs if body else ())) if name not in tensors]
    if body is not None and missing:
        raise BundleError(
            f"model.onnx lacks the tensors {', '.join(missing)}, between which the {body.precision} body is "
            "to run; export the bundle again"
        )
    if missing:
        return (Stage(whole, F32),)
    try:
        parameters = [port.get_node() for port in whole.inputs]
        front = openvino.Model([tensors[PIXELS]], parameters, "front").clone()
        if body is None:
            rest = _behind(openvino, whole, (PIXELS,), tensors, expose)
            return Stage(front, F32), Stage(rest, F32)
        tail = _behind(openvino, whole, body.outputs, tensors, expose)
    except Exception as error:  # as in read
        raise cannot(openvino, "cut model.onnx", error) from error
    inner = read(openvino, core, body.model, "the body")
    # The int8 layers are int8 by their Q/DQ pairs; what is between them stays float32.
    hint = body.precision if body.precision == BF16 else F32
    return Stage(front, F32), Stage(inner, hint), Stage(tail, F32)


def _behind(
    openvino: ModuleType, whole: Any, cut: Sequence[str], tensors: Mapping[str, Any], expose: Sequence[str]
) -> Any:
    """Return what follows tensors of a model, which it takes in their order; the model is used up."""
    inputs = []
    given = dict(tensors)
    for name in cut:
        output = tensors[name]
        parameter = openvino.op.Parameter(output.get_element_type(), output.get_partial_shape())
        parameter.set_friendly_name(name)
        for reader in output.get_target_inputs():
            reader.replace_source_output(parameter.output(0))
        inputs.append(parameter)
        given[name] = parameter.output(0)
    results = [openvino.op.Result(given[name]) for name in expose]
    return openvino.Model([*whole.get_results(), *results], inputs, "behind the cut")


def compiled(openvino: ModuleType, core: Any, stage: Stage, *, threads: int, alone: bool) -> Any:
    """Compile a stage for the processor.

    Args:
        openvino: the module.
        core: of it.
        stage: not changed.
        threads: of one call.
        alone: for one frame a call; else for any batch.

    Raises:
        InferenceError: openvino cannot.
    """
    model = stage.model.clone()
    shapes = {port: _of_one_frame(port) for port in model.inputs} if alone else {}
    return _compiled(openvino, core, model, shapes, stage.hint, threads)


def front_for(openvino: ModuleType, core: Any, stage: Stage, size: tuple[int, int], *, threads: int) -> Any:
    """Compile the front for single frames of one (height, width): its weights are constants then."""
    model = stage.model.clone()
    shapes = {model.input(FRAMES): [1, *size, 3]}
    return _compiled(openvino, core, model, shapes, stage.hint, threads)


def takes_any_size(front: Stage) -> bool:
    """Tell whether a front takes frames of any size; that of a bundle for one camera does not."""
    return any(side.is_dynamic for side in list(front.model.input(FRAMES).get_partial_shape())[1:3])


def _compiled(
    openvino: ModuleType, core: Any, model: Any, shapes: Mapping[Any, Any], hint: str, threads: int
) -> Any:
    options = {
        "INFERENCE_PRECISION_HINT": hint,
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        # A thread that is bound to one processor waits for whatever else runs there.
        "ENABLE_CPU_PINNING": False,
    }
    try:
        if shapes:
            model.reshape(shapes)
        return core.compile_model(model, "CPU", options)
    except Exception as error:  # as in read
        raise cannot(openvino, "compile model.onnx", error) from error


def _of_one_frame(port: Any) -> Any:
    """Return the shape of an input with a batch of 1: the first axis, but the second one of tangents."""
    shape = port.get_partial_shape()
    shape[int(port.get_node().get_friendly_name() == TANGENTS)] = 1
    return shape
