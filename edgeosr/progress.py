"""One progress bar for everything that may take longer than two seconds."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from edgeosr.printed import printable

SILENT_SECONDS = 2.0
REDRAW_SECONDS = 0.25


@contextlib.contextmanager
def progress(
    description: str, total: int | None, *, background: bool = True
) -> Iterator[Callable[..., None]]:
    """Show a bar on standard error once the block has run for two seconds.

    Args:
        description: what is being done, for example ``"reading images"``; it and the notes may hold any name.
        total: number of steps, None if nobody knows.
        background: redraw from a thread of its own; False redraws inside ``advance`` only, so that what is
            timed between two calls of it is not disturbed.

    Yields:
        ``advance(steps=1, note="")``: call it after each step; ``note`` is shown behind the bar.
    """
    started = time.monotonic()
    state: dict[str, Any] = {"done": 0, "bar": None, "task": None, "drawn": started}

    def advance(steps: int = 1, note: str = "") -> None:
        state["done"] += steps
        with contextlib.suppress(OSError):
            draw(note)

    def draw(note: str) -> None:
        if state["bar"] is None and time.monotonic() - started >= SILENT_SECONDS:
            _start(state, description, total, background)
        if state["bar"] is not None:
            state["bar"].update(state["task"], completed=state["done"], note=printable(note))
            if not background and time.monotonic() - state["drawn"] >= REDRAW_SECONDS:
                state["bar"].refresh()
                state["drawn"] = time.monotonic()

    try:
        yield advance
    finally:
        # A terminal that is gone, or a full disk behind standard error, must not take the work with it.
        with contextlib.suppress(OSError):
            if state["bar"] is not None:
                state["bar"].stop()


def _start(state: dict[str, Any], description: str, total: int | None, background: bool) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=Console(stderr=True),
        auto_refresh=background,
    )
    bar.start()
    state["bar"] = bar
    state["task"] = bar.add_task(printable(description), total=total, note="")
