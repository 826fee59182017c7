"""Coverage-guided or plain fuzzing of each parser of a bundle: ``python -m edgeosr.bench.reliability.fuzz``.

With atheris (no extra of edgeosr; ``pip install atheris`` where it has wheels) libFuzzer looks for new paths;
without it, seeds are changed at random. A parser returns or raises its own error; anything else is a find.
"""

import argparse
import importlib
import importlib.util
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgeosr.bundle.directory import MANIFEST_NAME, read_bundle
from edgeosr.bundle.graphs import model_contract
from edgeosr.bundle.manifest import parse_manifest
from edgeosr.bundle.onnx.rules import require_graph
from edgeosr.bundle.onnx.wire import WireError
from edgeosr.errors import EdgeosrError
from edgeosr.runtime.golden import read_golden
from edgeosr.scoring.npz import NpzError, npz_arrays
from edgeosr.scoring.scorer_file import read_scorer

LARGEST = 1 << 20  # bytes of one input
Parser = Callable[[bytes], object]


def parsers(bundle: Path) -> dict[str, tuple[Parser, bytes]]:
    """Return each parser with a seed that it reads; errors of its own are passed over.

    Args:
        bundle: a good one, best a small one.
    """
    found = read_bundle(bundle)
    manifest, files = found.manifest, found.files
    contract = model_contract(manifest)
    made: dict[str, tuple[Parser, bytes]] = {
        "manifest": (parse_manifest, (bundle / MANIFEST_NAME).read_bytes()),
        "graph": (lambda data: require_graph(data, contract), files["model.onnx"]),
        "scorer": (read_scorer, files["scorer.npz"]),
        "npz": (lambda data: npz_arrays(data, largest=LARGEST), files["golden.npz"]),
        "golden": (lambda data: read_golden(data, manifest), files["golden.npz"]),
    }
    return {name: (_own_errors(parser), seed) for name, (parser, seed) in made.items()}


def fuzz_plainly(
    parser: Parser, seed: bytes, seconds: float, *, most: int | None = None, random_seed: int = 0
) -> int:
    """Give a parser changed copies of its seed for some seconds, or ``most`` of them; return how many.

    What the parser raises but its own errors is raised.
    """
    random, until, count = np.random.default_rng(random_seed), time.monotonic() + seconds, 0
    # Weights are most of a file, and say nothing: changes go where the structure is.
    structure = [*range(min(4096, len(seed))), *range(max(4096, len(seed) - 8192), len(seed))]
    while time.monotonic() < until and count != most:
        data = bytearray(seed)
        for _ in range(int(random.integers(1, 8))):
            place = structure[int(random.integers(0, len(structure)))] % max(1, len(data))
            size = int(random.integers(0, 5))
            data[place : place + size] = random.bytes(int(random.integers(0, 5)))
        if random.random() < 0.1:
            data = data[: int(random.integers(0, len(data) + 1))]
        parser(bytes(data))
        count += 1
    return count


def _own_errors(parser: Parser) -> Parser:
    def passed_over(data: bytes) -> None:
        try:
            parser(data)
        except (EdgeosrError, WireError, NpzError):
            return

    return passed_over


def main() -> int:
    """Fuzz the named parsers, or all, for some seconds each; print how many inputs each was given."""
    parser = argparse.ArgumentParser(prog="python -m edgeosr.bench.reliability.fuzz", description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--only", help="some of manifest, graph, scorer, npz, golden")
    parser.add_argument("--seconds", type=float, default=20, help="for each parser; default 20")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--corpus", type=Path, help="with atheris: a folder for inputs that reach new paths")
    arguments = parser.parse_args()
    targets = parsers(arguments.bundle)
    names = arguments.only.split(",") if arguments.only else list(targets)
    if arguments.corpus is not None and importlib.util.find_spec("atheris") is not None:
        _with_atheris(targets[names[0]], arguments.corpus / names[0], arguments.seconds)
    counts = {
        name: fuzz_plainly(*targets[name], arguments.seconds, random_seed=arguments.seed) for name in names
    }
    print(json.dumps({"seconds": arguments.seconds, "inputs": counts}))
    return 0


def _with_atheris(target: tuple[Parser, bytes], corpus: Path, seconds: float) -> None:
    """Hand over to libFuzzer, which ends the process."""
    atheris = importlib.import_module("atheris")
    parser, seed = target
    corpus.mkdir(parents=True, exist_ok=True)
    (corpus / "seed").write_bytes(seed)
    atheris.instrument_all()
    atheris.Setup([sys.argv[0], str(corpus), f"-max_total_time={int(seconds)}"], parser)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
