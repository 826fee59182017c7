"""The run's loop over epochs: schedule, evaluation, best weights, checkpoints."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from edgeosr.errors import StorageError, TrainingError
from edgeosr.files import write_text
from edgeosr.model.backbone import channels_last
from edgeosr.model.tensor_file import write_tensors
from edgeosr.run import LAST, LOG, WEIGHTS
from edgeosr.training.checkpoint import Checkpoint, Progress, write_checkpoint
from edgeosr.training.epoch import Examples, Feed, evaluate, train_epoch
from edgeosr.training.objective import Objective
from edgeosr.training.schedule import epochs_left, learning_rate
from edgeosr.training.settings import TrainSettings
from edgeosr.training.watch_jacobian import JacobianWatch

MOMENTUM = 0.9


def train_epochs(
    fabric: Any,
    objective: Objective,
    train: Examples,
    select: Examples,
    feed: Feed,
    settings: TrainSettings,
    directory: Path,
    digests: dict[str, str],
    resumed: Checkpoint | None,
    say: Callable[[str], None],
    watch: JacobianWatch | None = None,
) -> Progress:
    """Train until the epochs or the time are used up.

    After every epoch rank 0 writes, each atomically: ``weights.pt`` if the select accuracy is the best so
    far, then ``last.pt`` and ``log.jsonl``. A crash between any two of them is repaired by repeating the
    epoch, which gives the same bits on the same machine.

    Args:
        fabric: the launched Fabric.
        objective: on the CPU, not yet set up; ``resumed`` overrides its weights.
        train: the train part, decoded.
        select: the select part, decoded.
        feed: makes network inputs.
        settings: as checked.
        directory: the run directory; exists.
        digests: of the data parts, for the checkpoint.
        resumed: where to go on, or None.
        say: prints a line for people (called on rank 0 only).
        watch: measures the Jacobian norm after every epoch (on rank 0 only; the time is not the training's).

    Raises:
        TrainingError: the loss is not finite; what was written stays.
        StorageError: a file cannot be written.
    """
    parameters = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(
        parameters, lr=settings.lr, momentum=MOMENTUM, weight_decay=settings.weight_decay
    )
    channels_last(objective)
    if settings.compile:
        objective.classifier.backbone.compile()
    module, optimizer = fabric.setup(objective, optimizer)
    state = resumed.progress if resumed is not None else Progress()
    if resumed is not None:
        objective.load_state_dict(resumed.objective)
        optimizer.load_state_dict(resumed.optimizer)
        if fabric.global_rank == 0:
            # Whoever was killed may have written the checkpoint and not what comes after it.
            _write_results(objective, state, directory, best=state.best_epoch == state.epochs)
    cap = None if settings.max_minutes is None else settings.max_minutes * 60
    while True:
        lasting = state.seconds / state.epochs if state.epochs else None
        left = epochs_left(
            done=state.epochs, epochs=settings.epochs, seconds=state.seconds, max_seconds=cap,
            epoch_seconds=lasting,
        )  # fmt: skip
        if left == 0:
            return state
        started = time.monotonic()
        rate = _Rate(optimizer, settings.lr, state, left, cap if fabric.world_size == 1 else None)
        number = state.epochs + 1
        trained = train_epoch(
            fabric, module, optimizer, train, feed, batch_size=settings.batch_size, seed=settings.seed,
            epoch=state.epochs, set_learning_rate=rate, description=f"epoch {number}/{state.epochs + left}",
        )  # fmt: skip
        selected = evaluate(fabric, objective, select, feed)
        if not selected["loss"] < float("inf"):
            raise TrainingError(
                f"the loss on the select part became {selected['loss']} in epoch {number}; "
                "the last finished epoch is kept; try a smaller lr or precision 32-true"
            )
        # Rank 0's clock for all: the number of epochs left must be the same everywhere.
        state.seconds += fabric.broadcast(time.monotonic() - started)
        state.epochs, state.fraction = number, rate.at_end()
        state.images += int(trained["images"])
        record: dict[str, Any] = {
            "epoch": number,
            "loss": trained["loss"],
            "accuracy": trained["accuracy"],
            "select_loss": selected["loss"],
            "select_accuracy": selected["accuracy"],
            "learning_rate": rate.last,
            "seconds": round(state.seconds, 3),
            "images_per_second": round(trained["images"] / trained["seconds"], 1),
        }
        state.history.append(record)
        best = selected["accuracy"] >= state.best_accuracy
        if best:
            state.best_accuracy, state.best_epoch = selected["accuracy"], number
        if fabric.global_rank == 0:
            if watch is not None:
                record["jacobian"] = watch.measure(objective.classifier.backbone)
            _write(objective, optimizer, state, settings, directory, digests, best=best)
            if watch is not None:
                watch.draw(directory, state.history)
            say(
                f"epoch {number}/{number + left - 1}  loss {trained['loss']:.3f}  "
                f"train {trained['accuracy']:.4f}  select {selected['accuracy']:.4f}{' *' if best else '  '}"
                f"  {record['images_per_second']:.0f} images/s"
            )
        fabric.barrier()


class _Rate:
    """Sets the learning rate; ``fraction`` is the progress of the schedule, which only grows.

    An epoch takes an equal share of what is left. With a time cap (one process only, because clocks
    differ) the schedule follows the clock where that is further: a first epoch whose length nobody could
    know still ends annealed.
    """

    def __init__(self, optimizer: Any, peak: float, state: Progress, left: int, cap: float | None) -> None:
        self.optimizer, self.peak, self.cap = optimizer, peak, cap
        self.start = self.fraction = state.fraction
        self.share = (1.0 - self.start) / left
        self.seconds, self.began = state.seconds, time.monotonic()
        self.last = 0.0

    def __call__(self, share: float) -> None:
        fraction = self.start + self.share * share
        if self.cap is not None:
            fraction = max(fraction, min(1.0, (self.seconds + time.monotonic() - self.began) / self.cap))
        self.fraction, self.last = fraction, learning_rate(self.peak, fraction)
        for group in self.optimizer.param_groups:
            group["lr"] = self.last

    def at_end(self) -> float:
        """Return the progress at the end of the epoch."""
        return max(self.fraction, self.start + self.share)


def _write(
    objective: Objective,
    optimizer: Any,
    state: Progress,
    settings: TrainSettings,
    directory: Path,
    digests: dict[str, str],
    *,
    best: bool,
) -> None:
    if state.epochs > 1 and not (directory / LAST).exists():
        raise StorageError(
            f"{directory} was removed or emptied while it was trained; expected the checkpoint of the epoch "
            "before; train again"
        )
    # The checkpoint first: a run that is killed here can be resumed, and what is missing is written then.
    write_checkpoint(
        directory,
        Checkpoint(
            settings=settings.as_json(),
            digests=digests,
            progress=state,
            objective=_on_cpu(objective.state_dict()),
            optimizer=optimizer.state_dict(),
        ),
    )
    _write_results(objective, state, directory, best=best)


def _write_results(objective: Objective, state: Progress, directory: Path, *, best: bool) -> None:
    if best:
        write_tensors(directory / WEIGHTS, _on_cpu(objective.classifier.state_dict()))
    write_text(directory / LOG, "".join(json.dumps(line) + "\n" for line in state.history))


def _on_cpu(state: dict[str, Any]) -> dict[str, Any]:
    """Copy the tensors to the CPU in the ordinary memory format, so that any machine loads them alike."""
    return {key: value.detach().cpu().contiguous() for key, value in state.items()}
