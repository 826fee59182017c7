"""What nvidia-smi says of the card that the driver uses: once, and while something else is timed."""

import contextlib
import math
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgeosr.kernels.driver.driver import Device, Driver

ONCE = (
    "name",
    "driver_version",
    "pstate",
    "clocks.current.sm",
    "clocks.max.sm",
    "clocks.current.memory",
    "power.limit",
    "temperature.gpu",
    "mig.mode.current",
)
WHILE = ("clocks.current.sm", "clocks.current.memory", "power.draw", "temperature.gpu")  # numbers
EVERY_MS = 500
_ASK_S = 10.0
Card = str | None


def pci_id(driver: Driver, device: Device) -> Card:
    """Return the device's PCI bus id, ``0000:65:00.0``; None: the driver does not tell it, as on a Jetson.

    nvidia-smi numbers all cards of the machine, in another order than CUDA numbers those it may see.
    """
    try:
        text = bytes(driver.call("cuDeviceGetPCIBusId", 32, device.ordinal)).split(b"\0")[0].decode()
    except Exception:  # whatever the bindings raise: the figure is only not told
        return None
    return text or None


def nvidia_smi(card: Card) -> dict[str, str]:
    """Return what nvidia-smi says of the card's clocks, power and driver; why it does not, if not."""
    words, reason = _words(ONCE, card, "csv,noheader")
    if reason:
        return {"not_run": reason}
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_ASK_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"not_run": str(error)}
    values = [value.strip() for value in done.stdout.strip().split(",")]
    if done.returncode or len(values) != len(ONCE):
        return {"not_run": (done.stderr or done.stdout).strip()[:300]}
    return {"card": str(card), **dict(zip(ONCE, values, strict=True))}


@contextlib.contextmanager
def clocks_meanwhile(card: Card) -> Iterator[dict[str, Any]]:
    """Watch the card while the block runs; at its end the dictionary has least, median, most of ``WHILE``.

    ``not_run`` stands there where nvidia-smi is missing or says nothing. Nothing of it is an error.
    """
    found: dict[str, Any] = {}
    words, reason = _words(WHILE, card, "csv,noheader,nounits")
    if reason:
        found["not_run"] = reason
        yield found
        return
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "log"
        with log.open("wb") as sink, contextlib.ExitStack() as ends:
            try:
                watcher = subprocess.Popen(
                    [*words, f"--loop-ms={EVERY_MS}"], stdout=sink, stderr=subprocess.STDOUT
                )
            except OSError as error:
                found["not_run"] = str(error)
            else:
                ends.callback(_end, watcher)
            yield found
        if not found:
            found.update(summed_lines(log.read_text("utf-8", errors="replace")), card=card)


def summed_lines(printed: str) -> dict[str, Any]:
    """Return least, median and most of each column; ``not_run`` with the words if there are no numbers."""
    rows = [row for row in map(_numbers, printed.splitlines()) if row is not None]
    if not rows:
        return {"not_run": printed.strip()[:300] or "nvidia-smi said nothing in this time"}
    columns = np.array(rows).T
    found: dict[str, Any] = {"samples": len(rows)}
    for name, column in zip(WHILE, columns, strict=True):
        values = column[~np.isnan(column)]
        if len(values):  # a part of a card (MIG) has clocks, and no power of its own
            found[name] = [round(float(one), 1) for one in (values.min(), np.median(values), values.max())]
    return found


def _words(query: tuple[str, ...], card: Card, form: str) -> tuple[list[str], str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return [], "nvidia-smi is not on the PATH"
    if card is None:
        return [], "the driver does not tell the card's PCI id"
    return [program, f"--query-gpu={','.join(query)}", f"--format={form}", f"--id={card}"], ""


def _numbers(line: str) -> list[float] | None:
    """Return the line's numbers, not-a-number for what is not available; None: it is a message."""
    words = [word.strip() for word in line.split(",")]
    if len(words) != len(WHILE):
        return None
    try:
        found = [float("nan") if "N/A" in word else float(word) for word in words]
    except ValueError:
        return None
    return None if all(map(math.isnan, found)) else found


def _end(watcher: "subprocess.Popen[bytes]") -> None:
    watcher.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        watcher.wait(2)
        return
    watcher.kill()
