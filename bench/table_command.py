"""The command line of a table whose rows are ways to run bundles: measure, print, write the record."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgeosr.bench.option_values import frame_size, some_seconds, whole_number, written_file
from edgeosr.bench.samples import Samples, ratio_from_samples
from edgeosr.bench.timer import MINIMUM_TURNS
from edgeosr.bench.user_errors import user_errors
from edgeosr.bundle.directory import Bundle
from edgeosr.errors import BundleError, FrameError
from edgeosr.files import write_bytes

Report = dict[str, Any]


def faster_than(base: str, name: str, samples: dict[str, Samples]) -> Report:
    """Return how much faster a row was than the base, turn by turn, and what it took (medians, ms)."""
    ratio = ratio_from_samples(base, name, samples)
    return {
        "cpu_ms": samples[name].cpu(50),
        "wall_ms": samples[name].wall(50),
        "faster_cpu": ratio.cpu_paired,
        "faster_cpu_interval_95": list(ratio.cpu_interval),
        "faster_wall": ratio.paired,
        "turns": ratio.turns,
    }


def require_one_network(bundles: Sequence[Bundle]) -> None:
    """Raise BundleError unless these are exports of one network, each of another precision: a row each."""
    first, seen = bundles[0], dict[str, Path]()
    for bundle in bundles:
        if bundle.files["model.onnx"] != first.files["model.onnx"]:
            raise BundleError(
                f"{bundle.path} and {first.path} must be exports of one network with the same options; got "
                "another model.onnx; time them one by one"
            )
        precision = "f32" if bundle.manifest.body is None else bundle.manifest.body.precision
        if precision in seen:
            raise BundleError(
                f"each bundle of a table must have another precision; got {precision} in {seen[precision]} "
                f"and {bundle.path}; time them one by one"
            )
        seen[precision] = bundle.path


def require_frame(bundles: Sequence[Bundle], frame: tuple[int, int]) -> None:
    """Raise FrameError if one takes frames of another size only: its graph alone says it badly."""
    for bundle in bundles:
        fixed = bundle.manifest.frame
        if fixed is not None and fixed != frame:
            raise FrameError(
                f"{bundle.path} takes frames of {fixed[0]}x{fixed[1]} only (height x width); got "
                f"{frame[0]}x{frame[1]}; time it with --frame {fixed[0]}x{fixed[1]}"
            )


def table_command(
    description: str | None,
    measure: Callable[..., Report],
    as_text: Callable[[Report], str],
    *,
    least_turns: int = MINIMUM_TURNS,
) -> int:
    """Run the command.

    Args:
        description: for ``--help``.
        measure: called with the paths of bundles, ``frame`` (height, width), ``turns`` and ``limit_s``.
        as_text: the record for a terminal.
        least_turns: what ``measure`` takes even when the time is up, of more turns.
    """
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        prog=f"python -m {__package__}.{Path(sys.argv[0]).stem}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE")
    parser.add_argument(
        "--frame", type=frame_size, default="480x640", metavar="HxW", help="of the frames; default 480x640"
    )
    parser.add_argument("--turns", type=whole_number, default=200, help="most timed calls of each row")
    parser.add_argument(
        "--seconds",
        type=some_seconds,
        default=60.0,
        help=f"most of the rows; the first {least_turns} turns are taken even so",
    )
    parser.add_argument("--out", type=written_file, help="write the record here, as JSON")
    given = parser.parse_args()
    bundles: Sequence[Path] = given.bundles
    with user_errors():
        report = measure(bundles, frame=given.frame, turns=given.turns, limit_s=given.seconds)
        print(as_text(report))
        if given.out is not None:
            write_bytes(given.out, (json.dumps(report, indent=1) + "\n").encode())
    return 0
