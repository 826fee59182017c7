"""``edgeosr train``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeosr.cli.options import DataRoot, Json, Threads, names_from, settings_from
from edgeosr.cli.output import command_line, results_only, show
from edgeosr.errors import UsageError
from edgeosr.printed import say

if TYPE_CHECKING:
    from edgeosr import TrainSettings


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
        str | None,
        typer.Option(
            metavar="NAME",
            help="classifier32, resnet18-32, resnet18, efficientnet-lite0, timm:NAME. Default: classifier32, "
            "and efficientnet-lite0 with --pretrained.",
            show_default=False,
        ),
    ] = None,
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
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Passes over the training images. Default: 30, and 100 with --freeze.", show_default=False
        ),
    ] = None,
    max_minutes: Annotated[
        float | None,
        typer.Option(
            help="Begin no epoch that would end after this time; discriminator and folds come after it."
        ),
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
    lambda_g: Annotated[
        float | None,
        typer.Option(
            help="OpenGAN: weight of generated features. Default: chosen on outliers or left-out classes.",
            show_default=False,
        ),
    ] = None,
    lambda_o: Annotated[float, typer.Option(help="OpenGAN: weight of outliers.")] = 1.0,
    folds: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Train the recipe again on N folds without some known classes, which tell the export what "
            "unknown looks like; 0 for none. Default: 3 without --outliers and --freeze.",
        ),
    ] = None,
    fold_epochs: Annotated[
        int | None,
        typer.Option(metavar="N", help="Epochs of a fold. Default: about the run's own number of steps."),
    ] = None,
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
    groups: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|PATTERN|none",
            help="Which images belong together: a file of NAME,GROUP lines, or a pattern such as "
            "'(clip\\d+)_'. Default: copies and bursts.",
        ),
    ] = None,
    per_group: Annotated[int | None, typer.Option(help="At most this many images of a group.")] = None,
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
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Train a classifier; writes a run.

    Its discriminator learns what known embeddings look like, from generated ones or from --outliers. Folds
    train the same recipe again without some known classes each: what the export weighs its score parts by.

    Examples:
        edgeosr train --data photos/                        one sub-folder a class
        edgeosr train --data cifar10 --split 0              a published list of known classes
        edgeosr train --data photos/ --known cat,dog --outliers other/
        edgeosr train --data parts/ --pretrained --freeze  few images: a network that knows ImageNet
    """
    settings = _settings(
        ctx, resume, known=names_from(known), devices=int(devices) if devices.isdecimal() else devices,
        data=data, data_root=data_root, split=split, arch=arch, fit=fit, outliers=outliers,
        input_size=input_size, pretrained=pretrained, freeze=freeze, loss=loss, flip=flip,
        temperature=temperature, margin=margin, rotation_weight=rotation_weight, epochs=epochs, lr=lr,
        max_minutes=max_minutes, batch_size=batch_size, weight_decay=weight_decay, shift=shift,
        discriminator=discriminator, color_jitter=color_jitter, lambda_g=lambda_g, lambda_o=lambda_o,
        fractions=fractions, watch_jacobian=watch_jacobian, watch_images=watch_images,
        watch_probes=watch_probes, watch_unknown=watch_unknown, test_fraction=test_fraction,
        groups=groups, per_group=per_group, seed=seed, out=out, num_nodes=num_nodes, strategy=strategy,
        precision=precision, compile=compile, threads=threads, folds=folds, fold_epochs=fold_epochs,
    )  # fmt: skip
    _train(settings, json=json)


def _train(settings: "TrainSettings", *, json: bool) -> None:
    from edgeosr import train_run
    from edgeosr.cli.run_report import RunReport, is_first_process

    with results_only():
        run = train_run(settings)
    if is_first_process():
        report = RunReport(run)
        then = command_line("edgeosr", "export", run, *report.export_options)
        show(text=report.as_text(), document=report.as_json(), json=json, written=run, then=then)


def _settings(ctx: typer.Context, resume: Path | None, **values: Any) -> "TrainSettings":
    from edgeosr import TrainSettings, resumed_settings
    from edgeosr.training.settings import CIRCUMSTANCES

    if resume is None:
        if values["data"] is None:
            raise UsageError("training needs images; add --data FOLDER, or --data digits to try it")
        settings = settings_from(TrainSettings, resume=False, **values)
        if settings.pretrained and values["arch"] is None:
            say(f"network: {settings.arch}, which --pretrained takes where no --arch is given")
        return settings
    _refuse_settings_beside_resume(ctx, set(values) - (set(CIRCUMSTANCES) - {"out"}))
    kept = {name: values[name] for name in CIRCUMSTANCES if name not in {"out", "resume"}}
    return resumed_settings(resume, **kept)


def _refuse_settings_beside_resume(ctx: typer.Context, settled: set[str]) -> None:
    # Compared by name: older versions of typer take this enumeration from click, newer ones bring their own.
    foreign = [
        name
        for name in sorted(settled)
        if getattr(ctx.get_parameter_source(name), "name", "") == "COMMANDLINE"
    ]
    if foreign:
        options = ", ".join("--" + name.replace("_", "-") for name in foreign)
        raise UsageError(
            f"--resume goes on with the run's own settings; leave out {options}, or start a new run"
        )
