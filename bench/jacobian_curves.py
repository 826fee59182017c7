"""The Jacobian norm over training, of several runs side by side.

    python -m edgeosr.bench.jacobian_curves runs/movr runs/ce --out curves.png [--json curves.json]

Each run was trained with ``edgeosr train --watch-jacobian``; its log is read, nothing is measured here. The
picture is the observation of the Jacobian-norm paper (Park et al., arXiv 2209.11436): how the norm of known
and unknown images, and their difference (JND), move for a one-versus-rest loss and for cross-entropy.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeosr.bench.option_values import written_file
from edgeosr.bench.user_errors import user_errors
from edgeosr.errors import DataError, UsageError
from edgeosr.files import storage_errors, write_text
from edgeosr.program.run import run_program
from edgeosr.run import LOG, RunRecord, read_run
from edgeosr.training.jacobian_plot import conditions, draw_jacobian

Lines = list[dict[str, Any]]


def watched_run(run: Path) -> tuple[RunRecord, Lines]:
    """Return a run's record and the lines of its log, one an epoch, each with ``jacobian``.

    Raises:
        UsageError: the run was trained without --watch-jacobian.
        DataError, StorageError: the run or its log cannot be read.
    """
    record = read_run(run)
    with storage_errors("read", run / LOG):
        text = (run / LOG).read_text(encoding="utf-8")
    try:
        lines = [json.loads(line) for line in text.splitlines()]
    except ValueError as error:
        raise DataError(
            f"{run / LOG} is not a log of lines of JSON ({error}); train the run again"
        ) from error
    watched = [line for line in lines if "jacobian" in line]
    if not watched:
        raise UsageError(f"{run} was trained without --watch-jacobian; train it again with it")
    return record, watched


def curves(runs: Sequence[Path], picture: Path) -> dict[str, Any]:
    """Draw the runs side by side on equal axes and return the numbers.

    Returns:
        ``runs``: by run its name, settings, result, conditions in words and the log's lines.

    Raises:
        UsageError, DataError, StorageError, MissingDependencyError: see ``watched_run`` and
            ``draw_jacobian``.
    """
    found = [watched_run(run) for run in runs]
    captions = [
        conditions(record.training, record.data["title"], len(record.data["known"]), lines[-1])
        for record, lines in found
    ]
    draw_jacobian(
        picture,
        [(f"{record.name} ({record.training['loss']})", lines) for record, lines in found],
        title="Jacobian norm of the embedding over training",
        caption=" | ".join(
            dict.fromkeys(
                caption.replace(f"loss {record.training['loss']}", "loss as named above")
                for (record, _), caption in zip(found, captions, strict=True)
            )
        ),
    )
    return {
        "kind": "jacobian-curves",
        "runs": [
            {
                "name": record.name,
                "edgeosr": record.version,
                "created": record.created,
                "conditions": caption,
                "training": record.training,
                "result": record.result,
                "epochs": lines,
            }
            for (record, lines), caption in zip(found, captions, strict=True)
        ],
    }


def table_from_curves(document: dict[str, Any]) -> str:
    """Return the last epoch of every run as lines for a terminal."""
    lines = [f"{'run':<32}{'loss':>6}{'epoch':>7}{'known J_u':>12}{'unknown J_u':>13}{'JND':>10}{'AUROC':>8}"]
    for run in document["runs"]:
        last = run["epochs"][-1]
        seen = last["jacobian"]
        lines.append(
            f"{run['name']:<32}{run['training']['loss']:>6}{last['epoch']:>7}"
            f"{seen['known']['mean']:>12.4f}{seen['unknown']['mean']:>13.4f}"
            f"{seen['difference']:>+10.4f}{seen['auroc']:>8.3f}"
        )
    lines += dict.fromkeys(run["conditions"] for run in document["runs"])
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of ``python -m edgeosr.bench.jacobian_curves``."""
    parser = argparse.ArgumentParser(allow_abbrev=False, prog="python -m edgeosr.bench.jacobian_curves",
                                     description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--out", type=written_file, required=True, metavar="FILE.png")
    parser.add_argument("--json", type=written_file, metavar="FILE.json", help="write the numbers as well")
    options = parser.parse_args(arguments)
    with user_errors():
        document = curves(options.runs, options.out)
        print(table_from_curves(document))
        if options.json is not None:
            write_text(options.json, json.dumps(document, indent=1) + "\n")
            print(f"Wrote {options.json}")
        print(f"Wrote {options.out}")


if __name__ == "__main__":
    run_program(main)
