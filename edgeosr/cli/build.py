"""``edgeosr build``."""

import json as json_module
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from edgeosr.cli.options import Bundle, Json, names_from, numbers_from, size_from
from edgeosr.cli.output import command_line, results_only, show


def build(
    bundle: Bundle = None,
    batch: Annotated[
        str,
        typer.Option(metavar="LEAST,OPTIMAL,LARGEST", help="Batch sizes it takes; one number: only that."),
    ] = "1,1,8",
    frame: Annotated[
        str | None, typer.Option(metavar="HxW", help="Size of the camera's frames. Default: the network's.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="sm_86,sm_89,...", help="Build a TensorRT-RTX engine for these GPUs; none is needed here."
        ),
    ] = None,
    workspace: Annotated[int | None, typer.Option(metavar="MIB", help="Most scratch memory, MiB.")] = None,
    device: Annotated[int, typer.Option(min=0, help="Number of the GPU.")] = 0,
    json: Json = False,
) -> None:
    """Build the TensorRT engine of a bundle, on the device that will run it.

    The bundle must hold a typed backbone (edgeosr export --engine fp16).

    Examples:
        edgeosr build                                   the newest bundle, for the GPU here
        edgeosr build cats.edgeosr --frame 480x640 --batch 1,1,4
        edgeosr build cats.edgeosr --target sm_86,sm_89 for RTX desktops, on any machine
    """
    from edgeosr.bundle import newest_bundle
    from edgeosr.runtime.engines.build_bundle import BuildOptions, build_bundle
    from edgeosr.runtime.engines.request import numbers_of

    path = Path(bundle) if bundle is not None else newest_bundle()
    options = BuildOptions(
        targets=names_from(target) or (),
        batch=numbers_of(numbers_from("--batch", batch)),
        frame=size_from(frame),
        workspace=workspace,
        device=device,
    )
    with results_only():
        record, manifest = build_bundle(path, options)
    text = "\n".join(
        [
            f"engine     {record.builder} {record.version}, {record.precision}, for "
            f"{record.device or ', '.join(record.targets)}",
            f"frames     {record.frame[0]}x{record.frame[1]}, batch {record.batch[0]} to {record.batch[2]}, "
            f"best at {record.batch[1]}",
            f"plan       {record.bytes / 1e6:.1f} MB, built in {record.seconds:.1f} s; the bundle holds "
            f"{len(manifest.engines)}",
        ]
    )
    document = json_module.dumps({"kind": "build", "bundle": str(path), "engine": asdict(record)}, indent=1)
    then = command_line("edgeosr", "verify", path)
    show(text=text, document=document, json=json, written=path / "engines" / record.file, then=then)
