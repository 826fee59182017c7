"""A host array's copy in device memory, for the selftest."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.kernels.driver.driver import Driver


class DeviceCopy:
    """The copy, contiguous; ``driver.free(copy.address)`` after use."""

    def __init__(self, driver: Driver, array: NDArray[Any]):
        array = np.ascontiguousarray(array)
        self.address = driver.allocate(array.nbytes)
        driver.write(self.address, array.tobytes(), 0)
        driver.synchronize(0)
        self.__cuda_array_interface__ = {
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (self.address, True),
            "strides": None,
            "version": 3,
            "stream": None,
        }
