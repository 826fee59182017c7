"""Coverage-guided or plain fuzzing of each parser: ``python -m edgeosr.bench.reliability.fuzz BUNDLE``.

With ``--corpus`` and atheris (no extra of edgeosr; ``pip install atheris`` where it has wheels) libFuzzer
looks for new paths, from the seeds that ``corpus.py`` makes and from what it found before; without, inputs
are changed at random. A parser returns or raises its own error; anything else is a find.
"""

import argparse
import importlib
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from edgeosr.bench.reliability.corpus import read_corpus, seeds_of, write_corpus
from edgeosr.bundle.directory import read_bundle
from edgeosr.bundle.graphs import model_contract
from edgeosr.bundle.manifest import parse_manifest
from edgeosr.bundle.onnx.rules import require_graph
from edgeosr.bundle.onnx.wire import WireError
from edgeosr.data.image_file import decode_image
from edgeosr.data.orientation import orientation_in
from edgeosr.errors import EdgeosrError
from edgeosr.program.run import run_program
from edgeosr.runtime.golden import read_golden
from edgeosr.runtime.video_container import read_container
from edgeosr.scoring.npz import NpzError, npz_arrays
from edgeosr.scoring.scorer_file import read_scorer

LARGEST = 1 << 21  # bytes of one input
Parser = Callable[[bytes], object]


def parsers(bundle: Path) -> dict[str, Parser]:
    """Return each parser by the name of its target; errors of its own are passed over.

    Args:
        bundle: a good one, best a small one.
    """
    manifest = read_bundle(bundle).manifest
    contract = model_contract(manifest)
    made: dict[str, Parser] = {
        "manifest": parse_manifest,
        "graph": lambda data: require_graph(data, contract),
        "scorer": read_scorer,
        "npz": lambda data: npz_arrays(data, largest=LARGEST),
        "golden": lambda data: read_golden(data, manifest),
        "orientation": orientation_in,
        "picture": lambda data: decode_image(data, "a picture", upright=True),
        "container": _container,
    }
    return {name: _own_errors(parser) for name, parser in made.items()}


def _container(data: bytes) -> object:
    # It reads here and there in a file, of which a video may have gigabytes.
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        return read_container(file.name, follow=True)


def fuzz_plainly(
    parser: Parser, seeds: Sequence[bytes], seconds: float, *, most: int | None = None, random_seed: int = 0
) -> int:
    """Give a parser changed copies of its seeds for some seconds, or ``most`` of them; return how many.

    What the parser raises but its own errors is raised.
    """
    random, until, count = np.random.default_rng(random_seed), time.monotonic() + seconds, 0
    structures = [_structure(seed) for seed in seeds]
    while time.monotonic() < until and count != most:
        which = count % len(seeds)
        data, structure = bytearray(seeds[which]), structures[which]
        for _ in range(int(random.integers(1, 8))):
            place = structure[int(random.integers(0, len(structure)))] % max(1, len(data))
            size = int(random.integers(0, 5))
            data[place : place + size] = random.bytes(int(random.integers(0, 5)))
        if random.random() < 0.1:
            data = data[: int(random.integers(0, len(data) + 1))]
        parser(bytes(data))
        count += 1
    return count


def _structure(seed: bytes) -> list[int]:
    """Return the places to change: weights are most of a file and say nothing, its ends do."""
    return [*range(min(4096, len(seed))), *range(max(4096, len(seed) - 8192), len(seed))] or [0]


def _own_errors(parser: Parser) -> Parser:
    def passed_over(data: bytes) -> None:
        try:
            parser(data)
        except (EdgeosrError, WireError, NpzError):
            return

    return passed_over


def main() -> int:
    """Fuzz the named parsers, or all, for some seconds each; print how many inputs each was given."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, prog="python -m edgeosr.bench.reliability.fuzz", description=__doc__
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--only", help="some of the targets, separated by commas")
    parser.add_argument("--seconds", type=float, default=20, help="for each parser; default 20")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--corpus", type=Path, help="a folder for seeds, and for inputs that reach new paths")
    parser.add_argument("--guided", action="store_true", help="hand the one target of --only to libFuzzer")
    arguments = parser.parse_args()
    targets, seeds = parsers(arguments.bundle), seeds_of(arguments.bundle)
    names = arguments.only.split(",") if arguments.only else list(targets)
    if arguments.corpus is not None:
        write_corpus(arguments.corpus, seeds, largest=LARGEST)
        if arguments.guided:
            _guided(targets[names[0]], arguments.corpus / names[0], arguments.seconds)
        if importlib.util.find_spec("atheris") is not None:
            return max(_in_a_process(arguments, name) for name in names)
    counts = {
        name: fuzz_plainly(
            targets[name], _inputs(arguments, name, seeds), arguments.seconds, random_seed=arguments.seed
        )
        for name in names
    }
    print(json.dumps({"seconds": arguments.seconds, "inputs": counts}))
    return 0


def _inputs(
    arguments: argparse.Namespace, name: str, seeds: dict[str, tuple[bytes, ...]]
) -> tuple[bytes, ...]:
    found = () if arguments.corpus is None else read_corpus(arguments.corpus / name, largest=LARGEST)
    return (*seeds[name], *found)


def _in_a_process(arguments: argparse.Namespace, name: str) -> int:
    """Fuzz one target with libFuzzer, which ends the process that it runs in; return its exit code."""
    words = [
        "--only",
        name,
        "--seconds",
        str(arguments.seconds),
        "--corpus",
        str(arguments.corpus),
        "--guided",
    ]
    command = [sys.executable, "-m", "edgeosr.bench.reliability.fuzz", str(arguments.bundle), *words]
    return subprocess.run(command, check=False).returncode


def _guided(parser: Parser, corpus: Path, seconds: float) -> None:
    """Hand over to libFuzzer, which ends the process."""
    atheris = importlib.import_module("atheris")
    atheris.instrument_all()
    limits = [f"-max_total_time={int(seconds)}", f"-max_len={LARGEST}"]
    atheris.Setup([sys.argv[0], str(corpus), *limits], parser)
    atheris.Fuzz()


if __name__ == "__main__":
    run_program(main)
