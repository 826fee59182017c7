"""Where folds train side by side: on GPUs, several on one that has room, or on the processors of a CPU."""

import os
from collections.abc import Mapping
from typing import Any

import torch

from edgeosr.training.settings import TrainSettings
from edgeosr.usable_processors import usable_processors

GPUS = "CUDA_VISIBLE_DEVICES"
PEAK = "gpu_memory_bytes"
# A step of a small network leaves most of a GPU idle. Three side by side are what was tried.
FOLDS_A_GPU = 3
# What a process takes beside torch's tensors: the driver's context and libraries. An integrated GPU shares
# its memory with the process itself, its images included.
_CONTEXT_BYTES, _PROCESS_BYTES = 1 << 30, 3 << 30
_SPARE = 0.9  # of the free memory: other programs' shares move


def peak_gpu_memory() -> dict[str, int]:
    """Return the most memory torch held on the current GPU, an entry of a run's result; {} without one."""
    return {PEAK: int(torch.cuda.max_memory_reserved())} if torch.cuda.is_available() else {}


def places(folds: int, settings: TrainSettings, result: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the environment of each process that may train at a time: a GPU's, or {} for one of the CPU.

    Every GPU has one before any has two. A number of ``devices`` is the most processes, so no GPU is shared
    then; a number of ``threads`` is the most processors. More than one on a GPU need room there for as many
    times the run's own peak, and a processor each.

    Args:
        folds: how many are to train, at least 1.
        settings: of the call: devices and threads count.
        result: of the run; ``gpu_memory_bytes`` is its peak, without which a GPU has one fold. Only a run on
            one GPU in one sitting has it.
    """
    devices = settings.devices
    if not torch.cuda.is_available():
        most = min(usable_processors(), settings.threads or usable_processors())
        return [{}] * min(folds, most, devices if isinstance(devices, int) else most)
    visible = os.environ.get(GPUS)
    names = [str(number) for number in range(torch.cuda.device_count())]
    if visible is not None:
        names = [name.strip() for name in visible.split(",")][: len(names)]
    if isinstance(devices, int):
        return [{GPUS: name} for name in names[: min(folds, devices)]]
    rooms = [_folds_on(number, result.get(PEAK)) for number in range(len(names))]
    shared = [
        name for turn in range(FOLDS_A_GPU) for name, room in zip(names, rooms, strict=True) if turn < room
    ]
    return [{GPUS: name} for name in shared[: min(folds, max(len(names), usable_processors()))]]


def threads_of_each(folds: int, settings: TrainSettings, result: Mapping[str, Any]) -> int | None:
    """Return the CPU threads of each fold if the user says how many there are; on a CPU they share them."""
    if settings.threads is None or torch.cuda.is_available():
        return settings.threads
    return max(1, settings.threads // len(places(folds, settings, result)))


def gpus(found: list[dict[str, str]]) -> int:
    """Return how many processors of their own these places have: two folds on one GPU have one."""
    named = [place[GPUS] for place in found if GPUS in place]
    return len(set(named)) + len(found) - len(named)


def _folds_on(number: int, peak: object) -> int:
    """Return how many folds have room on a GPU, at least 1: the run itself had."""
    if not isinstance(peak, int) or peak <= 0:
        return 1
    free, _ = torch.cuda.mem_get_info(number)
    integrated = bool(getattr(torch.cuda.get_device_properties(number), "is_integrated", False))
    each = peak + (_PROCESS_BYTES if integrated else _CONTEXT_BYTES)
    return max(1, min(FOLDS_A_GPU, int(_SPARE * free) // each))
