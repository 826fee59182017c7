"""``edgeosr predict``."""

import json as json_format
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeosr.cli.options import Json, RuntimeThreads
from edgeosr.cli.output import command_line, show
from edgeosr.errors import UsageError
from edgeosr.printed import json_text
from edgeosr.program.ending import held_signals, interrupted_code
from edgeosr.program.streams import echo, echo_json

if TYPE_CHECKING:
    from edgeosr.runtime.prediction_summary import PredictionSummary


def predict(
    bundle: Annotated[
        str | None,
        typer.Argument(
            metavar="BUNDLE", help="A NAME.edgeosr directory. Default: the newest.", show_default=False
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="An image, folder, 'glob', video file, camera number or stream address.",
            show_default=False,
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Accept up to this unknown score, in every class. Default: as calibrated."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Judge at most this many images or frames.")
    ] = None,
    shown: Annotated[int, typer.Option(min=0, help="Images named one by one in the text.")] = 20,
    out: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="The drawn video; or a folder for drawn copies of images."),
    ] = None,
    video: Annotated[
        bool | None,
        typer.Option(
            "--video/--no-video",
            help="Draw the verdicts over a video. Default: yes, but with --jsonl only where --out says.",
            show_default=False,
        ),
    ] = None,
    threads: RuntimeThreads = None,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="Print one JSON line an image or frame.")] = False,
    json: Json = False,
) -> None:
    """Say what an image or video shows, or that it is unknown.

    Examples:
        edgeosr predict photo.jpg                           ask the newest bundle
        edgeosr predict cats.edgeosr 'photos/*.jpg' --jsonl
        edgeosr predict cats.edgeosr street.mp4             writes the video with its verdicts drawn
        edgeosr predict cats.edgeosr 0 --jsonl              the first camera, a line a frame
    """
    from edgeosr.runtime.predict import predict_source

    require_one_format(json=json, jsonl=jsonl)
    path, wanted = bundle_and_source(bundle, source)
    lines: list[str] = []
    drawn = video if video is not None else out is not None or not jsonl
    emit = lines.append if json else echo_json if jsonl else echo
    summary = predict_source(
        path, wanted, out=out, video=drawn, json_lines=json or jsonl, threshold=threshold, threads=threads,
        limit=limit, shown=shown, emit=emit,
    )  # fmt: skip
    if not jsonl:
        show_summary(summary, lines, path, json=json)
    raise typer.Exit(interrupted_code() if summary.interrupted else int(not summary.ok))


def show_summary(summary: "PredictionSummary", lines: list[str], bundle: Path, *, json: bool) -> None:
    """Print the counts, and with ``json`` the verdicts, each a line of JSON; a signal waits for the end."""
    then = command_line("edgeosr", "bench", bundle)
    document = document_from(summary, lines)
    with held_signals():
        show(text=summary.as_text(), document=document, json=json, written=summary.written, then=then)


def document_from(summary: "PredictionSummary", lines: list[str]) -> str:
    """Return the counts and the verdicts, each a line of JSON, as one document."""
    verdicts = [json_format.loads(line) for line in lines]
    return json_text({**summary.as_json(), "verdicts": verdicts}, indent=1)


def bundle_and_source(bundle: str | None, source: str | None) -> tuple[Path, str]:
    """Return the bundle and what it shall judge; one argument alone is the source, for the newest bundle.

    Raises:
        UsageError: there is nothing to judge.
        BundleError: there is no bundle.
    """
    from edgeosr.bundle.directory import MANIFEST_NAME, SUFFIX
    from edgeosr.cli.newest import bundle_or_newest

    if bundle is None:
        raise UsageError("nothing to judge; type: edgeosr predict IMAGE, or a folder, video or camera number")
    if source is not None:
        return Path(bundle), source
    if bundle.rstrip("/").endswith(SUFFIX) or os.path.isfile(Path(bundle) / MANIFEST_NAME):
        raise UsageError(f"{bundle} is a bundle; say what it shall judge: edgeosr predict {bundle} IMAGE")
    return bundle_or_newest(None), bundle


def require_one_format(*, json: bool, jsonl: bool) -> None:
    """Raise a UsageError if both kinds of JSON are asked for."""
    if json and jsonl:
        raise UsageError("--json prints one document, --jsonl one line an image; give only one of them")
