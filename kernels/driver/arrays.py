"""Arrays and streams of other libraries, as they lie on the device: addresses, shapes, strides.

Anything with ``__cuda_array_interface__`` (CuPy, torch, PyCUDA, Numba) or DLPack (torch, CuPy, cuda.core) is
used where it lies: tensors for the fused kernel, frames for an engine. Nothing is copied and no library is
imported.
"""

import ctypes
from dataclasses import dataclass
from typing import Any

from edgeosr.errors import EdgeosrError, UsageError

_DLPACK_CUDA = (2, 13)  # kDLCUDA, kDLCUDAManaged


@dataclass(frozen=True)
class _Elements:
    """Element types that are taken: bytes of each by NumPy's type string and DLPack's (code, bits, lanes)."""

    names: str
    typestr: dict[str, int]
    dlpack: dict[tuple[int, int, int], int]


_FLOATS = _Elements(
    "float16 or float32", {"<f2": 2, "<f4": 4, "=f2": 2, "=f4": 4}, {(2, 16, 1): 2, (2, 32, 1): 4}
)
_BYTES = _Elements("uint8", {"|u1": 1, "<u1": 1, "=u1": 1}, {(1, 8, 1): 1})


@dataclass(frozen=True)
class DeviceArray:
    """An array in device memory.

    Attributes:
        pointer: address of its first element.
        shape: as given.
        strides: in elements.
        half: fp16, else fp32 (``device_array``) or uint8 (``device_bytes``).
        stream: the stream on which its content becomes ready, or None: the caller has ordered that.
        device: its ordinal, or None where the interface does not tell.
        owner: what keeps the memory.
    """

    pointer: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    half: bool
    stream: int | None
    device: int | None
    owner: object


def device_array(name: str, array: Any, stream: int) -> DeviceArray:
    """Look at ``array``.

    Args:
        name: of the argument, for messages.
        array: has ``__cuda_array_interface__`` or ``__dlpack__``; fp16 or fp32.
        stream: where it will be used; a DLPack producer lets it wait for its own.

    Raises:
        UsageError: it is not in a CUDA device's memory, or of another dtype.
    """
    return _looked_at(name, array, stream, _FLOATS)


def device_bytes(name: str, array: Any, stream: int) -> DeviceArray:
    """Look at ``array`` like ``device_array``; its elements must be uint8."""
    return _looked_at(name, array, stream, _BYTES)


def _looked_at(name: str, array: Any, stream: int, elements: _Elements) -> DeviceArray:
    try:
        found, size = _found(name, array, stream, elements)
    except EdgeosrError:
        raise
    except Exception as error:  # what another library answers is its own affair
        raise UsageError(
            f"{name} must be an array on a CUDA device; {type(array).__name__} does not say where it lies: "
            f"{error or type(error).__name__}; detach or copy it first"
        ) from error
    if found.pointer % size:
        raise UsageError(
            f"{name} must be aligned to its {size}-byte elements; got address {found.pointer:#x}"
        )
    return found


def _found(name: str, array: Any, stream: int, elements: _Elements) -> tuple[DeviceArray, int]:
    # torch raises on access for a tensor that is not on a device: then DLPack words the error.
    interface = getattr(array, "__cuda_array_interface__", None)
    if interface is not None:
        return _from_interface(name, interface, array, elements)
    if hasattr(array, "__dlpack__") and hasattr(array, "__dlpack_device__"):
        return _from_dlpack(name, array, stream, elements)
    raise UsageError(
        f"{name} must be an array on a CUDA device, with __cuda_array_interface__ or DLPack (CuPy, "
        f"torch, PyCUDA, cuda.core); got {type(array).__name__}"
    )


def stream_handle(stream: Any) -> int:
    """Return the address of a CUDA stream; None is the legacy default stream, 0.

    Args:
        stream: an int, or an object with ``__cuda_stream__`` (cuda.core, CuPy), ``handle`` (PyCUDA) or
            ``cuda_stream`` (torch).

    Raises:
        UsageError: none of these.
    """
    if stream is None:
        return 0
    if isinstance(stream, int) and not isinstance(stream, bool) and stream >= 0:
        return stream
    protocol = getattr(stream, "__cuda_stream__", None)
    if protocol is not None:
        version, handle = protocol() if callable(protocol) else protocol
        if version != 0:
            raise UsageError(f"__cuda_stream__ must be of version 0; got {version}; update edgeosr")
        return int(handle)
    for attribute in ("handle", "cuda_stream"):
        handle = getattr(stream, attribute, None)
        if isinstance(handle, int):
            return handle
    raise UsageError(
        "stream must be an int, or an object with __cuda_stream__, .handle (PyCUDA) or .cuda_stream (torch); "
        f"got {stream!r}"
    )


def rows_stride(name: str, array: DeviceArray, axis: int, inner: tuple[int, ...]) -> int:
    """Return the stride of ``axis`` in elements, 0 if it has one entry; those after it must be ``inner``.

    Raises:
        UsageError: an inner axis of more than one entry lies otherwise.
    """
    got = array.strides[axis + 1 :]
    for size, have, want in zip(array.shape[axis + 1 :], got, inner, strict=True):
        if size > 1 and have != want:
            raise UsageError(
                f"{name} must have the inner strides {inner} (elements); got {got} with shape {array.shape}; "
                "make it contiguous"
            )
    stride = array.strides[axis]
    if array.shape[axis] > 1 and stride <= 0:
        raise UsageError(f"{name} must have positive strides; got {array.strides}")
    return stride if array.shape[axis] > 1 else 0


def _from_interface(
    name: str, interface: dict[str, Any], owner: object, elements: _Elements
) -> tuple[DeviceArray, int]:
    typestr = interface["typestr"]
    if typestr not in elements.typestr:
        raise UsageError(f"{name} must be {elements.names}; got the type string {typestr!r}")
    if interface.get("mask") is not None:
        raise UsageError(f"{name} is a masked array, which the fused kernel does not take")
    shape = tuple(int(size) for size in interface["shape"])
    itemsize = elements.typestr[typestr]
    given = interface.get("strides")
    if given is not None and any(step % itemsize for step in given):
        raise UsageError(f"{name} has strides of {tuple(given)} bytes, not multiples of {itemsize}")
    strides = contiguous(shape) if given is None else tuple(int(step) // itemsize for step in given)
    pointer, stream = int(interface["data"][0]), interface.get("stream")
    return DeviceArray(pointer, shape, strides, itemsize == 2, stream, None, owner), itemsize


class _DLTensor(ctypes.Structure):
    """The DLTensor of dlpack.h, at the start of both kinds of managed tensor that a capsule can hold."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


def _from_dlpack(name: str, array: Any, stream: int, elements: _Elements) -> tuple[DeviceArray, int]:
    kind, ordinal = array.__dlpack_device__()
    if int(kind) not in _DLPACK_CUDA:
        where = "the CPU" if int(kind) in (1, 3) else f"DLPack device type {int(kind)}"
        raise UsageError(f"{name} must be on a CUDA device; got {type(array).__name__} on {where}")
    capsule = array.__dlpack__(stream=stream or 1)  # 1 is the legacy default stream, 0 is not allowed
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    tensor = _DLTensor.from_address(pointer(capsule, b"dltensor"))
    kinds = (tensor.code, tensor.bits, tensor.lanes)
    if kinds not in elements.dlpack:
        raise UsageError(f"{name} must be {elements.names}; got the DLPack type {kinds}")
    shape = tuple(tensor.shape[axis] for axis in range(tensor.ndim))
    strides = (
        tuple(tensor.strides[axis] for axis in range(tensor.ndim)) if tensor.strides else contiguous(shape)
    )
    address = (tensor.data or 0) + tensor.byte_offset
    # Not consumed: the capsule's own destructor returns the tensor once we let go of it.
    found = DeviceArray(address, shape, strides, tensor.bits == 16, None, int(ordinal), (array, capsule))
    return found, elements.dlpack[kinds]


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides, in elements, of a C-ordered array."""
    strides = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))
