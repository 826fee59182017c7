"""How well bundles tell the unknown, beside pytorch-ood on the same networks and images.

    python -m edgeosr.bench.open_set [--only neu-frozen,digits] [--lists 0,3] [--json FILE] [--picture FILE]

A finished list is kept under --work and not run again. docs/results.md tells how to install pytorch-ood.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeosr.bench.open_set.picture import draw_open_set
from edgeosr.bench.open_set.protocols import PROTOCOLS
from edgeosr.bench.open_set.rivals import pytorch_ood
from edgeosr.bench.open_set.suite import SuiteSettings, document_of, run_lists
from edgeosr.bench.open_set.table import every_score, tables
from edgeosr.bench.option_values import written_file
from edgeosr.bench.user_errors import user_errors
from edgeosr.errors import UsageError, require_choice, require_extra, require_threads
from edgeosr.files import write_text
from edgeosr.program.run import run_program

WORK = Path("runs/open-set")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, print the table and, on request, write JSON and picture."""
    parser = _parser()
    options = parser.parse_args(arguments)
    with user_errors():
        names = [require_choice("--only", name.strip(), PROTOCOLS) for name in options.only.split(",")]
        protocols = [PROTOCOLS[name] for name in dict.fromkeys(names)]
        wanted = list_numbers(options.lists)
        require_threads("--threads", options.threads)
        for module, extra in (("torch", "train"), ("matplotlib", "export")):
            require_extra(module, extra=extra, purpose="the benchmark, which trains, exports and draws,")
        settings = SuiteSettings(
            work=options.work,
            # Before anything that takes long.
            rivals=None if options.without_pytorch_ood else pytorch_ood(options.pytorch_ood),
            again=options.again,
            threads=options.threads,
        )
        document = document_of(protocols, run_lists(protocols, wanted, settings))
        for row in document["rows"]:
            print(every_score(document, row["protocol"]) + "\n")
        print(tables(document) + "\n")
        if options.markdown:
            print(tables(document, options.markdown) + "\n")
        for one in document["left_out"]:
            print(f"left out: {one['protocol']} {one['list']} {one['score']}: {one['why']}")
        if options.json is not None:
            write_text(options.json, json_text(document))
            print(f"Wrote {options.json}")
        if options.picture is not None:
            draw_open_set(document, options.picture)
            print(f"Wrote {options.picture}")


def list_numbers(text: str | None) -> tuple[int, ...] | None:
    """Return the numbers of ``0,3`` or ``0-4`` or ``0-2,7``, each once; None for None.

    Raises:
        UsageError: it is something else.
    """
    if text is None:
        return None
    numbers: list[int] = []
    for piece in text.split(","):
        first, dash, last = piece.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or int(last or first) < int(first):
            raise UsageError(f"--lists: expected numbers and ranges such as 0,3 or 0-4; got {text!r}")
        numbers += range(int(first), int(last or first) + 1)
    return tuple(dict.fromkeys(numbers))


def json_text(document: dict[str, Any]) -> str:
    """Return the document with one line a cell, so that a change of one figure is a change of one line."""
    lines = [json.dumps(cell) for cell in document["cells"]]
    head = json.dumps({key: value for key, value in document.items() if key != "cells"}, indent=1)
    return head[: head.rindex("\n}")] + ',\n "cells": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        prog="python -m edgeosr.bench.open_set",
        description=(__doc__ or "").split("\n")[0],
    )
    parser.add_argument(
        "--only", default=",".join(PROTOCOLS), metavar="A,B", help=f"some of {', '.join(PROTOCOLS)}"
    )
    parser.add_argument(
        "--lists", metavar="0,3", help="numbers or ranges; default: the protocol's usual ones"
    )
    parser.add_argument("--work", type=Path, default=WORK, metavar="DIR", help=f"default: {WORK}")
    parser.add_argument("--again", action="store_true", help="run finished lists again")
    parser.add_argument("--json", type=written_file, metavar="FILE", help="write every figure here too")
    parser.add_argument("--picture", type=written_file, metavar="FILE.png", help="draw every list")
    parser.add_argument(
        "--markdown", metavar="TAG", help="print the tables once more, with tags of a page's short name"
    )
    parser.add_argument(
        "--pytorch-ood", type=Path, metavar="DIR", help="where pip install --target put pytorch-ood"
    )
    parser.add_argument(
        "--without-pytorch-ood", action="store_true", help="compare with nothing; figures of our own alone"
    )
    parser.add_argument("--threads", type=int, help="processor threads; default: by the size of the work")
    return parser


if __name__ == "__main__":
    run_program(main)
