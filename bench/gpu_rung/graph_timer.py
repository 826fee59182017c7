"""One launch of the kernel timed as a CUDA graph, as it runs in a camera app."""

from collections.abc import Callable
from typing import Any

import numpy as np

from edgeosr.kernels.driver.driver import Driver
from edgeosr.kernels.driver.graphs import Graph
from edgeosr.kernels.driver.interleaved import how, interleaved_us


def graphs_how(rounds: int, warm_up: int) -> str:
    """Return the conditions of times of the kernel, for a report: nothing is cleared before a launch."""
    return f"CUDA graphs of the kernel alone; median of {how(rounds, warm_up)}"


def graph_microseconds(
    driver: Driver, work: Callable[[int], Any], *, rounds: int = 50, warm_up: int = 10
) -> float:
    """Return the median time of ``work``, microseconds.

    Args:
        driver: of the device.
        work: enqueues on the stream it is given; called once before it is captured.
        rounds: samples.
        warm_up: rounds before them.
    """
    with driver.own_stream() as own:
        work(own)
        driver.synchronize(own)
        graph = Graph(driver, own, lambda: work(own))
        try:
            found = interleaved_us(driver, own, {"work": graph.replay}, rounds=rounds, warm_up=warm_up)
        finally:
            driver.synchronize(own)
            graph.close()
    return round(float(np.median(found["work"])), 2)
