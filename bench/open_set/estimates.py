"""What left-out classes said of the false accepts, beside what the really unknown images gave.

    python -m edgeosr.bench.open_set.estimates [--work DIR] [--json FILE]

Frozen protocols are run, without rivals. Of trained ones the lists are taken that the suite has finished
under ``--work``, with their bundles.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from edgeosr.bench.device import describe_device, versions
from edgeosr.bench.open_set.cells import FALSE_REJECT_RATE, SHIPPED, Cell, cell_from_score, own_scores
from edgeosr.bench.open_set.frozen import observe_frozen
from edgeosr.bench.open_set.kept_features import kept_features
from edgeosr.bench.open_set.protocols import PROTOCOLS, Protocol
from edgeosr.bench.open_set.store import file_of, read_list
from edgeosr.bench.open_set.trained import run_folder
from edgeosr.bench.option_values import written_file
from edgeosr.bench.user_errors import user_errors
from edgeosr.bundle.directory import read_bundle
from edgeosr.bundle.left_out import FalseAccepts, LeftOutRecord
from edgeosr.errors import require_threads
from edgeosr.files import write_text
from edgeosr.printed import say
from edgeosr.program.run import run_program

WORK = Path("runs/open-set")
# What an estimate is held against: see ``Estimate``.
MEASURED = ("at_5", "shipped")


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One list; shares of unknown images accepted, 0 to 1.

    Attributes:
        protocol, list: which network and images.
        folds: that the estimate is the mean of.
        estimated, low, high: at 5 % false rejects, on left-out classes: mean, lowest and highest fold.
        at_5: measured on the real unknown images, where just 5 % of the known test images are rejected.
        shipped: measured at the shipped threshold, and ``false_rejects`` there.
    """

    protocol: str
    list: int
    folds: int
    estimated: float
    low: float
    high: float
    at_5: float
    shipped: float
    false_rejects: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line a list and, on request, write JSON."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        prog="python -m edgeosr.bench.open_set.estimates",
        description=(__doc__ or "").split("\n")[0],
    )
    parser.add_argument("--work", type=Path, default=WORK, metavar="DIR", help=f"default: {WORK}")
    parser.add_argument("--json", type=written_file, metavar="FILE", help="write every figure here too")
    parser.add_argument("--threads", type=int, help="processor threads; default: by the size of the work")
    options = parser.parse_args(arguments)
    with user_errors():
        require_threads("--threads", options.threads)
        found = []
        for one in estimates(options.work, options.threads):
            found.append(one)
            print(
                f"{one.protocol:<16}{one.list:>3}  estimated {one.estimated:.1%} (folds {one.low:.1%} to "
                f"{one.high:.1%}), real unknowns {one.at_5:.1%}, at the shipped threshold {one.shipped:.1%}",
                flush=True,
            )
        document = document_of(found)
        for row in document["rows"]:
            print(
                f"{row['protocol']}: estimated {row['estimated']:.1%}, real unknowns {row['at_5']:.1%}, at "
                f"the shipped threshold {row['shipped']:.1%}"
            )
        if options.json is not None:
            write_text(options.json, json.dumps(document, indent=1) + "\n")
            print(f"Wrote {options.json}")


def estimates(work: Path, threads: int | None = None) -> Iterator[Estimate]:
    """Yield every list that has an estimate and can be had; say which trained ones are not there.

    Raises:
        EdgeosrError: a frozen list cannot be run, or a bundle under ``work`` is damaged.
    """
    for protocol in PROTOCOLS.values():
        recipe = protocol.recipe
        if recipe.freeze and recipe.outliers is None:
            yield from _frozen(protocol, work, threads)
        elif recipe.outliers is None:
            yield from _trained(protocol, work)


def estimate_of(cell: Cell, record: LeftOutRecord | None) -> Estimate | None:
    """Return what a record said of a list beside its ``shipped`` cell; None if it said nothing."""
    found: FalseAccepts | None = None if record is None else record.at(FALSE_REJECT_RATE)
    if found is None:
        return None
    return Estimate(
        protocol=cell.protocol,
        list=cell.list,
        folds=found.folds,
        estimated=found.mean,
        low=found.low,
        high=found.high,
        at_5=cell.false_accepts_at_5,
        shipped=cell.false_accepts,
        false_rejects=cell.false_rejects,
    )


def document_of(found: Sequence[Estimate]) -> dict[str, Any]:
    """Return what ``bench/results/false-accept-estimates.json`` holds."""
    names = list(dict.fromkeys(one.protocol for one in found))
    return {
        "kind": "false-accept-estimates",
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": "python -m edgeosr.bench.open_set.estimates",
        "device": describe_device().as_json(),
        "versions": versions(),
        "all": _all(found),
        "rows": [_row(name, [one for one in found if one.protocol == name]) for name in names],
        "lists": [asdict(one) for one in found],
    }


def _all(found: Sequence[Estimate]) -> dict[str, Any]:
    """Return over all lists how far the estimate was from what the real unknowns gave, 0 to 1."""
    return {"lists": len(found), **{key: _off(found, key) for key in MEASURED}}


def _off(found: Sequence[Estimate], measured: str) -> dict[str, Any]:
    pairs = [(one, getattr(one, measured)) for one in found]
    off = np.array([one.estimated - value for one, value in pairs])
    return {
        "mean_error": float(np.abs(off).mean()),
        "largest_error": float(np.abs(off).max()),
        "too_low": int((off < 0).sum()),
        "outside_folds": sum(not one.low <= value <= one.high for one, value in pairs),
    }


def _row(name: str, found: Sequence[Estimate]) -> dict[str, Any]:
    """Return means over a protocol's lists, and in how many the estimate was too low, beside either."""
    means = {
        key: float(np.mean([getattr(one, key) for one in found]))
        for key in ("estimated", *MEASURED, "false_rejects")
    }
    return {
        "protocol": name,
        "lists": len(found),
        **means,
        "too_low": {key: sum(one.estimated < getattr(one, key) for one in found) for key in MEASURED},
    }


def _frozen(protocol: Protocol, work: Path, threads: int | None) -> Iterator[Estimate]:
    kept = kept_features(protocol.recipe, work / protocol.name, threads=threads)
    for number, known in protocol.chosen(None).items():
        network = observe_frozen(protocol.settings(known), kept, linear_head=False, threads=threads)
        shipped = next(score for score in own_scores(network) if score.name == SHIPPED)
        cell = cell_from_score(
            shipped, network, protocol=protocol.name, number=number, seed=protocol.recipe.seed, command="",
            versions={},
        )  # fmt: skip
        assert isinstance(cell, Cell), "its threshold is calibrated"
        one = estimate_of(cell, network.left_out)
        if one is not None:
            yield one


def _trained(protocol: Protocol, work: Path) -> Iterator[Estimate]:
    for number, known in protocol.chosen(None).items():
        bundle = run_folder(protocol.settings(known), work / protocol.name) / "list.edgeosr"
        finished = read_list(
            file_of(work, protocol.name, number), command=protocol.command(number, known), rivals=""
        )
        if finished is None or not bundle.exists():
            again = protocol.command(number, known).partition("  #")[0]
            say(f"without {protocol.name}, list {number}, which is not finished under {work}: {again}")
            continue
        cell = next(cell for cell in finished.cells if cell.score == SHIPPED)
        one = estimate_of(cell, read_bundle(bundle).manifest.left_out)
        if one is not None:
            yield one


if __name__ == "__main__":
    run_program(main)
