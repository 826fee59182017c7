"""What a command takes where no run or bundle is named: the newest, and it says which."""

from collections.abc import Callable, Sequence
from pathlib import Path

from edgeosr.printed import say


def run_or_newest(given: Path | None) -> Path:
    """Return ``given``, or the newest run under runs/, which is told; raises UsageError without any."""
    if given is not None:
        return given
    from edgeosr.run import finished_runs, newest_run

    path = newest_run()
    _tell(path, finished_runs(), lambda one: one, "run")
    return path


def bundle_or_newest(given: Path | None) -> Path:
    """Return ``given``, or the newest bundle near here, which is told; raises BundleError without any."""
    if given is not None:
        return given
    from edgeosr.bundle import directory

    path = directory.newest_bundle()
    _tell(path, directory.bundles_near(Path()), lambda one: one.parent, "bundle")
    return path


def _tell(path: Path, there: Sequence[Path], folder: Callable[[Path], Path], kind: str) -> None:
    """Say what is taken of what is there; ``folder`` of each is where a demo would have left its mark."""
    from edgeosr.bundle.made_of import DEMO

    own = [one for one in there if one == path or not (folder(one) / DEMO).exists()]
    beside = f", the newest of {len(own)} {kind}s here" if len(own) > 1 else f", the only {kind} here"
    but = " but the demo's" if len(own) < len(there) else ""
    say(f"taking {path}{beside}{but}")
