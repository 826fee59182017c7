"""Which score parts the fused kernel has a function for: the list in ``src/parts.cuh``, and only it."""

import functools
import re

from edgeosr.kernels.build.sources import device_source


@functools.cache
def kernel_parts() -> dict[int, str]:
    """Return the names of the kernel's parts by code."""
    text = device_source().headers["parts.cuh"]
    lines = text.partition("#define EDGEOSR_PARTS(PART, SUM, LATE)")[2]
    return {int(code): name for code, name in re.findall(r"\b(?:PART|SUM|LATE)\((\d+), (\w+)", lines)}
