"""What a command takes where no run or bundle is named: the newest, and it says which."""

from collections.abc import Sequence
from pathlib import Path

from edgeosr.printed import say


def run_or_newest(given: Path | None) -> Path:
    """Return ``given``, or the newest run under runs/, which is told; raises UsageError without any."""
    if given is not None:
        return given
    from edgeosr.run import finished_runs, newest_run

    path = newest_run()
    _tell(path, [one for one in finished_runs() if one != path], "run")
    return path


def bundle_or_newest(given: Path | None) -> Path:
    """Return ``given``, or the newest bundle near here, which is told; raises BundleError without any."""
    if given is not None:
        return given
    from edgeosr.bundle import directory

    path = directory.newest_bundle()
    _tell(path, [one for one in directory.bundles_near(Path()) if one != path], "bundle")
    return path


def _tell(path: Path, others: Sequence[Path], kind: str) -> None:
    beside = f", the newest of {len(others) + 1} {kind}s here" if others else f", the only {kind} here"
    say(f"taking {path}{beside}")
