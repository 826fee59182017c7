"""A case launched again and again: the same bits each time, in a room of any content."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.kernels.device_verdicts import VERDICT, DeviceVerdicts
from edgeosr.kernels.fused_score import FusedScorer
from edgeosr.kernels.selftest.device_copy import DeviceCopy

NAN = 0xFFFFFFFF  # a word of it
_MOST_LAUNCHES, _MOST_SAMPLES = 4, 3  # that a report tells of: of each it has both verdicts' bytes


def launched(
    scorer: FusedScorer, copies: dict[str, DeviceCopy], room: DeviceVerdicts | None
) -> DeviceVerdicts:
    """Enqueue one launch of the case's inputs; return its room."""
    if "map" in copies:
        return scorer.score_map(copies["map"], into=room)
    return scorer.score(copies["embedding"], copies.get("tangents"), into=room)


def raw_verdicts(room: DeviceVerdicts) -> NDArray[Any]:
    """Return a copy of what lies in device memory, ``[B]`` of ``VERDICT``: flags with their number."""
    found = np.zeros(room.batch, VERDICT)
    room.driver.read(room.address, found.view(np.uint8).data, room.stream)
    return found


def fill_room(room: DeviceVerdicts, raw: NDArray[Any], word: int) -> None:
    """Fill all of the room that no launch may rely on: it keeps the flags, which have a number, and counters.

    Args:
        room: in device memory.
        raw: its verdicts, as ``raw_verdicts`` gave them.
        word: of every other 32 bits.
    """
    verdicts = np.full(raw.nbytes // 4, word, np.uint32).view(VERDICT)
    verdicts["flags"] = raw["flags"]
    room.driver.write(room.address, verdicts.tobytes(), room.stream)
    words = (room.workspace_bytes - room.counter_bytes) // 4
    if words:
        room.driver.fill(room.workspace + room.counter_bytes, word, words, room.stream)


def repeated(
    scorer: FusedScorer, copies: dict[str, DeviceCopy], room: DeviceVerdicts, first: NDArray[Any], count: int
) -> dict[str, Any]:
    """Launch ``count`` times more into ``room``, every second time filled with NaN before.

    Args:
        scorer: the case's.
        copies: its inputs.
        room: of the first launch, whose verdicts were taken.
        first: those, as ``raw_verdicts`` gave them.
        count: launches.

    Returns:
        How many launches there were and differed, and of the first ones that did: which, whether the room was
        filled, whether another copy to the host has the same bytes (else the copy is at fault), ``fields``
        as of ``differences``, and of some samples both verdicts' bytes.
    """
    told: list[dict[str, Any]] = []
    differed, raw = 0, first
    for launch in range(1, count + 1):
        filled = launch % 2 == 0
        if filled:
            fill_room(room, raw, NAN)
        launched(scorer, copies, room)
        raw = raw_verdicts(room)
        one, other = without_number(first), room.taken(raw.copy())
        if one.tobytes() == other.tobytes():
            continue
        differed += 1
        if len(told) < _MOST_LAUNCHES:
            copied_again = raw_verdicts(room).tobytes() == raw.tobytes()
            how = {"launch": launch, "room_filled": filled, "copied_again_the_same": copied_again}
            told.append({**how, **both_bytes(first, raw), "fields": differences(one, other)})
    return {"launches": count, "differed": differed, "told": told}


def without_number(raw: NDArray[Any]) -> NDArray[Any]:
    """Return a copy of verdicts without their launch's number."""
    found = raw.copy()
    found["flags"] &= 0xFF
    return found


def differences(found: NDArray[Any], again: NDArray[Any]) -> dict[str, dict[str, Any]]:
    """Return in what fields two launches' verdicts ``[B]`` differ: in which samples, and how far at most."""
    told: dict[str, dict[str, Any]] = {}
    for field in found.dtype.names or ():
        one, other = found[field].reshape(len(found), -1), again[field].reshape(len(found), -1)
        bits = [np.ascontiguousarray(values).view(np.uint32) for values in (one, other)]
        rows, columns = np.nonzero(bits[0] != bits[1])
        if len(rows):
            apart = np.abs(one[rows, columns].astype(np.float64) - other[rows, columns])
            told[field] = {
                "samples": np.unique(rows).tolist(),
                "columns": np.unique(columns).tolist(),
                "most": float(apart.max()),
                "first": one[rows[0]].tolist(),
                "this": other[rows[0]].tolist(),
            }
    return told


def both_bytes(first: NDArray[Any], this: NDArray[Any]) -> dict[str, Any]:
    """Return in how many ``samples`` two raw copies differ, and of some of them both verdicts' ``bytes``."""
    one, other = without_number(first), without_number(this)
    samples = [at for at in range(len(one)) if one[at].tobytes() != other[at].tobytes()]
    return {
        "samples": len(samples),
        "bytes": {
            str(at): {"first": first[at].tobytes().hex(), "this": this[at].tobytes().hex()}
            for at in samples[:_MOST_SAMPLES]
        },
    }
