"""The last step of ``edgeosr export``: an engine, where one can be built, or the line that says where."""

import dataclasses
from typing import TYPE_CHECKING

from edgeosr.bundle.engines import EngineRecord
from edgeosr.cli.options import names_from, numbers_from, size_from
from edgeosr.cli.output import command_line
from edgeosr.errors import EdgeosrError, UsageError
from edgeosr.runtime.engines.build_bundle import DEFAULT_BATCH, BuildOptions, build_bundle
from edgeosr.runtime.engines.gpu import probe_gpus
from edgeosr.runtime.engines.request import BuildRequest, numbers_of
from edgeosr.runtime.engines.tensorrt_module import load_tensorrt

if TYPE_CHECKING:
    from edgeosr.export.report import ExportReport


def options_from(
    engine: str | None,
    target: str | None,
    batch: str | None,
    frame: str | None,
    *,
    workspace: int | None = None,
    device: int = 0,
) -> BuildOptions:
    """Check the options of an engine before minutes of exporting.

    Args:
        engine: ``--engine`` of the export; None for ``edgeosr build``.
        target: architectures, separated by commas.
        batch: one to three numbers, separated by commas.
        frame: ``HxW``.
        workspace: MiB.
        device: ordinal of the GPU.

    Raises:
        UsageError: one is wrong, or needs a typed backbone and ``--engine onnx`` makes none.
        MissingDependencyError: there are targets, and TensorRT-RTX is not installed.
    """
    given = [name for name, value in (("--target", target), ("--batch", batch)) if value is not None]
    if given and engine == "onnx":
        raise UsageError(
            f"{' and '.join(given)} need{'s' if len(given) == 1 else ''} an engine; got --engine onnx, which "
            "has none; write --engine fp16"
        )
    options = BuildOptions(
        targets=names_from(target) or (),
        batch=DEFAULT_BATCH if batch is None else numbers_of(numbers_from("--batch", batch)),
        frame=size_from(frame),
        workspace=workspace,
        device=device,
    )
    BuildRequest(
        builder="tensorrt_rtx" if options.targets else "tensorrt",
        targets=options.targets,
        batch=options.batch,
        frame=options.frame or (1, 1),
        workspace=workspace,
    )
    if options.targets:
        load_tensorrt("tensorrt_rtx", to_run=False)
    return options


def with_engine(report: "ExportReport", options: BuildOptions) -> tuple["ExportReport", str]:
    """Build the engine of a new bundle if it can be built here.

    An engine for ``--target`` that cannot be built is an error; one for the GPU here is left to the device.

    Returns:
        The report with the engine in its manifest, and a line on it to add to its text, empty for a
        bundle without a backbone.
    """
    if report.manifest.backbone is None:
        return report, ""
    wanted = () if options.batch == DEFAULT_BATCH else ("--batch", ",".join(map(str, options.batch)))
    later = (
        f"\nengine           is built on the device: {command_line('edgeosr', 'build', report.path, *wanted)}"
    )
    if not options.targets and not probe_gpus().gpus:
        return report, later
    try:
        record, manifest = build_bundle(report.path, options)
    except EdgeosrError as error:
        if options.targets:
            raise
        return report, f"{later}\n                 (not here: {error})"
    return dataclasses.replace(report, manifest=manifest), f"\nengine           {described(record)}"


def described(record: EngineRecord) -> str:
    """Return one line on an engine."""
    return (
        f"{record.builder} {record.version}, {record.precision}, for "
        f"{record.device or ', '.join(record.targets)}; frames {record.frame[0]}x{record.frame[1]}, batch "
        f"{record.batch[0]} to {record.batch[2]}; {record.bytes / 1e6:.1f} MB, built "
        f"in {record.seconds:.1f} s"
    )
