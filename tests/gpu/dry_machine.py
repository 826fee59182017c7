"""A Python whose NVIDIA card is made of doubles: dry_machine.py -m MODULE WORDS, or dry_machine.py SCRIPT.

The driver is the double of tests/kernels, whose launches run the kernel's own source on the CPU; torch works
on host memory and in the double's streams. A typing error in a step shows here; a time or a race does not.
"""

import contextlib
import ctypes
import importlib.machinery
import importlib.util
import os
import runpy
import sys
import types
import weakref
from collections.abc import Callable, Iterator
from enum import IntEnum
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "kernels"))

import numpy as np
from cuda_double import HostArray, Launch, Result
from cuda_streams import QueuedCudaDouble, bytes_at

from edgeosr.bench.gpu_rung import torch_device
from edgeosr.kernels import fused_score
from edgeosr.kernels.build import images
from edgeosr.kernels.driver.driver import Driver

MEMORY = 16 << 30
MARK = "cluster_mark"
assert fused_score  # its names are among those that are replaced


class Attribute(IntEnum):
    CU_DEVICE_ATTRIBUTE_CLOCK_RATE = 13
    CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16
    CU_DEVICE_ATTRIBUTE_INTEGRATED = 18
    CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE = 36
    CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE = 38
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76


class Lost(IntEnum):
    CUDA_ERROR_ILLEGAL_ADDRESS = 700


class Card(QueuedCudaDouble):
    """The driver's double with what the rung asks besides: clocks, free memory, builds that stop early."""

    CUdevice_attribute = Attribute

    def __init__(self) -> None:
        architecture = tuple(int(word) for word in os.environ.get("EDGEOSR_DRY_ARCH", "9.0").split("."))
        devices = int(os.environ.get("EDGEOSR_DRY_DEVICES", "1"))
        super().__init__(driver=13000, architecture=architecture, integrated=False, devices=devices)
        self.free = int(float(os.environ.get("EDGEOSR_DRY_FREE_GIB", "8")) * 2**30)
        # Memory of torch that the kernel may read. Kept, for it is freed before the stream gets there: on a
        # card torch gives it to later work of the same stream alone.
        self.lent: dict[int, np.ndarray] = {}
        self.stops: dict[str, str] = {}

    def lend(self, array: np.ndarray) -> HostArray:
        self.lent[array.ctypes.data] = array
        return HostArray(array)

    def misuse(self, words: str) -> None:
        print(words, file=sys.stderr, flush=True)
        os.abort()

    def on_device(self, address: int, size: int) -> bool:
        spans = ((start, array.nbytes) for start, array in self.lent.items())
        lent = any(start <= address and address + size <= start + room for start, room in spans)
        return lent or super().on_device(address, size)

    def _MemGetInfo(self) -> tuple[Any, ...]:
        return (Result.CUDA_SUCCESS, self.free, MEMORY)

    def _MemAlloc(self, size: int) -> Any:
        return (Result.CUDA_ERROR_OUT_OF_MEMORY, None) if size > MEMORY else super()._MemAlloc(size)

    def _MemcpyDtoHAsync(self, into: int, address: int, size: int, stream: int) -> None:
        if self._page_locked(into, size):
            return super()._MemcpyDtoHAsync(into, address, size, stream)
        self.drain(stream)  # to pageable memory CUDA copies before the call returns
        ctypes.memmove(into, address, size)

    def _DeviceGetName(self, size: int, ordinal: int) -> bytes:
        return b"a card made of doubles\0".ljust(size, b" ")

    def _DeviceGetPCIBusId(self, size: int, ordinal: int) -> bytes:
        return b"0000:65:00.0\0".ljust(size, b" ")

    def _DeviceGetAttribute(self, attribute: Attribute, ordinal: int) -> int:
        known = {"CLOCK_RATE": 1000000, "MULTIPROCESSOR_COUNT": 1, "MEMORY_CLOCK_RATE": 0, "L2_CACHE_SIZE": 0}
        name = attribute.name.removeprefix("CU_DEVICE_ATTRIBUTE_")
        return known[name] if name in known else super()._DeviceGetAttribute(attribute, ordinal)

    def _ModuleLoadData(self, image: bytes) -> str:
        """A build that stops is a text that names its macro, PTX cluster_mark's; any other is the kernel."""
        if image.startswith(b".version"):
            return MARK
        stop = image.rstrip(b"\0").decode() if image.startswith(b"EDGEOSR_STOP_AFTER=") else ""
        return stop or "module"

    def _ModuleGetFunction(self, module: str, name: bytes) -> tuple[Any, ...]:
        code, entry = super()._ModuleGetFunction(module, name)
        if module == MARK:
            code, entry = Result.CUDA_SUCCESS, name.decode()
        handle = f"{entry}|{module}" if module != "module" else entry
        self.stops[handle] = module
        return code, handle

    def _launched(self, launch: Launch) -> Any:
        if self.stops[launch.function] == MARK:
            ranks = [
                (int(launch.cluster > 1), launch.cluster, at % launch.cluster) for at in range(launch.blocks)
            ]
            marks = np.array(ranks, np.uint32)
            self.put(
                launch.stream,
                MARK,
                lambda: ctypes.memmove(launch.params.verdicts, marks.ctypes.data, marks.nbytes),
            )
            return None
        if not self.on_device(launch.params.input, 1):
            self.lose_at(("cuStreamSynchronize", 0), Lost.CUDA_ERROR_ILLEGAL_ADDRESS)
            return None
        if self.stops[launch.function] == "module":
            return super()._launched(launch)
        stop = self.stops[launch.function]
        self.put(launch.stream, "phases", lambda: launch.emulated(stop))
        return None


class HostTorch(torch_device.TorchDevice):
    """torch on the host's memory, its work in the double's streams."""

    name, compiler = "cpu", "eager"

    def __init__(self, driver: Any, torch: Any):
        super().__init__(driver, torch)
        self.dtype = torch.float32
        self.current = 0  # the stream that torch works on: its default one
        self.used: list[set[int]] = []  # of each page-locked tensor: the streams that torch worked on since

    def tensor_at(self, address: int, shape: tuple[int, ...], typestr: str) -> Any:
        size = int(np.prod(shape)) * np.dtype(typestr).itemsize
        assert self.driver.cuda.on_device(address, size), "no such memory"
        return self.torch.from_numpy(bytes_at(address, size).view(typestr).reshape(shape))

    def for_kernel(self, tensor: Any) -> Any:
        return self.driver.cuda.lend(tensor.detach().contiguous().numpy())

    def stream(self) -> int:
        return int(self.driver.stream())

    @contextlib.contextmanager
    def on(self, stream: int) -> Iterator[None]:
        for streams in self.used:
            streams.add(stream)
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    def enqueue(self, stream: int, work: Callable[[], Any]) -> None:
        def run() -> None:
            with self.torch.inference_mode():
                work()

        self.driver.cuda.put(stream, "torch", run)

    def graph(self, stream: int, work: Callable[[], Any], *, warm_up: int = 3) -> Any:
        """A graph that runs when the stream is waited for on which torch works when it is replayed."""
        made = Replay(self, stream, work)
        with self.on(stream):
            made.replay()
        self.driver.synchronize(stream)
        return made

    def run_now(self, stream: int, work: Callable[[], Any]) -> None:
        """Run ``work``, and what it puts into the stream, before what waits there already."""
        there = self.driver.cuda.of(stream)
        kept, there.waiting = there.waiting, []
        try:
            with self.torch.inference_mode():
                work()
            self.driver.cuda.drain(stream)
        finally:
            there.waiting = kept

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """As torch: freed, it records an event in each stream that used it, and takes each for alive."""
        tensor, streams = self.torch.empty(shape, dtype=dtype), set[int]()
        self.used.append(streams)
        weakref.finalize(tensor, self._freed, streams).atexit = False
        return tensor

    def _freed(self, streams: set[int]) -> None:
        self.used = [others for others in self.used if others is not streams]
        if not streams <= set(self.driver.cuda.streams):
            print(
                "terminate called after throwing an instance of 'c10::AcceleratorError'\n"
                "  what():  CUDA error: invalid resource handle: page-locked memory outlived its stream",
                file=sys.stderr,
                flush=True,
            )
            os.abort()


class Replay:
    """A class of its own, not one a graph: what ``work`` holds is freed when the last name of it is gone."""

    def __init__(self, device: HostTorch, stream: int, work: Callable[[], Any]):
        self.device, self.stream, self.work = device, stream, work

    def replay(self) -> None:
        device, stream, work = self.device, self.stream, self.work
        device.driver.cuda.put(device.current, "graph", lambda: device.run_now(stream, work))


def open_host_torch(driver: Any) -> HostTorch:
    import torch

    return HostTorch(driver, torch)


def install() -> None:
    """Put the doubles where the product looks for a card."""
    os.environ["EDGEOSR_GPU_SMALL"] = "1"
    card, whole = Driver(Card()), images.Image(b"\x7fELF", "the execution on a CPU")
    doubles = {
        "open_driver": lambda purpose="": card,
        "open_torch": open_host_torch,
        "image_for": lambda device, **places: whole,
    }
    # torch imports the real bindings, so they stay; what the product made of them is replaced where it is.
    for name, module in list(sys.modules.items()):
        if name.startswith("edgeosr"):
            for what, double in doubles.items():
                if hasattr(module, what):
                    setattr(module, what, double)


def builder() -> None:
    """Let a TensorRT be installed, for the step that asks for one; nothing of it is there."""
    name = "tensorrt_rtx"
    if importlib.util.find_spec(name) is None:
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        sys.modules[name] = module


def selftest_of_an_engine(words: list[str]) -> None:
    """edgeosr selftest BUNDLE --device in the words that it prints: no engine can be built without a card."""
    assert words[1] == "selftest" and words[3:] == ["--device", "--json"], words
    assert (Path(words[2]) / "manifest.json").is_file(), "a copy of the archive's bundle"
    print('building\n{\n "passed": true,\n "made_up": "no engine was built"\n}')


def main() -> None:
    install()
    builder()
    words = sys.argv[1:]
    if words[0] == "-m" and words[1] == "edgeosr.cli.app" and "--device" in words:
        selftest_of_an_engine(words[1:])
    elif words[0] == "-m":
        sys.argv = [words[1], *words[2:]]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    main()
