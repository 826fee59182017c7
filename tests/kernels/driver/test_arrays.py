"""Streams and arrays of other libraries. What a scorer makes of arrays: test_loader.py."""

from types import SimpleNamespace
from typing import Any

import pytest

from edgeosr.errors import UsageError
from edgeosr.kernels.driver.arrays import device_array, stream_handle


@pytest.mark.parametrize(
    "stream",
    [
        42,
        SimpleNamespace(__cuda_stream__=lambda: (0, 42)),
        SimpleNamespace(__cuda_stream__=(0, 42)),
        SimpleNamespace(handle=42),
        SimpleNamespace(cuda_stream=42),
    ],
    ids=["int", "protocol", "attribute", "PyCUDA", "torch"],
)
def test_a_stream_is_an_int_or_an_object_of_another_library(stream: Any) -> None:
    assert stream_handle(stream) == 42
    assert stream_handle(None) == 0


def test_what_is_no_stream_is_refused() -> None:
    for stream in ("0", -1, True, SimpleNamespace(__cuda_stream__=(1, 2))):
        with pytest.raises(UsageError, match="stream"):
            stream_handle(stream)


def test_a_torch_tensor_on_the_cpu_is_refused_in_our_words() -> None:
    torch = pytest.importorskip("torch")  # a part of the train extra, which make test installs
    with pytest.raises(UsageError, match="y must be on a CUDA device; got Tensor on the CPU"):
        device_array("y", torch.zeros(1), 0)
