"""Size and build time of TensorRT-RTX engines by network, ending and precision; needs no GPU.

    python -m edgeosr.bench.engine_builds [--only efficientnet-lite0] [--target sm_86] [--json FILE]

Networks have random weights: a plan's size and its build time hardly depend on them. Frames of 480x640 are
taken by the engine itself. Each engine is built once, in a process of its own, start of the process included.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from edgeosr.bench.device import describe_device, load_average, versions
from edgeosr.bench.option_values import written_file
from edgeosr.bench.random_bundle import random_classifier
from edgeosr.bench.user_errors import user_errors
from edgeosr.bundle.backbone import PRECISIONS
from edgeosr.bundle.tensors import MAP, TANGENTS
from edgeosr.data.catalogue import open_image_set
from edgeosr.data.labelled_images import LabelledImages
from edgeosr.errors import require_choice
from edgeosr.export.precision.pixels import calibration_pixels
from edgeosr.export.precision.tangent_gain import scaled_tangents
from edgeosr.export.precision.typed import TypedGraph, typed_graph
from edgeosr.export.probing import make_probes
from edgeosr.export.scored_graph import scored_graph
from edgeosr.files import write_text
from edgeosr.program.run import run_program
from edgeosr.runtime.engines.isolated import build_isolated
from edgeosr.runtime.engines.request import BuildRequest

SIZES = {"classifier32": 32, "resnet18-32": 32, "resnet18": 224, "efficientnet-lite0": 224}
ENDINGS = (MAP, TANGENTS)
FRAME, BATCH, PROBES = (480, 640), (1, 1, 8), 4


@dataclass(frozen=True, kw_only=True)
class EngineBuild:
    """One engine.

    Attributes:
        network: its name and input size in pixels.
        ending: ``map``, or ``tangents`` of 4 probes at the last convolution.
        precision: of the backbone.
        onnx_bytes, plan_bytes: sizes of ``backbone.onnx`` and of the plan.
        typed_s: seconds to type the graph, int8 calibration on 16 images included.
        build_s: seconds to build the plan.
        builder: version of tensorrt_rtx.
    """

    network: str
    ending: str
    precision: str
    onnx_bytes: int
    plan_bytes: int
    typed_s: float
    build_s: float
    builder: str


def builds_of(arch: str, size: int, request: BuildRequest, images: LabelledImages) -> Iterator[EngineBuild]:
    """Build every ending and precision of a network.

    Args:
        arch: a name of ``edgeosr.model.catalogue.ARCHITECTURES``.
        size: side of its input, pixels.
        request: what is built.
        images: for int8 and the range of tangents.

    Raises:
        EngineError, MissingDependencyError: an engine cannot be built.
    """
    for ending in ENDINGS:
        for precision in PRECISIONS:
            started = time.perf_counter()
            typed = _typed(arch, size, ending, precision, images)
            data, built_from = typed.backbone(), time.perf_counter()
            built = build_isolated(data, request, outputs=typed.boundary.outputs, dtype=typed.dtype)
            yield EngineBuild(
                network=f"{arch} {size} px",
                ending=ending,
                precision=precision,
                onnx_bytes=len(data),
                plan_bytes=len(built.plan),
                typed_s=round(built_from - started, 2),
                build_s=round(time.perf_counter() - built_from, 2),
                builder=built.version,
            )


def _typed(arch: str, size: int, ending: str, precision: str, images: LabelledImages) -> TypedGraph:
    classifier = random_classifier(arch, size)
    probes = None
    if ending == TANGENTS:
        probes = make_probes(classifier, K=PROBES, cut="last-conv", family="random", seed=0, images=images)
    graph = scored_graph(classifier, "closed-form" if probes is None else "probes", probes)
    return typed_graph(
        graph,
        precision,
        scaled=None if probes is None or precision == "fp32" else scaled_tangents(graph, probes, images),
        pixels=lambda: calibration_pixels(images, classifier.preprocessing),
    )


def table(builds: Sequence[EngineBuild]) -> str:
    """Return the figures as text; a plan's size stands beside that of the fp32 plan."""
    whole = {(each.network, each.ending): each.plan_bytes for each in builds if each.precision == "fp32"}
    head = ("onnx MB", "plan MB", "of fp32", "build s")
    lines = [f"{'network':<26}{'ending':<10}{'precision':<11}" + "".join(f"{name:>9}" for name in head)]
    for each in builds:
        ratio = each.plan_bytes / whole[each.network, each.ending]
        lines.append(
            f"{each.network:<26}{each.ending:<10}{each.precision:<11}{each.onnx_bytes / 1e6:>9.2f}"
            f"{each.plan_bytes / 1e6:>9.2f}{ratio:>9.2f}{each.build_s:>9.1f}"
        )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Build, print a table and, on request, write JSON."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, prog="python -m edgeosr.bench.engine_builds", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--only", default=",".join(SIZES), metavar="A,B", help=f"some of {', '.join(SIZES)}")
    parser.add_argument("--target", default="sm_86", metavar="sm_86,...", help="architectures of each plan")
    parser.add_argument("--json", type=written_file, metavar="FILE", help="write the figures here too")
    options = parser.parse_args(arguments)
    with user_errors():
        archs = [require_choice("--only", name.strip(), SIZES) for name in options.only.split(",")]
        targets = tuple(options.target.split(","))
        request = BuildRequest(builder="tensorrt_rtx", targets=targets, batch=BATCH, frame=FRAME)
        device = describe_device()
        builds: list[EngineBuild] = []
        images = open_image_set("digits").train.subset(range(16))
        for arch in archs:
            builds.extend(builds_of(arch, SIZES[arch], request, images))
        document = {
            "kind": "engine builds",
            "weights": "random",
            "request": request.as_json(),
            "device": device.as_json(),
            "load_after": load_average(),
            "versions": versions(),
            "builds": [asdict(each) for each in builds],
        }
        print(table(builds), end="")
        print(
            f"tensorrt_rtx {builds[0].builder} for {options.target}, frames {FRAME[0]}x{FRAME[1]}, batch "
            f"{BATCH[0]} to {BATCH[2]}, random weights; {device.cpu}, {device.cores} cores, load "
            f"{device.load} before, {document['load_after']} after"
        )
        if options.json is not None:
            write_text(options.json, json.dumps(document, indent=1) + "\n")
            print(f"Wrote {options.json}")


if __name__ == "__main__":
    run_program(main)
