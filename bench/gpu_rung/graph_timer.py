"""One launch of the kernel timed as a CUDA graph, as it runs in a camera app."""

from collections.abc import Callable
from typing import Any

import numpy as np

from edgeosr.kernels.driver.driver import Driver
from edgeosr.kernels.driver.graphs import Graph

TRAIN = 10  # replays between two events
HOW = (
    "median of {rounds} rounds after {warm_up}; {train} CUDA-graph replays between two events, divided by "
    "{train}"
)


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
        start, end = driver.timed_event(), driver.timed_event()
        try:
            work(own)
            driver.synchronize(own)
            graph = Graph(driver, own, lambda: work(own))
            try:
                samples = []
                for turn in range(warm_up + rounds):
                    driver.record(start, own)
                    for _ in range(TRAIN):
                        graph.replay()
                    driver.record(end, own)
                    elapsed = driver.elapsed_ms(start, end)
                    if turn >= warm_up:
                        samples.append(1000 * elapsed / TRAIN)
            finally:
                driver.synchronize(own)
                graph.close()
        finally:
            driver.destroy_event(start)
            driver.destroy_event(end)
    return round(float(np.median(samples)), 2)


def how(rounds: int, warm_up: int) -> str:
    """Return the conditions of the figure, for a record."""
    return HOW.format(rounds=rounds, warm_up=warm_up, train=TRAIN)
