"""``edgeosr build``."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from edgeosr.cli.options import Bundle, Json
from edgeosr.cli.output import command_line, results_only, show
from edgeosr.printed import json_text


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
    from edgeosr.bundle.directory import newest_bundle
    from edgeosr.cli.engine_step import described, options_from
    from edgeosr.runtime.engines.build_bundle import build_bundle

    path = Path(bundle) if bundle is not None else newest_bundle()
    options = options_from(None, target, batch, frame, workspace=workspace, device=device)
    with results_only():
        record, manifest = build_bundle(path, options)
    text = f"engine  {described(record)}\nbundle  holds {len(manifest.engines)} engine(s)"
    document = json_text({"kind": "build", "bundle": path, "engine": asdict(record)}, indent=1)
    then = command_line("edgeosr", "verify", path)
    show(text=text, document=document, json=json, written=path / "engines" / record.file, then=then)
