"""What the Jacobian norm by probes costs on top of a plain network, by cut and number of probes.

    python -m edgeosr.bench.tangent_costs [--only resnet18-32] [--seconds 20] [--json FILE]

Networks have random weights (their cost does not depend on them) and end at the embedding. A ratio is the
graph with ``jacobian_squared`` over the same graph without it: interleaved calls on one thread, judged by
process CPU time, as in ``figures.py``. The pilot's ratios at the input stand beside ours.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeosr.bench.device import describe_device, load_average, versions
from edgeosr.bench.option_values import written_file
from edgeosr.bench.samples import Ratio, Samples, ratio_from_samples
from edgeosr.bench.session import open_session
from edgeosr.bench.timer import Candidate, Clock, interleave
from edgeosr.bench.user_errors import user_errors
from edgeosr.bundle.tensors import EMBEDDING
from edgeosr.errors import BundleError, UsageError, import_extra, require_choice
from edgeosr.export.graph.reading import static_shape
from edgeosr.export.graph.writer import find_value
from edgeosr.export.tangents.cuts import CUTS, INPUT_CUT, resolve_cut
from edgeosr.export.tangents.jacobian import add_probe_jacobian
from edgeosr.export.tangents.probes import random_directions
from edgeosr.export.torch_export import INPUT_NAME, onnx_bytes_from_backbone
from edgeosr.files import write_text
from edgeosr.program.run import run_program
from edgeosr.runtime.sessions import run_session

PROBES = (1, 4, 8)
SIZES = {"resnet18-32": 112, "efficientnet-lite0": 224}
# Recorded by the project's first experiment: ratios at the input for K = 1 and 4.
PILOT = {("resnet18-32", 1): 2.23, ("resnet18-32", 4): 5.58, ("efficientnet-lite0", 1): 4.18,
         ("efficientnet-lite0", 4): 8.52}  # fmt: skip
PLAIN = "plain"
INPUTS, TURNS, WARMUP, TOLERANCE = 8, 1000, 3, 1e-4
CHAIN_NODES = 300


@dataclass(frozen=True, kw_only=True)
class CutCost:
    """Costs of one cut of one network.

    Attributes:
        network: its name and input size in pixels.
        cut, tensor: the cut and the tensor that it means here; space: numbers a sample it holds.
        nodes: of the plain graph.
        added: K -> nodes that K probes add (before the runtime's optimisation).
        rows: ``plain`` and ``K=...`` -> samples, taken in turns.
        pilot: K -> ratio of the pilot, where there is one.
    """

    network: str
    cut: str
    tensor: str
    space: int
    nodes: int
    added: dict[int, int]
    rows: dict[str, Samples]
    pilot: dict[int, float]

    def ratio(self, K: int) -> Ratio:
        """Return the graph with K probes over the plain one."""
        return ratio_from_samples(_row(K), PLAIN, self.rows)

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "network": self.network,
            "cut": self.cut,
            "tensor": self.tensor,
            "space": self.space,
            "nodes": self.nodes,
            "plain_cpu_p50_ms": self.rows[PLAIN].cpu(50),
            "plain_wall_p50_ms": self.rows[PLAIN].wall(50),
            "probes": {
                str(K): {"nodes_added": added, "pilot": self.pilot.get(K), **self.ratio(K).as_json()}
                for K, added in self.added.items()
            },
        }


def measure_cut(
    model: bytes, cut: str, *, network: str, seconds: float, probes: Sequence[int] = PROBES,
    pilot: dict[int, float] | None = None, clock: Clock | None = None,
    advance: Callable[[float], object] | None = None,
) -> CutCost:  # fmt: skip
    """Time a network beside itself with K probes, batch 1, one thread.

    Args:
        model: ONNX bytes from ``input`` ``[B, ...]`` float32 with fixed sizes to ``embedding`` ``[B, D]``.
        cut: as ``resolve_cut`` takes it.
        network: its name, for the report.
        seconds: most seconds for all rows together.
        probes: the values of K.
        pilot: ratios to stand beside ours, by K.
        clock: replaces the real clock (tests).
        advance: told the share that is done, 0 to 1.

    Raises:
        BundleError: a graph with probes has another embedding than the plain one, or a norm that is not
            finite: nothing is timed.
    """
    plain = parsed(model)
    tensor = resolve_cut(plain, cut, EMBEDDING)
    space = _space(plain, tensor)
    image = next(value for value in plain.graph.inputs)
    shape = tuple(int(size) for size in list(image.shape or ())[1:])
    images = np.random.default_rng(0).standard_normal((INPUTS, 1, *shape)).astype(np.float32)
    graphs = {_row(K): with_probes(model, tensor, space, K) for K in probes}
    sessions = {PLAIN: open_session(model, 1)}
    sessions |= {name: open_session(_bytes(graph), 1) for name, graph in graphs.items()}
    _require_equal_embeddings(sessions, images, str(image.name))
    rows = interleave(
        [Candidate(name, _call(session, images, str(image.name))) for name, session in sessions.items()],
        turns=TURNS,
        warmup=WARMUP,
        limit_s=seconds,
        clock=clock,
        advance=advance,
    )
    return CutCost(
        network=network,
        cut=cut,
        tensor=tensor,
        space=space,
        nodes=len(plain.graph),
        added={K: len(graphs[_row(K)].graph) - len(plain.graph) for K in probes},
        rows=rows,
        pilot=pilot or {},
    )


def with_probes(model: bytes, tensor: str, space: int, K: int) -> Any:
    """Return the graph of ``model`` with the outputs ``embedding`` and ``jacobian_squared``."""
    graph = parsed(model)
    directions = random_directions(K, space, seed=0)
    added = add_probe_jacobian(graph, cut=tensor, embedding=EMBEDDING, directions=directions)
    graph.graph.outputs.append(find_value(graph, added.jacobian_squared))
    return graph


def time_differentiation(nodes: int, clock: Clock | None = None) -> tuple[float, float]:
    """Return (wall, CPU) seconds that differentiating a chain of ``nodes`` nodes takes, K = 4."""
    clock = clock or Clock()
    model = chain(nodes)
    cpu, wall = clock.cpu(), clock.wall()
    graph = with_probes(model, INPUT_NAME, 3 * 16 * 16, 4)
    wall, cpu = clock.wall() - wall, clock.cpu() - cpu
    assert len(graph.graph) > nodes
    return wall, cpu


def chain(nodes: int) -> bytes:
    """Return a network of ``nodes`` nodes: Conv, Relu and Add in turn, then a pool."""
    onnx = import_extra("onnx", extra="export", purpose="benchmarking")
    helper, random = onnx.helper, np.random.default_rng(0)
    weights = [
        ("stem", random.normal(size=(8, 3, 3, 3)) / 5),
        ("weight", random.normal(size=(8, 8, 3, 3)) / 9),
    ]
    made = [helper.make_node("Conv", [INPUT_NAME, "stem"], ["x0"], pads=[1, 1, 1, 1])]
    kinds = ("Conv", "Relu", "Add")
    for number in range(1, nodes - 2):
        kind, before = kinds[number % 3], f"x{number - 1}"
        further = {"Conv": ["weight"], "Relu": [], "Add": [f"x{max(number - 3, 0)}"]}[kind]
        form = {"pads": [1, 1, 1, 1]} if kind == "Conv" else {}
        made.append(helper.make_node(kind, [before, *further], [f"x{number}"], **form))
    made += [
        helper.make_node("GlobalAveragePool", [made[-1].output[0]], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], [EMBEDDING]),
    ]
    graph = helper.make_graph(
        made,
        "chain",
        [helper.make_tensor_value_info(INPUT_NAME, onnx.TensorProto.FLOAT, ["batch", 3, 16, 16])],
        [helper.make_tensor_value_info(EMBEDDING, onnx.TensorProto.FLOAT, ["batch", 8])],
        [onnx.numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(model.SerializeToString())


def parsed(model: bytes) -> Any:
    """Return the graph with inferred shapes, to be edited."""
    onnx = import_extra("onnx", extra="export", purpose="benchmarking")
    ir = import_extra("onnx_ir", extra="export", purpose="benchmarking")
    return ir.from_proto(onnx.shape_inference.infer_shapes(onnx.load_from_string(model)))


def table(costs: Sequence[CutCost]) -> str:
    """Return lines for a terminal; conditions stand under each cut."""
    lines = [
        f"{'network':<30}{'cut':<12}{'K':>3}{'ratio':>9}{'extra ms':>10}{'nodes':>7}{'pilot':>8}",
        "-" * 79,
    ]
    for cost in costs:
        for K, added in cost.added.items():
            ratio = cost.ratio(K)
            pilot = f"x{cost.pilot[K]:.2f}" if K in cost.pilot else "-"
            lines.append(
                f"{cost.network:<30}{cost.cut:<12}{K:>3}{f'x{ratio.cpu_paired:.3f}':>9}"
                f"{ratio.cpu_extra_ms:>+10.2f}{f'+{added}':>7}{pilot:>8}"
            )
        worst = max(cost.added)
        low, high = cost.ratio(worst).cpu_interval
        lines.append(
            f"    {cost.space} numbers a sample at {cost.tensor}; plain {cost.rows[PLAIN].cpu(50):.2f} ms; "
            f"CPU time, median of {cost.ratio(worst).turns} paired ratios "
            f"[K = {worst}, 95 %: {low:.3f}, {high:.3f}], batch 1, 1 thread"
        )
    return "\n".join(lines) + "\n"


def _network(arch: str) -> bytes:
    torch = import_extra("torch", extra="train", purpose="building a network to time")
    from edgeosr.model.catalogue import build_backbone

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone = build_backbone(arch, SIZES[arch])
    return onnx_bytes_from_backbone(backbone, SIZES[arch], SIZES[arch])


def _space(model: Any, tensor: str) -> int:
    sizes = static_shape(find_value(model, tensor)) or ()
    return math.prod(size for size in sizes[1:] if size is not None)


def _row(K: int) -> str:
    return f"K={K}"


def _bytes(model: Any) -> bytes:
    ir = import_extra("onnx_ir", extra="export", purpose="benchmarking")
    return bytes(ir.to_proto(model).SerializeToString())


def _call(session: Any, images: np.ndarray, name: str) -> Callable[[int], object]:
    return lambda i: session.run(None, {name: images[i % len(images)]})


def _require_equal_embeddings(sessions: dict[str, Any], images: np.ndarray, name: str) -> None:
    for image in images:
        (plain,) = run_session(sessions[PLAIN], [EMBEDDING], {name: image}, name="the plain graph")
        for row, session in sessions.items():
            if row == PLAIN:
                continue
            embedding, squared = run_session(session, None, {name: image}, name=f"the graph with {row}")
            scale = max(float(np.abs(plain).max()), 1e-30)
            if not np.abs(embedding - plain).max() <= TOLERANCE * scale or not np.isfinite(squared).all():
                raise BundleError(
                    f"the graph with {row} probes has another embedding than the plain one, or a Jacobian "
                    "norm that is not finite: nothing is timed"
                )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table and, on request, write JSON."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, prog="python -m edgeosr.bench.tangent_costs", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--only", default=",".join(SIZES), metavar="A,B", help=f"some of {', '.join(SIZES)}")
    parser.add_argument("--seconds", type=float, default=20.0, help="most seconds for each cut")
    parser.add_argument("--json", type=written_file, metavar="FILE", help="write the figures here too")
    options = parser.parse_args(arguments)
    with user_errors():
        if not 0 < options.seconds <= 3600:
            raise UsageError(f"--seconds must be above 0 and at most 3600; got {options.seconds}")
        archs = [require_choice("--only", name.strip(), SIZES) for name in options.only.split(",")]
        device, costs = describe_device(), []
        wall, cpu = time_differentiation(CHAIN_NODES)
        for arch in archs:
            started = time.perf_counter()
            model, pilot = _network(arch), {K: PILOT[arch, K] for K in PROBES if (arch, K) in PILOT}
            print(f"{arch} built in {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
            for cut in CUTS:
                name = f"{arch} {SIZES[arch]} px"
                found = pilot if cut == INPUT_CUT else {}
                print(f"measuring {cut} ...", file=sys.stderr, flush=True)
                costs.append(measure_cut(model, cut, network=name, seconds=options.seconds, pilot=found))
        document = {
            "kind": "tangent costs",
            "weights": "random",
            "device": device.as_json(),
            "load_after": load_average(),
            "versions": versions(),
            "differentiation": {"nodes": CHAIN_NODES, "wall_s": wall, "cpu_s": cpu},
            "costs": [cost.as_json() for cost in costs],
        }
        print(table(costs), end="")
        print(f"differentiating a chain of {CHAIN_NODES} nodes: {wall:.2f} s ({cpu:.2f} s of CPU)")
        print(
            f"random weights; {device.cpu}, {device.cores} cores, load {device.load} before, "
            f"{document['load_after']} after; "
            + ", ".join(f"{name} {version}" for name, version in versions().items())
        )
        if options.json is not None:
            write_text(options.json, json.dumps(document, indent=1) + "\n")
            print(f"Wrote {options.json}")


if __name__ == "__main__":
    run_program(main)
