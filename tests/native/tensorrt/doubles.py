"""libcuda and libnvinfer as C libraries whose every call goes to the doubles of the Python runner's tests.

For a process of its own: a library named libcuda.so.1 stays in it, and whatever looks finds a driver there.
"""

import ctypes
import functools
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TESTS = HERE.parents[1]
for folder in (TESTS / "runtime" / "backends", TESTS / "kernels"):
    sys.path.append(str(folder))  # behind the folder of whoever imports this, which has a conftest too

from cuda.bindings import driver as genuine  # noqa: E402  # the folders come first
from cuda_streams import QueuedCudaDouble  # noqa: E402
from engine_double import EngineDouble, TrtDouble  # noqa: E402

from edgeosr.kernels.build.toolchain import find_nvcc  # noqa: E402

# Every function of driver.h under the driver's own name: p is a pointer or a size, i an int.
CUDA = {
    "cuInit": "i", "cuDriverGetVersion": "p", "cuDeviceGetCount": "p", "cuDeviceGet": "pi",
    "cuDeviceGetName": "pii", "cuDeviceGetAttribute": "pii", "cuDeviceTotalMem_v2": "pi",
    "cuDevicePrimaryCtxRetain": "pi", "cuCtxGetCurrent": "p", "cuCtxGetDevice": "p",
    "cuCtxPushCurrent_v2": "p", "cuCtxPopCurrent_v2": "p", "cuModuleLoadData": "pp", "cuModuleUnload": "p",
    "cuModuleGetFunction": "ppp", "cuFuncSetAttribute": "pii", "cuMemAlloc_v2": "pp", "cuMemFree_v2": "p",
    "cuMemGetInfo_v2": "pp",
    "cuMemHostAlloc": "ppi", "cuMemFreeHost": "p", "cuMemHostGetDevicePointer_v2": "ppi",
    "cuMemcpyHtoDAsync_v2": "pppp", "cuMemcpyDtoHAsync_v2": "pppp", "cuMemsetD32Async": "pipp",
    "cuStreamCreate": "pi", "cuStreamDestroy_v2": "p", "cuStreamSynchronize": "p",
    "cuLaunchKernel": "piiiiiiippp", "cuGetErrorName": "ip", "cuLaunchKernelEx": "pppp",
    "cuOccupancyMaxActiveClusters": "ppp",
}  # fmt: skip
# Those that give something through their first argument; the double returns it.
GIVE = {
    "cuDriverGetVersion": ctypes.c_int, "cuDeviceGetCount": ctypes.c_int, "cuCtxGetDevice": ctypes.c_int,
    "cuDeviceGetAttribute": ctypes.c_int, "cuDevicePrimaryCtxRetain": ctypes.c_uint64,
    "cuCtxGetCurrent": ctypes.c_uint64, "cuCtxPopCurrent": ctypes.c_uint64,
    "cuModuleGetFunction": ctypes.c_uint64,
    "cuMemAlloc": ctypes.c_uint64, "cuMemHostAlloc": ctypes.c_uint64,
    "cuMemHostGetDevicePointer": ctypes.c_uint64, "cuStreamCreate": ctypes.c_uint64,
    "cuOccupancyMaxActiveClusters": ctypes.c_int,
}  # fmt: skip
MAPPED = 2  # CU_MEMHOSTALLOC_DEVICEMAP
CTYPES = {"p": ctypes.c_uint64, "i": ctypes.c_int32}


def compiled(out: Path, *words: str) -> Path:
    """Compile a library, warnings being errors."""
    command = ["g++", "-std=c++17", "-fPIC", "-shared", "-O1", "-Wall", "-Wextra", "-Werror", *words]
    done = subprocess.run([*command, "-o", str(out)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:4000]
    return out


def cuda_library(folder: Path) -> Path:
    """Compile libcuda.so.1: each function calls what is set for it."""
    lines = ["#include <cstdint>"]
    for name, kinds in CUDA.items():
        types = ", ".join({"p": "std::uint64_t", "i": "std::int32_t"}[kind] for kind in kinds)
        given = ", ".join(f"{{}} a{i}".format(t) for i, t in enumerate(types.split(", ")))
        passed = ", ".join(f"a{i}" for i in range(len(kinds)))
        lines.append(f"static int (*to_{name})({types});")
        lines.append(f'extern "C" void set_{name}(int (*to)({types})) {{ to_{name} = to; }}')
        lines.append(f'extern "C" int {name}({given}) {{ return to_{name}({passed}); }}')
    source = folder / "cuda_double.cpp"
    source.write_text("\n".join(lines) + "\n", "utf-8")
    return compiled(folder / "libcuda.so.1", str(source), "-Wl,-soname,libcuda.so.1")


def stubs_from(include: Path) -> str:
    """Return classes for the double to derive from, one for each of TensorRT's; their methods abort."""
    lines = []
    header = next(path for path in (include / "NvInferImpl.h", include / "NvInferRuntime.h") if path.exists())
    text = re.sub(r"//[^\n]*", "", header.read_text("utf-8"))
    for name in ("Runtime", "CudaEngine", "ExecutionContext"):
        body = re.search(rf"\nclass V{name} : public VRoot\s*\{{(.*?)\n\}};", text, re.DOTALL)
        assert body is not None, f"{header} has no class V{name}"
        methods = re.findall(r"virtual\s+([^;]*?)\s*=\s*0\s*;", body[1])
        assert methods
        lines.append(f"namespace nvinfer1 {{ class Stub{name} : public apiv::V{name} {{ public:")
        for method in methods:
            called = re.search(r"(\w+)\(", method)
            assert called is not None
            lines.append(f'    {method} override {{ unexpected("{called[1]}"); }}')
        lines.append("}; }")
    return "\n".join(lines) + "\n"


def nvinfer_library(folder: Path, include: Path, flags: Sequence[str] = ()) -> Path:
    """Compile libnvinfer behind the classes of these headers; flags: of a sanitizer."""
    (folder / "nvinfer_stubs.inc").write_text(stubs_from(include), "utf-8")
    return compiled(
        folder / "libnvinfer_double.so", str(HERE / "nvinfer_double.cpp"), f"-I{folder}", *flags,
        "-Wno-unused-parameter", "-Wno-deprecated-declarations", "-isystem", str(include),
        "-isystem", str(find_nvcc().include),
    )  # fmt: skip


class Faults(list[str]):
    """What went wrong inside a call from C, where nothing can be raised."""

    def guarded(self, call: Any, failed: Any) -> Any:
        @functools.wraps(call)
        def run(*arguments: Any) -> Any:
            try:
                return call(*arguments)
            except BaseException as error:
                self.append(f"{call.__name__}: {error!r}")
                return failed

        return run


class LaunchConfig(ctypes.Structure):
    """CUlaunchConfig of cuda.h."""

    _fields_ = [
        *((name, ctypes.c_uint32) for name in ("gridDimX", "gridDimY", "gridDimZ")),
        *((name, ctypes.c_uint32) for name in ("blockDimX", "blockDimY", "blockDimZ", "sharedMemBytes")),
        ("hStream", ctypes.c_uint64), ("attrs", ctypes.c_uint64), ("numAttrs", ctypes.c_uint32),
    ]  # fmt: skip


ATTRIBUTE_BYTES = 72  # of CUlaunchAttribute


def launch_config(address: int) -> Any:
    """Return a CUlaunchConfig of C as cuda-python's."""
    raw, config = LaunchConfig.from_address(address), genuine.CUlaunchConfig()
    for name, _ in LaunchConfig._fields_:
        if name != "attrs":
            setattr(config, name, getattr(raw, name))
    attributes = [genuine.CUlaunchAttribute() for _ in range(raw.numAttrs)]
    for index, attribute in enumerate(attributes):
        ctypes.memmove(attribute.getPtr(), raw.attrs + index * ATTRIBUTE_BYTES, ATTRIBUTE_BYTES)
    config.attrs = attributes
    return config


class Card:
    """The driver, by ``QueuedCudaDouble``, under the C library."""

    def __init__(self, library: ctypes.CDLL, cuda: QueuedCudaDouble, faults: Faults):
        self.cuda, self.faults, self.kept = cuda, faults, []
        self.lock = threading.RLock()
        self.names = {"": 0}  # what the double names, as numbers
        self.memory = 8 << 30
        self.limit = 8 << 30  # of what can be allocated at once; the host's too where it is shared
        self.modules: list[int] = []  # loaded, and not unloaded
        for name, kinds in CUDA.items():
            call = functools.partial(self.call, name)
            call.__name__ = name  # type: ignore[attr-defined]  # a partial takes any
            typed = ctypes.CFUNCTYPE(ctypes.c_int32, *(CTYPES[kind] for kind in kinds))
            self.kept.append(typed(faults.guarded(call, 999)))
            getattr(library, f"set_{name}")(self.kept[-1])

    def call(self, full: str, *given: int) -> int:
        name = full.removesuffix("_v2")
        with self.lock:
            if name == "cuGetErrorName":
                self.text = ctypes.create_string_buffer(f"CUDA_ERROR_{given[0]}".encode())
                return put(given[1], ctypes.c_uint64, ctypes.addressof(self.text))
            if name == "cuDeviceGet":
                return put(given[0], ctypes.c_int, given[1])
            if name == "cuDeviceTotalMem":
                return put(given[0], ctypes.c_uint64, self.memory)
            if name == "cuMemGetInfo":
                put(given[0], ctypes.c_uint64, self.limit - self.used())
                return put(given[1], ctypes.c_uint64, self.memory)
            of_the_card = name == "cuMemAlloc" or (name == "cuMemHostAlloc" and given[2] & MAPPED)
            if of_the_card and given[1] > self.limit - self.used():
                self.cuda.calls.append((name, *given))
                return int(genuine.CUresult.CUDA_ERROR_OUT_OF_MEMORY)
            if name == "cuModuleUnload":
                self.modules.remove(given[0])
                return 0
            code, found = self.forwarded(name, given)
            if code == 0 and name == "cuModuleLoadData":
                self.modules.append(ctypes.c_uint64.from_address(given[0]).value)
            if code == 0 and name in GIVE:
                put(given[0], GIVE[name], found)
            return code

    def used(self) -> int:
        """Bytes that are allocated."""
        mapped = sum(size for _, size, device in self.cuda.host.values() if device)
        return mapped + sum(len(room) - 256 for room in self.cuda.memory.values())

    def forwarded(self, name: str, given: tuple[int, ...]) -> tuple[int, Any]:
        call = getattr(self.cuda, name)
        if name == "cuDeviceGetName":
            code, text = call(given[1], given[2])
            if code == 0:
                ctypes.memmove(given[0], text.split(b"\0")[0] + b"\0", len(text.split(b"\0")[0]) + 1)
            return int(code), None
        if name == "cuModuleLoadData":
            code, module = call(ctypes.string_at(given[1], 4) + b"\0")
            if code == 0:
                put(given[0], ctypes.c_uint64, self.number(module))
            return int(code), None
        if name == "cuModuleGetFunction":
            code, entry = call(self.named(given[1]), ctypes.string_at(given[2]))
            return int(code), code == 0 and self.number(entry)
        if name == "cuFuncSetAttribute":
            return int(call(self.named(given[0]), *given[1:])[0]), None
        if name == "cuLaunchKernel":
            return int(call(self.named(given[0]), *given[1:])[0]), None
        if name == "cuLaunchKernelEx":
            return int(call(launch_config(given[0]), self.named(given[1]), *given[2:])[0]), None
        if name == "cuOccupancyMaxActiveClusters":
            code, found = call(self.named(given[1]), launch_config(given[2]))
            return int(code), found
        if name == "cuMemcpyHtoDAsync" and not self.cuda._page_locked(given[1], given[2]):
            return int(call(given[0], ctypes.string_at(given[1], given[2]), *given[2:])[0]), None
        if name == "cuDeviceGetAttribute":
            attribute = self.cuda.CUdevice_attribute(given[1])
            code, found = call(attribute, given[2])
            return int(code), found
        code, found = call(*(given[1:] if name in GIVE else given))
        return int(code), found

    def number(self, name: str) -> int:
        return self.names.setdefault(name, len(self.names))

    def named(self, number: int) -> str:
        return next(name for name, own in self.names.items() if own == number)


def put(address: int, kind: Any, value: Any) -> int:
    kind.from_address(address).value = int(value)
    return 0


# Members of ``Calls`` of nvinfer_double.cpp, in order: result, then arguments.
I32, I64, PTR, TXT = ctypes.c_int32, ctypes.c_int64, ctypes.c_void_p, ctypes.c_char_p
SIZES = ctypes.POINTER(ctypes.c_int64)
CALLS = {
    "started": (I32, I32), "load": (I64, PTR, ctypes.c_size_t), "made": (I64, I64, I32), "count": (I32, I64),
    "name": (None, I64, I32, PTR), "fact": (I32, I64, TXT, TXT), "profile": (I32, I64, TXT, I32, I32, SIZES),
    "memory": (I64, I64), "set_memory": (None, I64, PTR, I64), "set_shape": (I32, I64, TXT, I32, SIZES),
    "shape": (I32, I64, TXT, SIZES), "set_address": (I32, I64, TXT, PTR), "enqueue": (I32, I64, PTR),
    "gone": (None, TXT, I64), "said": (None, PTR),
}  # fmt: skip


class Calls(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.CFUNCTYPE(*types)) for name, types in CALLS.items()),
        ("version", I32),
        ("build", I32),
    ]


# Numbers of NvInferRuntimeBase.h.
NUMBERS = {
    "dtype": {"FLOAT": 0, "HALF": 1, "INT8": 2, "INT32": 3, "BOOL": 4, "UINT8": 5, "INT64": 8},
    "mode": {"NONE": 0, "INPUT": 1, "OUTPUT": 2},
    "location": {"DEVICE": 0, "HOST": 1},
    "format": {"LINEAR": 0, "CHW2": 1},
}
USER_MANAGED = 2
ALONE = ("made", "gone")  # TensorRT takes no two of these at once


class TensorRT:
    """libnvinfer, which loads the plans of ``engines``; ``alive`` lists what was made and is not freed."""

    def __init__(self, library: ctypes.CDLL, faults: Faults, *, version: int = 100300, build: int = 0):
        self.engines: dict[bytes, EngineDouble] = {}
        self.loaded: list[EngineDouble] = []
        self.contexts: list[Any] = []
        self.alive: list[str] = []
        self.words = b""
        self.starts = 1  # what ``started`` says
        self.asked: list[int] = []
        self.lock, self.inside = threading.RLock(), 0
        failed = {name: None if types[0] is None else 0 for name, types in CALLS.items()}
        members = {
            name: ctypes.CFUNCTYPE(*types)(
                faults.guarded(self.locked(getattr(self, name), alone=name in ALONE), failed[name])
            )
            for name, types in CALLS.items()
        }
        self.calls = Calls(**members, version=version, build=build)
        library.double_set(ctypes.byref(self.calls))

    def locked(self, call: Any, *, alone: bool) -> Any:
        """Let one call in at a time; ``alone``: TensorRT does not, so two such at once are a fault."""

        @functools.wraps(call)
        def run(*arguments: Any) -> Any:
            if alone:
                self.inside += 1
                time.sleep(0.005)
                assert self.inside == 1, "two contexts are made, or let go, at once"
                self.inside -= 1
            with self.lock:
                return call(*arguments)

        return run

    def started(self, version: int) -> int:
        self.asked.append(version)
        if self.starts:
            self.alive.append("runtime 0")
        return self.starts

    def load(self, plan: int, size: int) -> int:
        found = self.engines.get(ctypes.string_at(plan, size))
        if found is None:
            self.words = b"magic tag does not match"
            return 0
        self.loaded.append(found)
        self.alive.append(f"engine {len(self.loaded)}")
        return len(self.loaded)

    def of(self, number: int) -> EngineDouble:
        return self.loaded[number - 1]

    def made(self, engine: int, strategy: int) -> int:
        assert strategy == USER_MANAGED
        managed = TrtDouble.ExecutionContextAllocationStrategy.USER_MANAGED
        context = self.of(engine).create_execution_context(managed)
        if context is None:
            return 0
        self.contexts.append(context)
        self.alive.append(f"context {len(self.contexts)}")
        return len(self.contexts)

    def count(self, engine: int) -> int:
        return self.of(engine).num_io_tensors

    def name(self, engine: int, index: int, text: int) -> None:
        name = self.of(engine).get_tensor_name(index).encode()
        ctypes.memmove(text, name + b"\0", len(name) + 1)

    def fact(self, engine: int, name: bytes, what: bytes) -> int:
        found = getattr(self.of(engine), f"get_tensor_{what.decode()}")(name.decode())
        return NUMBERS[what.decode()][found.name]

    def profile(self, engine: int, name: bytes, index: int, which: int, sizes: Any) -> int:
        shape = self.of(engine).get_tensor_profile_shape(name.decode(), index)[0 if which == 0 else -1]
        for i, size in enumerate(shape):
            sizes[i] = size
        return len(shape)

    def memory(self, engine: int) -> int:
        return self.of(engine).device_memory_size_v2

    def set_memory(self, context: int, address: int, size: int) -> None:
        self.contexts[context - 1].set_device_memory(address, size)

    def set_shape(self, context: int, name: bytes, rank: int, sizes: Any) -> int:
        return self.contexts[context - 1].set_input_shape(name.decode(), tuple(sizes[:rank]))

    def shape(self, context: int, name: bytes, sizes: Any) -> int:
        found = self.contexts[context - 1].get_tensor_shape(name.decode())
        for i, size in enumerate(found):
            sizes[i] = size
        return len(found)

    def set_address(self, context: int, name: bytes, address: int) -> int:
        return self.contexts[context - 1].set_tensor_address(name.decode(), address)

    def enqueue(self, context: int, stream: int | None) -> int:
        return self.contexts[context - 1].execute_async_v3(stream or 0)

    def gone(self, what: bytes, number: int) -> None:
        self.alive.remove(f"{what.decode()} {number}")

    def said(self, text: int) -> None:
        words, self.words = self.words or b"it is a double", b""
        ctypes.memmove(text, words + b"\0", len(words) + 1)


def include_folder() -> Path:
    """TensorRT's headers that ``make native-tensorrt`` names; else those that stand in for them."""
    return Path(os.environ.get("EDGEOSR_TENSORRT_INCLUDE") or HERE / "stand_in")


def headers_version(include: Path) -> int:
    """The number that libnvinfer of these headers says, such as 100300."""
    text = (include / "NvInferVersion.h").read_text("utf-8")
    numbers = dict(re.findall(r"#define (?:NV_TENSORRT|TRT)_(MAJOR|MINOR|PATCH)(?:_ENTERPRISE)? (\d+)", text))
    return int(numbers["MAJOR"]) * 10000 + int(numbers["MINOR"]) * 100 + int(numbers["PATCH"])
