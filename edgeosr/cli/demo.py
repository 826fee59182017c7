"""``edgeosr demo``."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from edgeosr.cli.options import DemoThreads, Json
from edgeosr.cli.output import results_only, show
from edgeosr.errors import require_extra
from edgeosr.program.streams import echo


def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where to write.")] = Path("runs/demo"),
    max_minutes: Annotated[
        float, typer.Option(help="Training stops in this time, after as many epochs as the machine finishes.")
    ] = 1.2,
    seed: Annotated[int, typer.Option(help="Everything random follows from it.")] = 0,
    threads: DemoThreads = None,
    json: Json = False,
) -> None:
    """See six digits learnt and four rejected.

    Trains, calibrates, exports, evaluates and times on real scans that scikit-learn bundles. The time limits
    the training, so a slower or busier machine trains fewer epochs and shows other figures.

    Examples:
        edgeosr demo
    """
    require_extra("torch", extra="train", purpose="the demo, which trains,")
    from edgeosr.bench.demo import DemoSettings, run_demo

    say = partial(echo, err=True)
    settings = DemoSettings(out=out, max_minutes=max_minutes, seed=seed, threads=threads, say=say)
    with results_only():
        report = run_demo(settings)
    then = "edgeosr train --data FOLDER_WITH_ONE_SUBFOLDER_A_CLASS"
    show(text=report.as_text(), document=report.as_json(), json=json, written=report.picture, then=then)
