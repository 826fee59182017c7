"""Which processors a run uses, through Lightning Fabric: one CPU, one GPU, or many of them."""

import contextlib
import io
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from edgeosr.errors import import_extra
from edgeosr.training.launchers import started_by_mpirun
from edgeosr.training.settings import TrainSettings
from edgeosr.usable_processors import usable_processors

# Input pixels of a step that keep one thread busy: 32 images of 32 x 32.
PIXELS_A_THREAD = 32 * 32 * 32
# Read once: Fabric's launchers of several processes set it later, and folds that follow would keep to it.
_TOLD = os.environ.get("OMP_NUM_THREADS", "")
_FABRIC_SAYS, _HINT = "lightning_fabric.utilities.rank_zero", "set_float32_matmul_precision"
_BF16_FLAGS = {"avx512_bf16", "amx_bf16"}  # x86; without them bfloat16 is emulated and slower than float32


def cpu_has_bf16() -> bool:
    """Return True if this CPU multiplies bfloat16 in hardware, as far as Linux tells (x86 only)."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line.split(":", 1)[1].split() for line in lines if line.startswith("flags")), [])
    return bool(_BF16_FLAGS.intersection(flags))


def choose_precision(wanted: str, *, cuda: bool) -> str:
    """Return Fabric's precision name: the wanted one, or for "auto" bf16-mixed where it is fast."""
    if wanted != "auto":
        return wanted
    fast = torch.cuda.is_bf16_supported(including_emulation=False) if cuda else cpu_has_bf16()
    return "bf16-mixed" if fast else "32-true"


def make_fabric(settings: TrainSettings) -> Any:
    """Return a Fabric for these settings; nothing is launched yet.

    Raises:
        MissingDependencyError: lightning-fabric is not installed.
    """
    fabric = import_extra("lightning_fabric", extra="train", purpose="training")
    cuda = torch.cuda.is_available()
    logging.getLogger(_FABRIC_SAYS).addFilter(_no_hint)  # the same filter twice counts once
    return fabric.Fabric(
        accelerator="cuda" if cuda else "cpu",
        devices=settings.devices,
        num_nodes=settings.num_nodes,
        strategy=settings.strategy,
        precision=choose_precision(settings.precision, cuda=cuda),
        plugins=_environment(),
    )


def _environment() -> list[Any]:
    """Return the cluster environment that Fabric is to use; empty: it finds one.

    Left to itself it asks ``mpi4py``, wherever that is installed, and its import starts an MPI. Where nobody
    wanted one this may end the process: an Open MPI that finds no way to start its daemon did, in a fold.
    """
    from lightning_fabric.plugins.environments import lightning, lsf, slurm, torchelastic

    found = (torchelastic.TorchElasticEnvironment, slurm.SLURMEnvironment, lsf.LSFEnvironment)
    if started_by_mpirun() or any(environment.detect() for environment in found):
        return []
    return [lightning.LightningEnvironment()]


def _no_hint(record: logging.LogRecord) -> bool:
    """Drop Fabric's advice to let all float32 products of the process be TF32.

    On a card that has it, training multiplies in bfloat16, and float32 convolutions are TF32 by torch's
    default. The products that stay in float32 are the head's, of which the temperature multiplies the error
    (``Objective``), the discriminator's, and those that an export in the same process is held against.
    """
    return _HINT not in record.getMessage()


def threads_for(settings: TrainSettings, *, processes: int = 1) -> int:
    """Return the CPU threads of torch in each process: those asked for, or as many as a step is worth.

    Torch's threads wait for each other after every operation. A small step is over sooner on one thread, and
    far sooner where other programs want the processors too; so each thread gets ``PIXELS_A_THREAD`` at least,
    and all processes together get no more threads than there are processors. OMP_NUM_THREADS, which torch
    forgets as soon as it is told a number, is the most that each process takes, unless a launcher set it.

    Args:
        settings: of the run.
        processes: how many of them train on this machine.
    """
    if settings.threads is not None:
        return settings.threads
    pixels = settings.batch_size * settings.size**2 // processes
    most = _told_threads() or usable_processors()
    return max(1, min(pixels // PIXELS_A_THREAD, usable_processors() // processes, most))


def _told_threads() -> int:
    """Return the threads that a person set by OMP_NUM_THREADS; 0 where nobody did, or it is no number.

    OpenMP takes a list too, whose first number is of the outermost level.
    """
    first = _TOLD.split(",")[0].strip()
    told = int(first) if first.isascii() and first.isdecimal() else 0
    # torchrun sets 1 for several processes where nobody set a number. A person's own 1 is not told apart from
    # it: --threads says that.
    several = "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("LOCAL_WORLD_SIZE") != "1"
    return 0 if told == 1 and several else told


@contextlib.contextmanager
def limited_threads(count: int) -> Iterator[None]:
    """Let torch use ``count`` CPU threads inside the block, and as many as before after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def quiet_unless(speaking: bool) -> Iterator[None]:
    """Silence standard error inside the block in processes that are not the first one."""
    if speaking:
        yield
    else:
        with contextlib.redirect_stderr(io.StringIO()):
            yield


def device_name(device: torch.device) -> str:
    """Return a short name of the processor for reports."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    count = torch.get_num_threads()
    threads = f"{count} thread{'s' if count > 1 else ''}"
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return f"{line.split(':', 1)[1].strip()}, {threads}"
    return f"{os.uname().machine} CPU, {threads}"
