"""The timer of what runs on a card: contenders in turn on one stream, so that a drift of clocks hits all.

A sample is the time between two events round ``train`` launches, divided by ``train``. In every round each
contender gives one sample, and the order moves on by one.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from edgeosr.kernels.driver.driver import Driver

TRAIN = 10
HOW = "{rounds} rounds after {warm_up}; {train} replays between two events, divided by {train}"


def how(rounds: int, warm_up: int, train: int = TRAIN) -> str:
    """Return the conditions of the samples, for a report."""
    return HOW.format(rounds=rounds, warm_up=warm_up, train=train)


def interleaved_us(
    driver: Driver,
    stream: int,
    launches: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warm_up: int,
    train: int = TRAIN,
) -> dict[str, NDArray[np.float64]]:
    """Return each contender's samples, ``[rounds]`` microseconds in the order of the rounds.

    Args:
        driver: of the device.
        stream: on which every launch puts its work.
        launches: by name; each enqueues once and returns.
        rounds: samples of each.
        warm_up: rounds before them, not kept.
        train: launches between two events.
    """
    start, end = driver.timed_event(), driver.timed_event()
    try:
        found: dict[str, list[float]] = {name: [] for name in launches}
        order = list(launches)
        for turn in range(warm_up + rounds):
            order = [*order[1:], *order[:1]]
            for name in order:
                driver.record(start, stream)
                for _ in range(train):
                    launches[name]()
                driver.record(end, stream)
                elapsed = driver.elapsed_ms(start, end)
                if turn >= warm_up:
                    found[name].append(1000 * elapsed / train)
    finally:
        driver.destroy_event(start)
        driver.destroy_event(end)
    return {name: np.array(samples) for name, samples in found.items()}
