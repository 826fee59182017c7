"""``edgeosr evaluate``."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeosr.cli.options import Bundle, DataRoot, Json, Out, Threads, settings_from
from edgeosr.cli.output import command_line, results_only, show

if TYPE_CHECKING:
    from edgeosr import QualitySettings


def evaluate(
    bundle: Bundle = None,
    unknown: Annotated[
        str | None,
        typer.Option(
            metavar="PATH_OR_NAME",
            help="Images of no known class. Default: the classes left out in training.",
        ),
    ] = None,
    known: Annotated[
        str | None,
        typer.Option(metavar="PATH_OR_NAME", help="Images of known classes. Default: the run's test part."),
    ] = None,
    data_root: DataRoot = None,
    trust_source: Annotated[
        bool,
        typer.Option("--trust-source", help="Open the images that a bundle from elsewhere names."),
    ] = False,
    out: Out = None,
    backend: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Measure what this runs: onnxruntime, openvino, or auto: a body where it runs here, as "
            "edgeosr.Runtime takes it, else model.onnx.",
        ),
    ] = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Measure what a bundle accepts and rejects.

    The images are ones it has never seen: the run's own test part, and classes left out in training.

    Examples:
        edgeosr evaluate                                    the newest bundle
        edgeosr evaluate cats.edgeosr --unknown dtd10
        edgeosr evaluate cats.edgeosr --backend onnxruntime --out portable      model.onnx, not the body
    """
    from edgeosr import QualitySettings, evaluate_bundle
    from edgeosr.cli.newest import bundle_or_newest

    settings = settings_from(
        QualitySettings, unknown=unknown, known=known, data_root=data_root, out=out, backend=backend,
        threads=threads, trust_source=trust_source,
    )  # fmt: skip
    path = bundle_or_newest(bundle)
    _require_places(path, settings)
    with results_only():
        report = evaluate_bundle(path, settings)
    then = command_line("edgeosr", "predict", path, "IMAGE")
    show(text=report.as_text(), document=report.as_json(), json=json, written=report.out, then=then)


def _require_places(bundle: Path, settings: "QualitySettings") -> None:
    """Look at all paths before anything is read or scored."""
    from edgeosr.data.catalogue import require_image_set
    from edgeosr.files import require_place

    for source in (settings.unknown, settings.known):
        if source is not None:
            require_image_set(source)
    require_place(settings.out or Path(os.path.realpath(bundle)).parent / "new", folder=True)
