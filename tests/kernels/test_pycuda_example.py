"""The PyCUDA example, over a double of PyCUDA that has what the example calls and nothing more."""

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda_double import CudaDouble
from fused_cases import Case, random_inputs, random_scorer, reference_of

from edgeosr.kernels import fused_score
from edgeosr.kernels.build.images import Image
from edgeosr.kernels.driver.driver import Driver
from edgeosr.kernels.examples import pycuda_score_map
from edgeosr.scoring.scorer_file import write_scorer

CASE = Case(
    dimension=37,
    batch=3,
    classes=5,
    head="cosine",
    discriminator="two",
    half_weights=True,
    half_input=True,
    positions=16,
    filter=3,
    seed=5,
)
HANDLE = 0x7000


class Stream:
    """pycuda.driver.Stream: an int-like address under ``handle``."""

    handle = HANDLE


class GPUArray:
    """pycuda.gpuarray.GPUArray: its interface always names strides and leaves the stream to the caller."""

    def __init__(self, array: np.ndarray):
        self.array, self.shape, self.dtype, self.strides = array, array.shape, array.dtype, array.strides

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "strides": self.strides,
            "data": (self.array.ctypes.data, False),
            "typestr": self.dtype.str,
            "stream": None,
            "version": 3,
        }


def to_gpu_async(ary: np.ndarray, allocator: Any = None, stream: Any = None) -> GPUArray:
    assert isinstance(stream, Stream)
    return GPUArray(ary.copy())


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> CudaDouble:
    double = CudaDouble()
    parts = {"autoprimaryctx": {}, "driver": {"Stream": Stream}, "gpuarray": {"to_gpu_async": to_gpu_async}}
    package = types.ModuleType("pycuda")
    monkeypatch.setitem(sys.modules, "pycuda", package)
    for name, members in parts.items():
        module = types.ModuleType(f"pycuda.{name}")
        vars(module).update(members)
        setattr(package, name, module)
        monkeypatch.setitem(sys.modules, f"pycuda.{name}", module)
    monkeypatch.setattr(fused_score, "open_driver", lambda: Driver(double))
    monkeypatch.setattr(fused_score, "image_for", lambda device: Image(b"\x7fELF", "the emulation"))
    return double


def written(folder: Path, y: Any) -> list[str]:
    (folder / "scorer.npz").write_bytes(write_scorer(random_scorer(CASE)))
    np.save(folder / "map.npy", y)
    return [str(folder / "scorer.npz"), str(folder / "map.npy")]


def test_it_prints_the_reference_s_verdicts_and_launches_on_pycuda_s_stream(
    cuda: CudaDouble, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = random_inputs(CASE)
    assert pycuda_score_map.main(written(tmp_path, inputs.map)) == 0
    expected = reference_of(random_scorer(CASE), inputs)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] == "accepted" for line in lines] == list(expected["accepted"])
    assert [int(line.split()[2]) for line in lines] == list(expected["label"])
    scores = [float(line.split()[4]) for line in lines]
    assert np.abs(scores - expected["score"]).max() < 1e-2
    names = random_scorer(CASE).fusion.parts
    assert [line.split()[5::2] for line in lines] == [list(names)] * 3
    values = [[float(word) for word in line.split()[6::2]] for line in lines]
    np.testing.assert_allclose(values, expected["values"], rtol=1e-2, atol=1e-2)
    (launch,) = [call for call in cuda.calls if call[0] == "cuLaunchKernel"]
    assert launch[9] == HANDLE
    assert cuda.count("cuMemsetD32Async") == 1  # of the room, when it is made
    assert not cuda.memory  # nothing is left on the device


def test_a_map_of_another_shape_is_an_error_in_words(
    cuda: CudaDouble, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pycuda_score_map.main(written(tmp_path, np.zeros((3, 36, 4, 4), np.float16))) != 0
    assert "y must be [B, 37, H, W]; got [3, 36, 4, 4]" in capsys.readouterr().err
