"""The rivals of the selftest: unfused torch and TensorRT, each with a double of what needs a device."""

import contextlib
import ctypes
import sys
import types
from collections.abc import Iterator
from dataclasses import replace
from enum import IntEnum
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from graph_double import GraphDouble

from edgeosr.bench.kernel_scoring_onnx import scoring_onnx
from edgeosr.bench.kernel_tensorrt import TensorRTScoring
from edgeosr.bench.kernel_torch import TorchChain, UnfusedTorch
from edgeosr.errors import MissingDependencyError, UsageError
from edgeosr.kernels.driver.driver import Driver
from edgeosr.kernels.selftest import cases
from edgeosr.kernels.selftest.cases import SelftestCase, case_inputs, case_scorer
from edgeosr.scoring.reference import reference_scores

CASES = [
    SelftestCase(dimension=37, batch=3, size=4, half_weights=half, half_input=half, taps=taps)
    for half, taps in ((True, 9), (False, 9), (False, 1))
]
CLIPPED = [replace(CASES[number], activation="clip") for number in (0, 2)]
TOLERANCE = {True: 5e-3, False: 1e-5}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "_WIDTHS", (33, 16, 1))


def reference(case: SelftestCase) -> dict[str, Any]:
    return reference_scores(case_scorer(case), **case_inputs(case))


@pytest.mark.parametrize("case", [*CASES, *CLIPPED], ids=lambda case: case.name)
def test_the_torch_chain_computes_the_reference_s_scores(case: SelftestCase) -> None:
    chain = TorchChain(torch, case_scorer(case), half=case.half_weights, device="cpu")
    score, label, accepted = chain(torch.from_numpy(case_inputs(case)["map"]))
    expected = reference(case)
    assert np.abs(score.numpy() - expected["score"]).max() < TOLERANCE[case.half_weights]
    assert (label.numpy() == expected["label"]).all() and (accepted.numpy() == expected["accepted"]).all()


def test_the_torch_chain_refuses_a_scorer_that_it_is_not_written_for() -> None:
    case = SelftestCase(dimension=37, batch=3, size=4, activation="silu")
    with pytest.raises(UsageError, match="ReLU map"):
        TorchChain(torch, case_scorer(case), half=True, device="cpu")


def test_unfused_torch_is_refused_for_a_part_that_it_does_not_compute() -> None:
    scorer = case_scorer(SelftestCase(dimension=37, batch=3, size=4))
    TorchChain(torch, scorer, half=False, device="cpu")
    fusion = scorer.fusion
    parts = (*fusion.parts[:-1], "ovr_loss")
    words = f"written for the parts log_jacobian, .*; the scorer has {parts[-1]}"
    with pytest.raises(UsageError, match=words):
        TorchChain(torch, replace(scorer, fusion=replace(fusion, parts=parts)), half=False, device="cpu")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_scoring_part_computes_the_reference_s_scores(case: SelftestCase) -> None:
    data = scoring_onnx(case)
    kinds = {node.op_type for node in onnx.load_from_string(data).graph.node}
    assert "GlobalAveragePool" in kinds or "ReduceMean" in kinds
    session = onnxruntime.InferenceSession(data)
    (given,) = session.get_inputs()
    assert given.shape == [case.batch, case.dimension, case.size, case.size]
    score, label = session.run(["score", "label"], {"map": case_inputs(case)["map"].astype(np.float32)})
    assert np.abs(score - reference(case)["score"]).max() < 1e-5
    assert (label == reference(case)["label"]).all()


def test_the_scoring_part_is_made_for_relu_maps_alone() -> None:
    with pytest.raises(UsageError, match="made for a ReLU map"):
        scoring_onnx(SelftestCase(dimension=37, batch=3, size=0))


class TorchOnTheCpu(UnfusedTorch):
    device = "cpu"


@pytest.fixture
def torch_device(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """torch.cuda's streams and graphs as doubles; what they are asked, in order."""
    asked: list[Any] = []

    class Stream:
        def __init__(self, handle: int):
            self.handle = handle

        def synchronize(self) -> None:
            asked.append(("synchronize", self.handle))

    class Graph:
        def replay(self) -> None:
            asked.append("replay")

    @contextlib.contextmanager
    def graph(_: Graph, *, stream: Stream) -> Iterator[None]:
        asked.append(("capture", stream.handle))
        yield
        asked.append("captured")

    for name, value in {
        "is_available": lambda: True,
        "synchronize": lambda: None,
        "current_stream": lambda: Stream(0),
        "set_stream": lambda stream: asked.append(("set", stream.handle)),
        "ExternalStream": Stream,
        "CUDAGraph": Graph,
        "graph": graph,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    return asked


def test_torch_is_captured_on_the_given_stream_and_gives_its_own_back(torch_device: list[Any]) -> None:
    rival = TorchOnTheCpu(CASES[1], Driver(GraphDouble()), 77)
    rival.launch()
    assert np.abs(rival.scores() - reference(CASES[1])["score"]).max() < 1e-5
    assert "one CUDA graph, fp32" in rival.conditions and torch.__version__ in rival.conditions
    rival.close()
    assert torch_device == [
        ("set", 77),
        ("capture", 77),
        "captured",
        "replay",
        ("synchronize", 77),
        ("set", 0),
    ]


def test_a_torch_without_a_device_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="sees no CUDA device"):
        UnfusedTorch(CASES[0], Driver(GraphDouble()), 77)


def test_no_torch_is_said_with_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependencyError, match=r"'torch'.*pip install 'edgeosr\[train\]'"):
        UnfusedTorch(CASES[0], Driver(GraphDouble()), 77)


class BuilderFlag(IntEnum):
    FP16 = 0


class CreationFlag(IntEnum):
    EXPLICIT_BATCH = 0


class Tensorrt(types.ModuleType):
    """The calls that the rival makes, over onnxruntime; an engine's inputs have the dtype they were given."""

    __version__ = "10.3.0"
    BuilderFlag, NetworkDefinitionCreationFlag = BuilderFlag, CreationFlag
    float16 = np.float16

    def __init__(self, cuda: GraphDouble, *, parses: bool = True, builds: bool = True):
        super().__init__("tensorrt")
        self.cuda, self.parses, self.builds = cuda, parses, builds
        self.flags: list[Any] = []
        self.Logger = type("Logger", (), {"ERROR": 1, "__init__": lambda self, level: None})

    def nptype(self, dtype: Any) -> Any:
        return dtype

    def Builder(self, logger: Any) -> Any:
        self.given = types.SimpleNamespace(dtype=np.float32)
        return types.SimpleNamespace(
            create_network=lambda flags: types.SimpleNamespace(get_input=lambda number: self.given),
            create_builder_config=lambda: types.SimpleNamespace(set_flag=self.flags.append),
            build_serialized_network=lambda network, config: self.data if self.builds else None,
        )

    def OnnxParser(self, network: Any, logger: Any) -> Any:
        def parse(data: bytes) -> bool:
            self.data = data
            return self.parses

        return types.SimpleNamespace(parse=parse, num_errors=1, get_error=lambda i: "no such operator")

    def Runtime(self, logger: Any) -> Any:
        return types.SimpleNamespace(deserialize_cuda_engine=lambda plan: Engine(self, plan))


class Engine:
    def __init__(self, tensorrt: Tensorrt, plan: bytes):
        self.cuda, self.session = tensorrt.cuda, onnxruntime.InferenceSession(plan)
        kinds = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
        ends = [*self.session.get_inputs(), *self.session.get_outputs()]
        self.tensors = {end.name: (tuple(end.shape), kinds[end.type]) for end in ends}
        self.tensors["map"] = (self.tensors["map"][0], tensorrt.given.dtype)
        self.num_io_tensors, self.at = len(ends), {}

    def get_tensor_name(self, number: int) -> str:
        return list(self.tensors)[number]

    def get_tensor_dtype(self, name: str) -> Any:
        return self.tensors[name][1]

    def get_tensor_shape(self, name: str) -> Any:
        return self.tensors[name][0]

    def create_execution_context(self) -> "Engine":
        return self

    def set_tensor_address(self, name: str, address: int) -> None:
        self.at[name] = address

    def array(self, name: str) -> np.ndarray:
        shape, dtype = self.tensors[name]
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return np.frombuffer((ctypes.c_char * size).from_address(self.at[name]), dtype).reshape(shape)

    def execute_async_v3(self, stream: int) -> bool:
        def run() -> None:
            names = [end.name for end in self.session.get_outputs()]
            for name, value in zip(
                names, self.session.run(names, {"map": self.array("map").astype(np.float32)}), strict=True
            ):
                self.array(name)[...] = value

        self.cuda.capture(run)
        return True


@pytest.mark.parametrize("case", CASES[:2], ids=lambda case: case.name)
def test_tensorrt_runs_the_scoring_part_in_a_graph(
    case: SelftestCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = GraphDouble()
    fake = Tensorrt(cuda)
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    driver = Driver(cuda)
    driver.device(None)
    with driver.own_stream() as own:
        rival = TensorRTScoring(case, driver, own)
        # What the warm-up left is wiped: the scores must be the replay's.
        ctypes.memset(rival._score_at, 0xFF, 4 * case.batch)
        rival.launch()
        assert np.abs(rival.scores() - reference(case)["score"]).max() < 1e-5
        assert fake.flags == ([BuilderFlag.FP16] if case.half_weights else [])
        words = "fp16 allowed, fp16 map" if case.half_weights else "graph, fp32"
        assert "TensorRT 10.3.0" in rival.conditions and words in rival.conditions
        rival.close()
    assert not cuda.memory and not cuda.graphs


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"parses": False}, "cannot parse the scoring part: no such operator"),
        ({"builds": False}, "no engine"),
    ],
)
def test_what_tensorrt_refuses_is_said(
    options: dict[str, bool], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = GraphDouble()
    monkeypatch.setitem(sys.modules, "tensorrt", Tensorrt(cuda, **options))
    with pytest.raises(UsageError, match=words):
        TensorRTScoring(CASES[0], Driver(cuda), 100)


def test_no_tensorrt_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def exported(case: SelftestCase) -> bytes:
        pytest.fail("TensorRT is looked for first: an export takes seconds of a card's time")

    monkeypatch.setattr("edgeosr.bench.kernel_tensorrt.scoring_onnx", exported)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingDependencyError, match="comes with JetPack"):
        TensorRTScoring(CASES[0], Driver(GraphDouble()), 100)
