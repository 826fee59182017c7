"""``edgeosr export``."""

from pathlib import Path
from typing import Annotated

import typer

from edgeosr.cli.options import DataRoot, Json, names_from, settings_values, size_from
from edgeosr.cli.output import command_line, results_only, show
from edgeosr.errors import import_extra

Source = Annotated[
    Path | None,
    typer.Argument(metavar="RUN|MODEL.onnx", help="Default: the newest run under runs/.", show_default=False),
]


def export(
    ctx: typer.Context,
    source: Source = None,
    data: Annotated[
        str | None, typer.Option(metavar="PATH_OR_NAME", help="MODEL.onnx: images of the classes it knows.")
    ] = None,
    data_root: DataRoot = None,
    engine: Annotated[str, typer.Option(help="onnx.")] = "onnx",
    jacobian: Annotated[str, typer.Option(help="closed-form or none.")] = "closed-form",
    fit: Annotated[
        str | None, typer.Option(help="crop, stretch or letterbox. Default: as trained, or crop.")
    ] = None,
    false_reject_rate: Annotated[
        float, typer.Option(help="Share of known images that may be rejected.")
    ] = 0.05,
    frame: Annotated[
        str | None, typer.Option(metavar="HxW", help="The camera's size, if it never changes: faster.")
    ] = None,
    known: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="MODEL.onnx: class names in the order of its outputs.")
    ] = None,
    outliers: Annotated[
        str | None, typer.Option(metavar="PATH_OR_NAME", help="MODEL.onnx: images of no known class.")
    ] = None,
    embedding: Annotated[
        str | None, typer.Option(metavar="TENSOR", help="MODEL.onnx: the tensor that is its embedding.")
    ] = None,
    mean: Annotated[
        tuple[float, float, float], typer.Option(help="MODEL.onnx: its input's mean, of values in 0..1.")
    ] = (0.485, 0.456, 0.406),
    std: Annotated[
        tuple[float, float, float], typer.Option(help="MODEL.onnx: its input's standard deviation.")
    ] = (0.229, 0.224, 0.225),
    color: Annotated[str, typer.Option(help="MODEL.onnx: rgb or bgr, as it was trained.")] = "rgb",
    seed: Annotated[int, typer.Option(help="MODEL.onnx: of the cut of its images into parts.")] = 0,
    out: Annotated[
        Path | None, typer.Option(metavar="NAME.edgeosr", help="The bundle to write. Default: beside SOURCE.")
    ] = None,
    json: Json = False,
) -> None:
    """Calibrate a classifier into a bundle.

    Takes a run of edgeosr train, or any image classifier in ONNX with images of the classes it knows.

    Examples:
        edgeosr export                                      the newest run
        edgeosr export runs/cats --false-reject-rate 0.02 --frame 480x640
        edgeosr export deployed.onnx --data known_images/   a classifier from elsewhere
    """
    from edgeosr.export.settings import ExportSettings
    from edgeosr.run import newest_run

    settings = ExportSettings(**settings_values(ctx, known=names_from(known), frame=size_from(frame)))
    origin = source or newest_run()
    import_extra("onnx_ir", extra="export", purpose="exporting")
    from edgeosr.export.export import export_classifier, export_run

    with results_only():
        make = export_classifier if origin.suffix == ".onnx" else export_run
        report = make(origin, settings)
    then = command_line("edgeosr", "evaluate", report.path)
    show(text=report.as_text(), document=report.as_json(), json=json, written=report.path, then=then)
