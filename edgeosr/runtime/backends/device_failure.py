"""Which failures of a driver call a runner survives, and which end it."""

from edgeosr.errors import CudaError, DeviceError, DeviceLostError, DeviceMemoryError

OUT_OF_MEMORY = "CUDA_ERROR_OUT_OF_MEMORY"
# After these the context works on. Any other code, one not known yet too, counts as lost: CUDA repeats an
# error that it cannot recover from at every later call, and a verdict after it would be worth nothing.
_SURVIVED = {
    OUT_OF_MEMORY,
    "CUDA_ERROR_INVALID_VALUE",
    "CUDA_ERROR_NOT_SUPPORTED",
    "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES",
    "CUDA_ERROR_NOT_PERMITTED",
}
# What a capture forbids ends the capture alone; CUDA numbers these 900 to 908.
_CAPTURE = ("CUDA_ERROR_STREAM_CAPTURE_", "CUDA_ERROR_CAPTURED_EVENT")


def is_capture_failure(error: CudaError) -> bool:
    """Say whether only the capture failed: the same work may still run without one."""
    return error.code.startswith(_CAPTURE) or error.code in {
        "CUDA_ERROR_NOT_SUPPORTED",
        "CUDA_ERROR_INVALID_VALUE",
        "CUDA_ERROR_NOT_PERMITTED",
    }


def is_fatal(error: CudaError) -> bool:
    """Say whether the device is of no more use to this process."""
    return error.code not in _SURVIVED and not error.code.startswith(_CAPTURE)


def worded(error: CudaError, doing: str) -> DeviceError:
    """Return the error for the user.

    Args:
        error: of the driver call.
        doing: what failed, for the sentence "... while DOING".
    """
    if error.code == OUT_OF_MEMORY:
        return DeviceMemoryError(
            f"the GPU's memory is full while {doing} ({error.call}); close other programs on it, use smaller "
            "batches, or backend='onnxruntime'; this runtime can go on"
        )
    if is_fatal(error):
        return DeviceLostError(
            f"the GPU failed while {doing}: {error}; this runtime is closed, and CUDA allows no further use "
            "of the GPU in this process: start a new one; if it happens again, see dmesg and run: edgeosr "
            "selftest --device"
        )
    return error
