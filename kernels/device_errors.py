"""What can go wrong between a scorer and the GPU, each with its next step.

EdgeosrError
`-- DeviceError             the fused kernel cannot run here
    |-- NoDriverError       no NVIDIA driver
    |-- NoDeviceError       a driver, but no device (or none of that number)
    |-- DriverTooOldError   no build of the kernel that this driver can load
    |-- MissingSymbolError  a loaded build lacks the kernel's entry
    |-- KernelBuildError    a compiler is missing or failed
    |-- EngineRunError      an engine does not run, or is not one of this bundle
    |-- DeviceMemoryError   the device's memory is full
    |-- DeviceLostError     the device failed in a way that ends this process's use of it
    `-- CudaError           any other failure of a driver call
"""

from edgeosr.errors import EdgeosrError


class DeviceError(EdgeosrError):
    """The fused kernel cannot run here; ``model.onnx`` gives the same verdicts on any backend."""


class NoDriverError(DeviceError):
    """The NVIDIA driver is missing."""


class NoDeviceError(DeviceError):
    """The driver reports no usable device."""


class DriverTooOldError(DeviceError):
    """No build of the kernel suits this driver and device."""


class MissingSymbolError(DeviceError):
    """A build of the kernel lacks an entry."""


class KernelBuildError(DeviceError):
    """A compiler is missing, or failed; the message holds its own words, trimmed, and the file."""


class EngineRunError(DeviceError):
    """An engine does not run, or its inputs and outputs are not those of this bundle."""


class DeviceMemoryError(DeviceError):
    """The device's memory is full; what was running before can go on."""


class DeviceLostError(DeviceError):
    """The device failed in a way that ends every further use of it in this process."""


class CudaError(DeviceError):
    """A CUDA driver call failed; ``call`` is its name, ``code`` CUDA's name of the error."""

    def __init__(self, message: str, *, call: str, code: str):
        super().__init__(message)
        self.call = call
        self.code = code


def trimmed(text: str, lines: int = 12) -> str:
    """Return the first ``lines`` lines that are not empty of a compiler's output, and how many were cut."""
    kept = [line.rstrip() for line in text.splitlines() if line.strip()]
    more = len(kept) - lines
    return "\n".join([*kept[:lines], *([f"... {more} more lines"] if more > 0 else [])])
