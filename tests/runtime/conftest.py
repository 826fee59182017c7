"""A tiny bundle whose graph honours the contract, and the same arithmetic in NumPy as the oracle."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgeosr.bundle.directory import write_bundle
from edgeosr.bundle.manifest import Manifest, parse_manifest
from edgeosr.runtime import golden
from edgeosr.scoring.scorer import ClosedForm, Head, Scorer
from edgeosr.scoring.scorer_file import write_scorer

sys.path.insert(0, str(Path(__file__).parent))  # for the helpers beside the tests

# Class k prefers red, green, blue, or all three.
WEIGHT = np.array([[4, -2, -2], [-2, 4, -2], [-2, -2, 4], [1.2, 1.2, 1.2]], np.float32)
MIX = np.array([[0.5], [-0.25], [1.0], [-0.5], [0.125]], np.float32)


class Expected(NamedTuple):
    label: NDArray[Any]
    score: NDArray[Any]
    values: NDArray[Any]
    logits: NDArray[Any]


def oracle(frames: NDArray[np.uint8]) -> Expected:
    """What the graph computes, float64. White frames score NaN; a frame without red has an infinite J."""
    with np.errstate(divide="ignore", invalid="ignore"):
        z = frames.astype(np.float64).mean(axis=(1, 2)) / 255
        logits = z @ WEIGHT.T.astype(np.float64)
        top = logits.max(axis=1)
        norm = np.sqrt((z**2).sum(axis=1))
        bounded = np.stack([z[:, 0], z[:, 1] - z[:, 2], np.log1p(np.exp(-top)), top, norm], axis=1)
        score = (bounded @ MIX)[:, 0] + 0 * (1 / (1 - z.min(axis=1)))
        values = bounded.copy()
        values[:, 0] = 1 / z[:, 0]
        return Expected(logits.argmax(axis=1), score, values, logits)


def build_graph(*, order: str = "required", outputs: tuple[str, ...] = ("label", "score", "values")) -> bytes:
    node = helper.make_node
    nodes = [
        node("Cast", ["frames"], ["float"], to=TensorProto.FLOAT),
        node("ReduceMean", ["float", "hw"], ["mean"], keepdims=0),
        node("Gather", ["mean", "channel_order"], ["ordered"], axis=1),
        node("Div", ["ordered", "full"], ["z"]),
        node("MatMul", ["z", "weight"], ["logits"]),
        node("ArgMax", ["logits"], ["label"], axis=1, keepdims=0),
        node("ReduceMax", ["logits", "one"], ["top"], keepdims=1),
        node("ReduceL2", ["z", "one"], ["norm"], keepdims=1),
        node("Split", ["z"], ["r", "g", "b"], axis=1, num_outputs=3),
        node("Sub", ["g", "b"], ["difference"]),
        node("Neg", ["top"], ["minus_top"]),
        node("Softplus", ["minus_top"], ["loss"]),
        node("Reciprocal", ["r"], ["jacobian"]),
        node("Concat", ["r", "difference", "loss", "top", "norm"], ["bounded"], axis=1),
        node("Concat", ["jacobian", "difference", "loss", "top", "norm"], ["values"], axis=1),
        node("MatMul", ["bounded", "mix"], ["mixed"]),
        node("ReduceMin", ["z", "one"], ["least"], keepdims=1),
        node("Sub", ["unit", "least"], ["room"]),
        node("Reciprocal", ["room"], ["blown"]),
        node("Mul", ["blown", "nil"], ["poison"]),
        node("Add", ["mixed", "poison"], ["scores"]),
        node("Squeeze", ["scores", "one"], ["score"]),
    ]  # fmt: skip
    constants = {
        "hw": np.array([1, 2]), "one": np.array([1]), "full": np.float32(255), "unit": np.float32(1),
        "nil": np.float32(0), "weight": WEIGHT.T.copy(), "mix": MIX, "channel_order": np.array([0, 1, 2]),
    }  # fmt: skip
    inputs = [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["batch", "height", "width", 3])]
    if order == "required":
        del constants["channel_order"]
    if order != "built in":
        inputs.append(helper.make_tensor_value_info("channel_order", TensorProto.INT64, [3]))
    shapes: dict[str, tuple[int, list[Any]]] = {
        "label": (TensorProto.INT64, ["batch"]),
        "score": (TensorProto.FLOAT, ["batch"]),
        "values": (TensorProto.FLOAT, ["batch", 5]),
    }
    graph = helper.make_graph(
        nodes,
        "tiny",
        inputs,
        [helper.make_tensor_value_info(name, *shapes[name]) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def sample_frames(count: int = 9, height: int = 20, width: int = 30, seed: int = 3) -> NDArray[np.uint8]:
    """Random frames with a colour cast each, so that all classes and both decisions occur."""
    rng = np.random.default_rng(seed)
    cast = rng.uniform(0.02, 1, (count, 1, 1, 3))
    return (rng.integers(20, 250, (count, height, width, 3)) * cast).astype(np.uint8)


def golden_verdicts(size: tuple[int, int] | None = None) -> golden.Golden:
    """What the formulas say of 64 frames, every second one BGR."""
    frames = sample_frames(golden.LEAST_FRAMES, 8, 8)
    expected = oracle(frames)
    bgr = np.arange(len(frames)) % 2 == 1
    frames[bgr] = frames[bgr][..., ::-1]
    second, gap = golden.runner_up(expected.logits, expected.label)
    said = golden.Expected(
        label=expected.label,
        second=second,
        gap=gap,
        score=expected.score.astype(np.float32),
        values=expected.values.astype(np.float32),
    )
    return golden.Golden(frames=frames, size=size or (16, 16), bgr=bgr, portable=said)


def scorer_of(manifest: Manifest) -> Scorer:
    """A scorer that the manifest describes, of constants that nothing here looks at."""
    dimension, classes = manifest.embedding.dimension, len(manifest.classes)
    return Scorer(
        dimension=dimension,
        classes=classes,
        head=Head(
            kind=manifest.head.kind,
            weight=np.eye(classes, dimension, dtype=np.float32),
            bias=np.zeros(classes, np.float32),
            temperature=manifest.head.temperature,
            margin=manifest.head.margin,
        ),
        fusion=manifest.fusion,
        threshold=manifest.threshold.value,
        class_thresholds=manifest.threshold.class_values,
        closed_form=ClosedForm(
            activation="relu",
            parameters=np.zeros(0, np.float32),
            table=np.ones((dimension, 1), np.float32),
            offsets=np.zeros((1, 2), np.int32),
        ),
        layers=((np.ones((1, dimension), np.float32), np.zeros(1, np.float32)),),
    )


@pytest.fixture(scope="session")
def manifest() -> Manifest:
    sample = Path(__file__).parent.parent / "core" / "bundle" / "sample_manifest.json"
    checked = parse_manifest(sample.read_bytes())
    middle = float(np.float32(np.median(oracle(sample_frames()).score)))
    return replace(checked, threshold=replace(checked.threshold, value=middle))


@pytest.fixture(scope="session")
def make_bundle(manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    def make(*, model: bytes | None = None, **changes: Any) -> Path:
        path = tmp_path_factory.mktemp("bundle") / "tiny.edgeosr"
        files = {
            "model.onnx": model or build_graph(),
            "scorer.npz": write_scorer(scorer_of(replace(manifest, **changes))),
            "golden.npz": golden.write_golden(golden_verdicts(changes.get("frame"))),
        }
        write_bundle(path, replace(manifest, **changes), files)
        return path

    return make


@pytest.fixture(scope="session")
def bundle_path(make_bundle: Callable[..., Path]) -> Path:
    return make_bundle()


@pytest.fixture(scope="session")
def frames() -> NDArray[np.uint8]:
    return sample_frames()


@pytest.fixture(scope="session")
def expected_of() -> Callable[[NDArray[np.uint8]], Expected]:
    return oracle


@pytest.fixture(scope="session")
def graph_bytes() -> Callable[..., bytes]:
    return build_graph
