"""``edgeosr export``."""

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeosr.cli import foreign_options as foreign
from edgeosr.cli.options import DataRoot, Json, Threads, names_from, settings_from
from edgeosr.cli.output import command_line, results_only, show
from edgeosr.errors import UsageError, require_choice

if TYPE_CHECKING:
    from edgeosr import ExportReport, ExportSettings
    from edgeosr.runtime.engines.build_bundle import BuildOptions

Source = Annotated[
    Path | None,
    typer.Argument(metavar="RUN|MODEL.onnx", help="Default: the newest run under runs/.", show_default=False),
]


def export(
    source: Source = None,
    data: Annotated[
        str | None, typer.Option(metavar="PATH_OR_NAME", help="MODEL.onnx: images of the classes it knows.")
    ] = None,
    data_root: DataRoot = None,
    engine: Annotated[
        str, typer.Option(help="onnx, or with a backbone for TensorRT: fp32, fp16 or int8.")
    ] = "onnx",
    precision: Annotated[
        str | None, typer.Option(metavar="f32|bf16|int8", help="With --for: of the network between the ends.")
    ] = None,
    target_library: Annotated[
        str | None,
        typer.Option("--for", metavar="openvino", help="What runs it: openvino, for x86 processors."),
    ] = None,
    min_agreement: Annotated[
        float,
        typer.Option(help="Share of validation images a typed graph must decide like the portable one."),
    ] = 0.995,
    recalibrate: Annotated[
        bool, typer.Option("--recalibrate", help="Fit fusion and threshold of the typed graph on it.")
    ] = False,
    jacobian: Annotated[
        str, typer.Option(help="closed-form, probes (any network, at any cut) or none.")
    ] = "closed-form",
    channel_weights: Annotated[
        str,
        typer.Option(
            metavar="equal|within-class",
            help="Channels in the closed form: alike, or by 1 / their variance within classes.",
        ),
    ] = "equal",
    probes: Annotated[
        str | None, typer.Option(metavar="K|auto", help="With --jacobian probes: how many. Default: auto.")
    ] = None,
    cut: Annotated[
        str | None,
        typer.Option(
            metavar="input|last-stage|last-conv|TENSOR",
            help="With --jacobian probes: where they start. Default: input.",
        ),
    ] = None,
    probe_family: Annotated[
        str | None,
        typer.Option(
            metavar="FAMILY", help="With --jacobian probes: random (default), dct or principal directions."
        ),
    ] = None,
    parts: Annotated[
        str,
        typer.Option(
            metavar="reported|used|all",
            help="Score parts of weight 0 in the bundle: those without constants of their own, none, or all.",
        ),
    ] = "reported",
    fit: Annotated[
        str | None, typer.Option(help="crop, stretch or letterbox. Default: as trained, or crop.")
    ] = None,
    false_reject_rate: Annotated[
        float, typer.Option(help="Share of known images that may be rejected.")
    ] = 0.05,
    threshold_rule: Annotated[
        str,
        typer.Option(
            metavar="common|per-class",
            help="One threshold, or one for each predicted class with enough images.",
        ),
    ] = "common",
    frame: Annotated[
        str | None, typer.Option(metavar="HxW", help="The camera's size, if it never changes: faster.")
    ] = None,
    known: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="MODEL.onnx: class names in the order of its outputs.")
    ] = None,
    groups: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|PATTERN|none",
            help="MODEL.onnx: which images belong together: a file of NAME,GROUP lines, or a pattern such as "
            "'(clip\\d+)_'. Default: copies and bursts.",
        ),
    ] = None,
    known_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="MODEL.onnx: names in the order of its outputs, one a line."),
    ] = None,
    outliers: Annotated[
        str | None, typer.Option(metavar="PATH_OR_NAME", help="MODEL.onnx: images of no known class.")
    ] = None,
    embedding: Annotated[
        str | None, typer.Option(metavar="TENSOR", help="MODEL.onnx: the tensor that is its embedding.")
    ] = None,
    logits: Annotated[
        str | None, typer.Option(metavar="TENSOR", help="MODEL.onnx: the tensor that is its class scores.")
    ] = None,
    preprocessing: foreign.Preprocessing = None,
    mean: foreign.Mean = None,
    std: foreign.Std = None,
    color: foreign.Color = None,
    resize: foreign.Resize = None,
    crop_fraction: foreign.CropFraction = None,
    resampling: foreign.Resampling = None,
    accept_weak_classes: foreign.AcceptWeakClasses = False,
    unknown_outputs: foreign.UnknownOutputs = None,
    folds: Annotated[
        int | None,
        typer.Option(
            help="Frozen runs: folds of left-out classes that weigh the score parts; 0 for none. "
            "Default: one a class, up to 10.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Of the probes; MODEL.onnx: of the cut of its images into parts.")
    ] = 0,
    target: Annotated[
        str | None,
        typer.Option(metavar="sm_86,sm_89,...", help="Build a TensorRT-RTX engine for these GPUs too."),
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option(metavar="LEAST,OPTIMAL,LARGEST", help="Batches of the engine. Default: 1,1,8."),
    ] = None,
    threads: Threads = None,
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
        edgeosr export deployed.onnx --data known_images/ --preprocessing imagenet --resize 256
        edgeosr export --jacobian probes --probes 4 --cut last-stage
        edgeosr export --engine fp16                        for TensorRT; no GPU is needed for it
        edgeosr export --precision bf16 --for openvino      for x86 processors that have bf16
    """
    given = locals()  # first, so that it holds the options alone
    from edgeosr.cli.engine_step import options_from

    options = options_from(engine, target, batch, frame)
    settings = _settings_from(given, options.frame)
    report, line, then = _exported(source, settings, options)
    show(text=report.as_text() + line, document=report.as_json(), json=json, written=report.path, then=then)


def _settings_from(given: dict[str, Any], frame: tuple[int, int] | None) -> "ExportSettings":
    """Return the settings of the options by their names; some are written in another way."""
    from edgeosr.export.settings import ExportSettings

    values = {field.name: given[field.name] for field in fields(ExportSettings) if field.name in given}
    values |= {name: names_from(given[name]) for name in ("known", "unknown_outputs")}
    values |= {"precision": _precision_from(given["engine"]), "probes": _count_from(given["probes"])}
    values["openvino"] = _body_from(given["precision"], given["target_library"])
    return settings_from(ExportSettings, **values | {"frame": frame})


def _exported(
    source: Path | None, settings: "ExportSettings", options: "BuildOptions"
) -> tuple["ExportReport", str, str]:
    """Return the report, a line on the engine, and what to type next."""
    from edgeosr import export_model, export_run
    from edgeosr.cli.engine_step import with_engine
    from edgeosr.cli.newest import run_or_newest

    origin = run_or_newest(source)
    foreign_model = origin.suffix.lower() == ".onnx"
    _require_places(origin, settings, foreign_model=foreign_model)
    with results_only():
        report = (export_model if foreign_model else export_run)(origin, settings)
        report, line = with_engine(report, options)
    return report, line, _next_command(report.path, settings.frame)


def _require_places(origin: Path, settings: "ExportSettings", *, foreign_model: bool) -> None:
    """Look at what the export needs at its end, before minutes of work."""
    from edgeosr.bundle.directory import SUFFIX, require_bundle_or_nothing
    from edgeosr.data.catalogue import require_image_set
    from edgeosr.files import require_place

    if foreign_model and settings.outliers is not None:
        require_image_set(settings.outliers)
    if settings.out is not None:
        require_bundle_or_nothing(settings.out)
    if settings.out is not None or origin.exists():
        beside = (origin if origin.is_dir() else origin.parent) / f"new{SUFFIX}"
        require_place(settings.out or beside, folder=True)


def _next_command(bundle: Path, frame: tuple[int, int] | None) -> str:
    """Return what to type next; test images seldom have the size of a camera's frames."""
    if frame is None:
        return command_line("edgeosr", "evaluate", bundle)
    return command_line("edgeosr", "predict", bundle, "IMAGE")


def _precision_from(engine: str) -> str | None:
    """Return the precision of ``--engine``; None for ``onnx``, which needs no typed backbone."""
    from edgeosr.bundle.backbone import PRECISIONS

    return None if require_choice("--engine", engine, ("onnx", *PRECISIONS)) == "onnx" else engine


def _body_from(precision: str | None, library: str | None) -> str | None:
    """Return the precision of a body for OpenVINO; None without one."""
    if precision is None and library is None:
        return None
    if library is None:
        raise UsageError(
            f"--precision must come with --for, which says what runs it; got --precision {precision} alone; "
            "write --precision bf16 --for openvino; for TensorRT write --engine fp16"
        )
    require_choice("--for", library, ("openvino",))
    if precision is None:
        raise UsageError(
            "--for must come with --precision; got --for openvino alone; write --precision bf16 beside it"
        )
    return precision


def _count_from(text: str | None) -> int | str | None:
    """Return the number of ``--probes``, or ``auto`` as it is."""
    if text is None or text == "auto":
        return text
    if not text.isdecimal():
        raise UsageError(f"--probes must be a whole number from 1, or auto; got {text!r}; write --probes 4")
    return int(text)
