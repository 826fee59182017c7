"""Which weight of generated features, and which epoch: chosen where the discriminator has learnt nothing.

That is the open validation that OpenGAN's authors ask for. Real outliers are one, their other half being
learnt from. Without them every fold of left-out classes is one: the fold's own discriminator is tried on
classes that neither it nor its network has seen, and what is best on average is best for the full one.

A fold is measured later, on the same images, to see what a discriminator is worth. So its own is chosen by
the other folds alone: the best of sixty candidates on those images would look good by chance.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import Event, Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.progress import progress
from edgeosr.training.opengan import Discriminator, train_discriminator
from edgeosr.training.opengan_settings import Float32, OpenGanSettings, OpenKind
from edgeosr.training.processors import limited_threads
from edgeosr.usable_processors import usable_processors

# Weights of generated features to try; without outliers there is nothing else to learn from.
LAMBDAS = (0.2, 1.0)
# With outliers the generator can be left out (0); the authors weigh it 0.2 with them and 1 without.
LAMBDAS_WITH_OUTLIERS = (0.0, 0.2, 1.0)
# The authors' own weight without outliers: where only an epoch is chosen, as by synthetic images.
LAMBDAS_ALONE = (1.0,)


@dataclass(frozen=True, kw_only=True)
class OpenTask:
    """Embeddings of one network that a discriminator learns from and is tried on; see ``opengan.py``."""

    known_train: Float32
    known_select: Float32
    open_train: Float32 | None = None
    open_select: Float32 | None
    kind: OpenKind


@dataclass(frozen=True)
class Pick:
    """``lambda_g``: weight of the generated features; ``epoch``: counted from 1."""

    lambda_g: float
    epoch: int


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was chosen.

    Attributes:
        full: by all tasks, for a network that is none of them.
        own: one a task, chosen by the others: nothing of the task itself was looked at.
        aurocs: one a task, of its own pick.
        tried: the best mean AUROC of each weight that was tried; as the best of many it flatters.
    """

    full: Pick
    own: tuple[Pick, ...]
    aurocs: tuple[float, ...]
    tried: dict[float, float]

    @property
    def auroc(self) -> float:
        """Mean over the tasks, each on images that did not choose."""
        return float(np.mean(self.aurocs))


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """``choice``, and what it chose: the ``full`` network's discriminator and each task's ``own``."""

    choice: Choice
    full: Discriminator
    own: tuple[Discriminator, ...]


def choose(curves: NDArray[np.float64], lambdas: Sequence[float]) -> Choice:
    """Choose by the mean AUROC over the tasks; of equal ones the first weight and epoch.

    For a task itself the mean goes over the others. A single task has no others: its own pick is the last of
    ``lambdas`` and of the epochs, without a look at anything.

    Args:
        curves: AUROC, ``[weights, tasks, epochs]``.
        lambdas: the weights of generated features.
    """
    weights, tasks, epochs = curves.shape
    means = curves.mean(axis=1)
    own = [
        _best_of(np.delete(curves, i, axis=1).mean(axis=1)) if tasks > 1 else (weights - 1, epochs - 1)
        for i in range(tasks)
    ]
    best, epoch = _best_of(means)
    return Choice(
        full=Pick(lambdas[best], epoch + 1),
        own=tuple(Pick(lambdas[at], number + 1) for at, number in own),
        aurocs=tuple(float(curves[at, i, number]) for i, (at, number) in enumerate(own)),
        tried=dict(zip(lambdas, means.max(axis=1).tolist(), strict=True)),
    )


def train_and_choose(
    full: OpenTask,
    tasks: Sequence[OpenTask],
    lambdas: Sequence[float],
    settings: OpenGanSettings,
    threads: int | None = None,
) -> Chosen:
    """Train every network's discriminator with every weight, and then choose.

    The layers of all epochs are kept until then: 0.1 GB a training at 1,280 channels, which is less than the
    time that training the chosen ones again would take is worth.

    Args:
        full: of the network that is none of the tasks; its open validation embeddings are not looked at.
        tasks: each with open validation embeddings.
        lambdas: weights of the generated features to try.
        settings: everything else; ``epochs`` are those to choose from.
        threads: of all of them together; None for as many as there are processors.

    Raises:
        DataError, UsageError, TrainingError: as ``train_discriminator``.
    """
    networks = [*tasks, replace(full, open_select=None)]
    jobs = [(task, replace(settings, lambda_g=value)) for value in lambdas for task in networks]
    found = train_side_by_side(jobs, threads, "training the discriminators", keep_every=True)
    rows = [found[start : start + len(networks)] for start in range(0, len(found), len(networks))]
    curves = [[[epoch.select_auroc for epoch in one.history] for one in row[:-1]] for row in rows]
    choice = choose(np.array(curves, np.float64), lambdas)
    by_weight = dict(zip(lambdas, rows, strict=True))
    return Chosen(
        choice=choice,
        full=by_weight[choice.full.lambda_g][-1].at(choice.full.epoch),
        own=tuple(by_weight[pick.lambda_g][i].at(pick.epoch) for i, pick in enumerate(choice.own)),
    )


def _best_of(means: NDArray[np.float64]) -> tuple[int, int]:
    """Return the first largest of ``[weights, epochs]``."""
    best, epoch = np.unravel_index(int(means.argmax()), means.shape)
    return int(best), int(epoch)


def train_best(
    task: OpenTask, lambdas: Sequence[float], settings: OpenGanSettings, threads: int | None = None
) -> tuple[Discriminator, dict[float, float | None]]:
    """Train with each weight and return the best on the task's own open validation, and what each reached."""
    jobs = [(task, replace(settings, lambda_g=value)) for value in lambdas]
    found = train_side_by_side(jobs, threads, "training the discriminator")
    best = max(found, key=lambda one: one.select_auroc or 0.0)
    return best, {one.settings.lambda_g: one.select_auroc for one in found}


def train_side_by_side(
    jobs: Sequence[tuple[OpenTask, OpenGanSettings]],
    threads: int | None,
    description: str,
    *,
    keep_every: bool = False,
) -> list[Discriminator]:
    """Train as many at once as there are threads, each on one: the same bits however many that is.

    Ctrl-C, or the failure of one, ends the others within a step.
    """
    at_once = max(1, min(len(jobs), threads or usable_processors()))
    total = sum(settings.epochs for _, settings in jobs)
    stop = Event()

    def go_on() -> None:
        if stop.is_set():
            raise _Stopped

    with limited_threads(1), _bar(description, total) as advance, ThreadPoolExecutor(at_once) as pool:

        def train(job: tuple[OpenTask, OpenGanSettings]) -> Discriminator:
            task, settings = job
            return train_discriminator(
                task.known_train, task.known_select, open_train=task.open_train,
                open_select=task.open_select, open_select_kind=task.kind, settings=settings, advance=advance,
                each_step=go_on, keep_every=keep_every,
            )  # fmt: skip

        futures = [pool.submit(train, job) for job in jobs]
        try:
            ended, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in futures:
                if future in ended:
                    future.result()  # raises what one of them raised, while others still train
            return [future.result() for future in futures]
        except BaseException:
            # The pool waits for its threads whatever it is told; so they are told to end.
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class _Stopped(Exception):
    """Ends a thread whose result nobody wants any more."""


@contextmanager
def _bar(description: str, total: int) -> Iterator[Any]:
    """Show one bar for all threads."""
    lock = Lock()
    with progress(description, total) as advance:

        def one(note: str = "") -> None:
            with lock:
                advance()

        yield one
