"""A tiny scoring graph with the contract's tensor names, and a bundle around it: nothing is trained."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeosr.bundle.data import DataRecord
from edgeosr.bundle.directory import write_bundle
from edgeosr.bundle.manifest import Manifest
from edgeosr.bundle.network import EmbeddingRecord, HeadRecord, JacobianRecord
from edgeosr.preprocessing import Preprocessing
from edgeosr.runtime.golden import LEAST_FRAMES, Expected, Golden, write_golden
from edgeosr.scoring.fusion import Fusion
from edgeosr.scoring.scorer import ClosedForm, Head, Scorer
from edgeosr.scoring.scorer_file import write_scorer
from edgeosr.scoring.thresholds import Threshold

SIDE = 16
PARTS = ("log_jacobian", "discriminator", "movr_loss", "max_logit", "log_norm")
CLASSES = ("red", "green", "blue")
WIDTH = 6


def scoring_graph(*, label_operator: str = "ArgMax", seed: int = 0) -> bytes:
    """uint8 frames of any size -> Cast, /255, channel order -> Conv -> Relu -> mean -> MatMul -> verdict."""
    random = np.random.default_rng(seed)
    constants = {
        "scale": np.float32(1 / 255),
        "filters": random.normal(size=(WIDTH, 3, 3, 3)).astype(np.float32),
        "head": random.normal(size=(WIDTH, len(CLASSES))).astype(np.float32),
        "axis": np.array([1], np.int64),
        "squared": np.float32(2),
    }
    node = helper.make_node
    nodes = [
        node("Cast", ["frames"], ["floats"], to=TensorProto.FLOAT),
        node("Mul", ["floats", "scale"], ["scaled"]),
        node("Gather", ["scaled", "channel_order"], ["ordered"], axis=3),
        node("Transpose", ["ordered"], ["pixels"], perm=[0, 3, 1, 2]),
        node("Conv", ["pixels", "filters"], ["map"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Relu", ["map"], ["active"]),
        node("GlobalAveragePool", ["active"], ["pooled"]),
        node("Flatten", ["pooled"], ["embedding"]),
        node("MatMul", ["embedding", "head"], ["logits"]),
        node(label_operator, ["logits"], ["label"], axis=1, keepdims=0),
        node("ReduceMax", ["logits", "axis"], ["top"], keepdims=1),
        node("ReduceL2", ["embedding", "axis"], ["norm"], keepdims=1),
        node("Concat", ["norm", "top", "top", "top", "norm"], ["values"], axis=1),
        node("Neg", ["top"], ["negative"]),
        node("Squeeze", ["negative", "axis"], ["score"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info("frames", TensorProto.UINT8, ["batch", "height", "width", 3]),
            helper.make_tensor_value_info("channel_order", TensorProto.INT64, [3]),
        ],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["batch"]),
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch"]),
            helper.make_tensor_value_info("values", TensorProto.FLOAT, ["batch", 5]),
        ],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def scorer_of(manifest: Manifest) -> Scorer:
    """What the manifest says, of constants that nothing here looks at."""
    return Scorer(
        dimension=WIDTH,
        classes=len(CLASSES),
        head=Head(
            kind=manifest.head.kind,
            weight=np.eye(len(CLASSES), WIDTH, dtype=np.float32),
            bias=np.zeros(len(CLASSES), np.float32),
            temperature=manifest.head.temperature,
            margin=manifest.head.margin,
        ),
        fusion=manifest.fusion,
        threshold=manifest.threshold.value,
        closed_form=ClosedForm(
            activation="relu",
            parameters=np.zeros(0, np.float32),
            table=np.ones((WIDTH, 1), np.float32),
            offsets=np.zeros((1, 2), np.int32),
        ),
        layers=((np.ones((1, WIDTH), np.float32), np.zeros(1, np.float32)),),
    )


def golden_of(manifest: Manifest) -> Golden:
    """Frames with verdicts that nothing here judges."""
    count = LEAST_FRAMES
    frames = np.random.default_rng(1).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)
    said = Expected(
        label=np.zeros(count, np.int64),
        second=np.ones(count, np.int64),
        gap=np.ones(count, np.float32),
        score=np.zeros(count, np.float32),
        values=np.zeros((count, len(PARTS)), np.float32),
    )
    size = manifest.frame or (SIDE, SIDE)
    return Golden(frames=frames, size=size, bgr=np.arange(count) % 2 == 1, portable=said)


def write_tiny_bundle(path: Path, model: bytes, *, frame: tuple[int, int] | None = None) -> Path:
    manifest = Manifest(
        name="tiny",
        edgeosr="0.1.0",
        created="2026-01-01T00:00:00Z",
        classes=CLASSES,
        preprocessing=Preprocessing(height=SIDE, width=SIDE, fit="stretch"),
        frame=frame,
        embedding=EmbeddingRecord(WIDTH),
        jacobian=JacobianRecord("closed-form", "J_z", "the input of the last convolution"),
        head=HeadRecord("linear", 1.0, 0.0),
        discriminator=None,
        fusion=Fusion(
            parts=PARTS,
            means=(0.0,) * 5,
            stds=(1.0,) * 5,
            weights=(0.0, 0.0, 0.0, 1.0, 0.0),
            note="none",
        ),
        threshold=Threshold(
            value=0.0,
            target_false_reject_rate=0.05,
            interval=(0.03, 0.08),
            confidence=0.95,
            groups=200,
            images=200,
            method="split conformal",
        ),
        data=DataRecord(
            "nowhere", "made for a test", CLASSES, (), None, 0, (0.8, 0.1, 0.1), None, 0.2, {}, {}
        ),
        outliers=None,
        training=None,
        files={},
        versions={"onnx": onnx.__version__},
    )
    files = {"scorer.npz": write_scorer(scorer_of(manifest)), "golden.npz": write_golden(golden_of(manifest))}
    write_bundle(path, manifest, {"model.onnx": model, **files})
    return path


@pytest.fixture(scope="session")
def write_bundle_at() -> Callable[[Path], Path]:
    return lambda path: write_tiny_bundle(path, scoring_graph())


@pytest.fixture(scope="session")
def new_clock() -> "type[FakeClock]":
    return FakeClock


@pytest.fixture
def make_graph() -> Callable[..., bytes]:
    return scoring_graph


@pytest.fixture
def make_bundle(tmp_path: Path) -> Callable[..., Path]:
    def make(model: bytes | None = None, *, frame: tuple[int, int] | None = None) -> Path:
        return write_tiny_bundle(tmp_path / "tiny.edgeosr", model or scoring_graph(), frame=frame)

    return make


@pytest.fixture
def tiny_bundle(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path / "tiny.edgeosr", scoring_graph())


class FakeClock:
    """Every look at the wall clock costs 0.1 ms, at the CPU clock 0.2 ms; sleep passes at once."""

    def __init__(self) -> None:
        self.now = 0.0
        self.used = 0.0
        self.slept: list[float] = []

    def wall(self) -> float:
        self.now += 1e-4
        return self.now

    def cpu(self) -> float:
        self.used += 2e-4
        return self.used

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def fake_clock() -> FakeClock:
    return FakeClock()
