"""``edgeosr train``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeosr.cli.options import DataRoot, Json, names_from, settings_values
from edgeosr.cli.output import command_line, results_only, show
from edgeosr.errors import UsageError, import_extra, require_extra

if TYPE_CHECKING:
    from edgeosr.training.settings import TrainSettings


def train(
    ctx: typer.Context,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="PATH_OR_NAME",
            help="A folder with one sub-folder a class; or digits, cifar10, gtsrb, fashion-mnist, ...",
        ),
    ] = None,
    data_root: DataRoot = None,
    known: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="The known classes; the others are never trained on.")
    ] = None,
    split: Annotated[
        int | None,
        typer.Option(metavar="0..4", help="A published list of known classes, instead of --known."),
    ] = None,
    outliers: Annotated[
        str | None,
        typer.Option(
            metavar="PATH_OR_NAME", help="Images of no known class, for the discriminator and the fusion."
        ),
    ] = None,
    arch: Annotated[
        str, typer.Option(help="classifier32, resnet18-32, resnet18, efficientnet-lite0, timm:NAME.")
    ] = "classifier32",
    input_size: Annotated[
        int | None, typer.Option("--input-size", "--imgsz", help="Side of the network's input in pixels.")
    ] = None,
    fit: Annotated[str, typer.Option(help="How a frame meets the input: crop, stretch, letterbox.")] = "crop",
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Start from ImageNet weights.")] = False,
    freeze: Annotated[
        bool, typer.Option("--freeze", help="Keep the backbone as it is: for small data sets.")
    ] = False,
    loss: Annotated[str, typer.Option(help="movr, or ce (cross-entropy, the baseline).")] = "movr",
    temperature: Annotated[float, typer.Option(help="T of the m-OvR loss.")] = 32.0,
    margin: Annotated[float, typer.Option(help="m of the m-OvR loss, in radians.")] = 0.5,
    rotation_weight: Annotated[float, typer.Option(help="Rotation auxiliary; 0 = off.")] = 0.1,
    epochs: Annotated[int, typer.Option(help="Passes over the training images.")] = 30,
    max_minutes: Annotated[
        float | None,
        typer.Option(help="Begin no epoch that would end after this time; the discriminator comes after it."),
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", "--batch", help="Images a step.")] = 128,
    lr: Annotated[float, typer.Option(help="Peak learning rate.")] = 0.01,
    weight_decay: Annotated[float, typer.Option(help="Weight decay.")] = 1e-3,
    flip: Annotated[
        bool | None,
        typer.Option("--flip/--no-flip", help="Flip images. Default: where it keeps their meaning."),
    ] = None,
    shift: Annotated[float, typer.Option(help="Random shift, share of the side; 0 = off.")] = 0.125,
    color_jitter: Annotated[float, typer.Option(help="Random colour changes, 0 to 1.")] = 0.0,
    discriminator: Annotated[
        bool, typer.Option("--discriminator/--no-discriminator", help="Train OpenGAN's discriminator.")
    ] = True,
    lambda_g: Annotated[float, typer.Option(help="OpenGAN: weight of generated features.")] = 1.0,
    lambda_o: Annotated[float, typer.Option(help="OpenGAN: weight of outliers.")] = 1.0,
    watch_jacobian: Annotated[
        bool,
        typer.Option(
            "--watch-jacobian",
            help="Record and draw the Jacobian norm of known and unknown images each epoch; only observed.",
        ),
    ] = False,
    watch_images: Annotated[int, typer.Option(help="Watched images of each kind.")] = 256,
    watch_probes: Annotated[int, typer.Option(help="Random directions of the watched norm.")] = 8,
    watch_unknown: Annotated[
        str | None,
        typer.Option(
            metavar="PATH_OR_NAME",
            help="Watched unknown images. Default: test images of the other classes; never learnt from.",
        ),
    ] = None,
    fractions: Annotated[
        tuple[float, float, float], typer.Option(help="Shares of train, select and calibrate.")
    ] = (0.8, 0.1, 0.1),
    test_fraction: Annotated[float, typer.Option(help="Share held out where no official test exists.")] = 0.2,
    per_group: Annotated[int | None, typer.Option(help="At most this many images of a track.")] = None,
    seed: Annotated[int, typer.Option(help="Everything random follows from it.")] = 0,
    out: Annotated[Path | None, typer.Option(metavar="runs/NAME", help="The run to write.")] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with this run, with its own settings.")
    ] = None,
    devices: Annotated[str, typer.Option(help="Number of GPUs or CPU processes, or auto.")] = "auto",
    num_nodes: Annotated[int, typer.Option(help="Number of machines.")] = 1,
    strategy: Annotated[str, typer.Option(help="auto, ddp, ddp_spawn.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, 32-true, bf16-mixed.")] = "auto",
    compile: Annotated[
        bool, typer.Option("--compile", help="torch.compile the network: faster after a slow start.")
    ] = False,
    threads: Annotated[int | None, typer.Option(help="CPU threads of each process.")] = None,
    json: Json = False,
) -> None:
    """Train a classifier; writes a run.

    Its discriminator learns what known embeddings look like, from generated ones or from --outliers.

    Examples:
        edgeosr train --data photos/                        one sub-folder a class
        edgeosr train --data cifar10 --split 0              a published list of known classes
        edgeosr train --data photos/ --known cat,dog --outliers other/
        edgeosr train --data parts/ --arch efficientnet-lite0 --pretrained --freeze
    """
    from edgeosr.cli.run_report import RunReport, is_first_process
    from edgeosr.training.open_data import open_parts

    settings = _settings(ctx)
    require_extra("torch", extra="train", purpose="training")
    # Importing torch takes seconds: a wrong path or class is told before it, not after.
    open_parts(settings)
    from edgeosr.training.train import train as train_run

    with results_only():
        run = train_run(settings)
    if is_first_process():
        report = RunReport(run)
        then = command_line("edgeosr", "export", run)
        show(text=report.as_text(), document=report.as_json(), json=json, written=run, then=then)


def _settings(ctx: typer.Context) -> "TrainSettings":
    from edgeosr.training.settings import CIRCUMSTANCES, TrainSettings

    values = ctx.params
    if values["resume"] is None:
        if values["data"] is None:
            raise UsageError("training needs images; add --data FOLDER, or --data digits to try it")
        devices = int(values["devices"]) if values["devices"].isdecimal() else values["devices"]
        known = names_from(values["known"])
        return TrainSettings(**settings_values(ctx, known=known, devices=devices, resume=False))
    _refuse_settings_beside_resume(ctx, CIRCUMSTANCES)
    kept = {name: values[name] for name in CIRCUMSTANCES if name not in {"out", "resume"}}
    import_extra("torch", extra="train", purpose="training")
    from edgeosr.training.train import resumed_settings

    return resumed_settings(values["resume"], **kept)


def _refuse_settings_beside_resume(ctx: typer.Context, allowed: tuple[str, ...]) -> None:
    # Compared by name: older versions of typer take this enumeration from click, newer ones bring their own.
    given = [
        name for name in ctx.params if getattr(ctx.get_parameter_source(name), "name", "") == "COMMANDLINE"
    ]
    foreign = [name for name in given if name not in {*allowed, "json"} or name == "out"]
    if foreign:
        options = ", ".join("--" + name.replace("_", "-") for name in foreign)
        raise UsageError(
            f"--resume goes on with the run's own settings; leave out {options}, or start a new run"
        )
