"""Train folds in processes of their own, several side by side, each on processors of its own."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from edgeosr.errors import TrainingError
from edgeosr.files import storage_errors
from edgeosr.progress import progress
from edgeosr.run import LOG
from edgeosr.training.fold_plan import Fold, as_order
from edgeosr.training.launchers import own_environment
from edgeosr.training.settings import TrainSettings

LOOK_EVERY_S = 0.2
GRACE_S = 10.0  # for a told process to close its files

_SIGKILL = 9  # Windows has no name for it
_FINISHED = "the run itself is finished, and edgeosr export takes it"

Order = tuple[Fold, TrainSettings]


def run_folds(
    orders: Sequence[Order], places: Sequence[dict[str, str]], done: Callable[[Fold], None]
) -> None:
    """Train folds, as many at a time as there are places. Any end of it leaves no process behind.

    Args:
        orders: each fold with its settings; ``out`` exists for one that is resumed.
        places: what to set in the environment of a process, one for each that may run at a time.
        done: called when a fold is trained.

    Raises:
        TrainingError: one of them failed or could not be started; the others were stopped.
        StorageError: a fold's log cannot be read.
    """
    waiting, free, running = list(orders), list(places), list[_Process]()
    with progress("training folds", sum(fold.epochs for fold, _ in orders)) as advance, _stopped(running):
        while waiting or running:
            while waiting and free:
                running.append(_Process(*waiting.pop(0), free.pop(0)))
            for process in list(running):
                ended = process.ended()
                advance(process.new_epochs())
                if ended:
                    running.remove(process)
                    free.append(process.place)
                    process.require_trained()
                    done(process.fold)
            time.sleep(LOOK_EVERY_S if running else 0)


def epochs_done(directory: Path) -> int:
    """Return how many epochs the run in ``directory`` has finished; 0 before the first (StorageError)."""
    path = directory / LOG
    if not os.path.exists(path) or os.path.getsize(path) == 0:
        return 0
    with storage_errors("read", path), contextlib.suppress(FileNotFoundError):
        return path.read_bytes().count(b"\n")
    return 0


class _Process:
    """One fold at work."""

    def __init__(self, fold: Fold, settings: TrainSettings, place: dict[str, str]) -> None:
        assert settings.out is not None
        self.fold, self.place = fold, place
        self._directory, self._epochs = settings.out, 0
        try:
            with contextlib.ExitStack() as opened:
                # Files, not pipes: nobody has to empty them.
                self._answer, self._words = (
                    opened.enter_context(tempfile.TemporaryFile()) for _ in ("answer", "words")
                )
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "edgeosr.training.fold_worker"],
                    stdin=subprocess.PIPE,
                    stdout=self._answer,
                    stderr=self._words,
                    # The safe path: a folder of the working directory must not stand in for a package.
                    env={**own_environment(), "PYTHONSAFEPATH": "1", **place},
                )
                opened.pop_all()  # they stay open as long as the process; see _close
        except OSError as error:
            raise TrainingError(f"{fold.name} cannot be started: {error}; {_FINISHED}") from error
        with contextlib.suppress(BrokenPipeError):  # it has ended already, and says why
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(as_order(settings)).encode() + b"\n")
            self._process.stdin.flush()

    def ended(self) -> bool:
        return self._process.poll() is not None

    def new_epochs(self) -> int:
        """Return how many epochs were finished since the last look, those of an earlier sitting included."""
        before, self._epochs = self._epochs, epochs_done(self._directory)
        return self._epochs - before

    def require_trained(self) -> None:
        code = self._process.returncode
        answer, words = self._read()
        self._close()
        if code == 0:
            return
        try:
            reason = json.loads(answer)["error"]
        except (ValueError, KeyError):
            # Not in words: whatever it said is shown, for a report.
            sys.stderr.write(words)
            last = (words.strip().splitlines() or ["it said nothing"])[-1]
            reason = last
            if code < 0:
                memory = -code == _SIGKILL
                reason = f"signal {-code} ended it; {'the memory may be full' if memory else last}"
        raise TrainingError(f"{self.fold.name} failed: {reason}; {_FINISHED}")

    def stop(self) -> None:
        self._process.terminate()

    def wait(self) -> None:
        try:
            self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._close()

    def _close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        self._answer.close()
        self._words.close()

    def _read(self) -> tuple[str, str]:
        texts = []
        for file in (self._answer, self._words):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
        return texts[0], texts[1]


@contextlib.contextmanager
def _stopped(running: list[_Process]) -> Iterator[None]:
    """Stop whatever still runs at the end of the block."""
    try:
        yield
    finally:
        for process in running:
            process.stop()
        for process in running:
            process.wait()
