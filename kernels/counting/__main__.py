"""Count one launch: python -m edgeosr.kernels.counting --dimension 512 --batch 8 --size 7 [--json]."""

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence

from edgeosr.errors import EdgeosrError
from edgeosr.kernels.counting.case import USUAL_MULTIPROCESSORS, case_launch
from edgeosr.kernels.counting.compiled import PARAMETERS_AT, compiled
from edgeosr.kernels.counting.counts import LaunchCounts
from edgeosr.kernels.counting.launch import run_launch
from edgeosr.kernels.packing import ACTIVATION_CODES
from edgeosr.kernels.plan import LARGEST_BATCH, MOST_MULTIPROCESSORS
from edgeosr.kernels.selftest.cases import SelftestCase
from edgeosr.scoring.limits import KERNEL_LIMITS


def main(arguments: Sequence[str] | None = None) -> int:
    """Compile, count, print; the exit code."""
    options = _parser().parse_args(arguments)
    case = SelftestCase(
        dimension=options.dimension,
        batch=options.batch,
        size=0 if options.probes else options.size,
        activation=options.activation,
        taps=1 if options.filter == 1 else 9,
        probes=options.probes,
        classes=options.classes,
        half_weights=not options.fp32,
        images=options.images,
    )
    many = options.multiprocessors
    if many is None:
        many = USUAL_MULTIPROCESSORS[options.architecture]
    try:
        # Before the compiler's half minute: it refuses what no kernel takes.
        launch = case_launch(case, multiprocessors=many, architecture=options.architecture)
        counts = run_launch(compiled(options.architecture), launch).counts
    except EdgeosrError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if options.json:
        document = {"case": case.name, "multiprocessors": many, "tile": launch.tile}
        if launch.cluster > 1:
            document["cluster"] = launch.cluster
        print(json.dumps({**document, "phases": counts.as_record()}, indent=1))
    else:
        where = f"{options.architecture}, {many} multiprocessors" if many else options.architecture
        tiles = f"{launch.blocks} blocks, tiles of {launch.tile}"
        tiles += f", clusters of {launch.cluster}" if launch.cluster > 1 else ""
        print(f"{case.name}: {tiles}, {where}\n{table_of(counts)}")
    return 0


def table_of(counts: LaunchCounts) -> str:
    """Return the counts for a terminal: a phase a line, then the kinds of instructions."""
    mail = any(phase.words or phase.exchanges for phase in counts.phases)
    names = [
        "warp instr",
        "busiest*",
        "blocks",
        "sectors",
        "wavefronts",
        "barriers",
        "atomics",
        "loads*",
        "needed*",
        *(("words", "exchanges") if mail else ()),
    ]
    lines = [f"{'phase':30s}" + "".join(f"{name:>11s}" for name in names)]
    for phase in counts.phases:
        loads = sum(phase.waits[name] for name in ("near", "far", "cold"))
        numbers = (phase.warp_instructions, phase.busiest, phase.blocks, phase.sectors, phase.wavefronts)
        more = [phase.barriers, phase.atomics, loads, phase.dependent_loads]
        more += [phase.words, phase.exchanges] if mail else []
        lines.append(f"{phase.phase:30s}" + "".join(f"{number:11,d}" for number in (*numbers, *more)))
    lines += [
        "* from the start: instructions of the busiest block; loads that the longest chain waits for, one",
        "  after the other; how many of them in a row need the value of the one before, in a register",
        "  (through shared memory a chain begins anew). Waits of that chain:",
        *(
            f"{phase.phase:30s}" + ", ".join(f"{name} {many}" for name, many in phase.waits.items() if many)
            for phase in counts.phases
        ),
        "instructions by kind:",
    ]
    for phase in counts.phases:
        lines.append(
            f"{phase.phase:30s}" + ", ".join(f"{kind} {many:,}" for kind, many in phase.instructions.items())
        )
    return "\n".join(lines)


def _up_to(most: int, least: int = 1) -> Callable[[str], int]:
    """Return the check of a size, before a scorer of it is made: that takes minutes beyond the limits."""

    def checked(text: str) -> int:
        number = int(text)
        if number < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}; got {number}")
        if number > most:
            raise argparse.ArgumentTypeError(f"must be at most {most}; got {number}")
        return number

    return checked


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m edgeosr.kernels.counting",
        description="Count what the compiled kernel executes for one launch, without a GPU.",
    )
    parser.add_argument("--architecture", default="sm_90", choices=tuple(PARAMETERS_AT))
    parser.add_argument(
        "--multiprocessors",
        type=_up_to(MOST_MULTIPROCESSORS, 0),
        help="of the device, which decides how many samples a tile has; 0: not known, tiles are full; left "
        "out: " + ", ".join(f"{many} for {name}" for name, many in USUAL_MULTIPROCESSORS.items()),
    )
    parser.add_argument("--dimension", type=_up_to(KERNEL_LIMITS.dimension), default=512, help="D")
    parser.add_argument("--batch", type=_up_to(LARGEST_BATCH), default=1)
    parser.add_argument(
        "--size", type=_up_to(math.isqrt(KERNEL_LIMITS.positions)), default=7, help="of the map: 7 is 7 x 7"
    )
    parser.add_argument("--activation", default="relu", choices=tuple(ACTIVATION_CODES))
    parser.add_argument("--filter", type=int, default=3, choices=(1, 3), help="of the last convolution")
    parser.add_argument("--probes", type=int, default=0, help="K tangents of z, and no map")
    parser.add_argument("--classes", type=_up_to(KERNEL_LIMITS.classes), default=10)
    parser.add_argument("--images", type=int, default=0, help="parts with rows, made from so many images")
    parser.add_argument("--fp32", action="store_true", help="fp32 weights")
    parser.add_argument("--json", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
