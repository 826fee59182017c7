"""The kernel's performance model in words: every number with where it comes from."""

from dataclasses import asdict
from typing import Any

from edgeosr.bench.jetson import L2_BYTES_PER_CLOCK, MODULES
from edgeosr.bench.kernel_model import WORKLOADS, Workload, counts_of, floors, planned
from edgeosr.bench.kernel_predictions import (
    held_lines,
    held_record,
    latency_lines,
    latency_record,
    prediction_lines,
    prediction_record,
)
from edgeosr.bench.kernel_wavefronts import Wavefronts, wavefronts_of
from edgeosr.bench.unfused_chain import best_fused_chain, naive_chain
from edgeosr.printed import json_text

HEADING = (
    "Fused scoring kernel: lower bounds, and times predicted from counts of its machine code.\n"
    "Nothing was measured on these modules; how far the model was off on a card stands at the end.\n"
    "[c] counted by the kernel's own plan or its execution on the CPU, [d] datasheet or device query, "
    "[a] assumed.\n"
    "floor = phase one (all blocks) + phase two (one block a tile, in clusters all), each limited to the\n"
    f"multiprocessors active in it: {L2_BYTES_PER_CLOCK} bytes a clock each [a]. No floor is a time: the\n"
    "kernel waits, it does not stream. What bounds each phase, and the unfused chains' operations: --json.\n"
    "Floors and times are of the rule's plan; beside them stands what a launch there gets, and why.\n"
    "predicted = launch + longest chain of waits (on chip; L2 and DRAM; atomics, fences, mail of clusters)\n"
    "+ turns to issue."
)


def kernel_model_text() -> str:
    """Return the model for a terminal."""
    lines = [HEADING, "", "modules"]
    for module in MODULES:
        values = (module.multiprocessors, module.clock_ghz, module.dram_gb_s, module.tensor_flop_per_clock)
        names = ("SM", "GHz", "GB/s DRAM", "tensor FLOP/clock/SM")
        words = ", ".join(f"{v.value:g} {n} [{v.source[0]}]" for v, n in zip(values, names, strict=True))
        lines.append(f"  {module.name}: {words}")
    lines += latency_lines()
    for workload in WORKLOADS:
        bounds = {name: floor.critical_path for name, floor in floors(workload).items()}
        lines += [
            "",
            workload.name,
            *_counts_lines(workload),
            *prediction_lines(workload, bounds),
            *_chain_lines(workload),
        ]
    return "\n".join([*lines, "", *held_lines()])


def kernel_model_json() -> str:
    """Return the model as one JSON document; ``sources`` says where each kind of number comes from."""
    rows: list[dict[str, Any]] = []
    for workload in WORKLOADS:
        found, clustered = wavefronts_of(workload), wavefronts_of(workload, clusters=True)
        rows.append(
            {
                "workload": asdict(workload),
                "counts": asdict(counts_of(workload)),
                "shared_memory": None if found is None else asdict(found),
                "shared_memory_in_clusters": None if clustered is None else asdict(clustered),
                "floors_us": {
                    name: {**asdict(floor), "critical_path": floor.critical_path, "ratio": floor.ratio}
                    for name, floor in floors(workload).items()
                },
                "plans": plans_of(workload),
                "predicted_us": prediction_record(workload),
                "unfused_naive": [asdict(operation) for operation in naive_chain(workload)],
                "unfused_best": [asdict(operation) for operation in best_fused_chain(workload)],
            }
        )
    document = {
        "measured": False,
        "sources": {
            "counts": "counted",
            "shared_memory": "counted",
            "shared_memory_in_clusters": "counted",
            "unfused_naive": "counted",
            "unfused_best": "counted",
            "modules": "per value",
            "l2_bytes_per_clock": "assumed",
            "launch": "assumed",
            "latency": "assumed",
            "predicted_us": "predicted",
        },
        "cycles": latency_record(),
        "held_against": held_record(),
        "modules": [asdict(module) for module in MODULES],
        "rows": rows,
    }
    return json_text(document, indent=2)


def _counts_lines(workload: Workload) -> list[str]:
    counts = counts_of(workload)
    tensor, fp32 = sum(counts.tensor_flops), sum(counts.fp32_flops)
    return [
        f"  [c] DRAM, every byte once: weights {counts.weight_bytes:,} + inputs {counts.input_bytes:,} + "
        f"verdicts {counts.verdict_bytes:,}",
        f"  [c] tensor {tensor / 1e6:.2f} MFLOP (columns padded to 8), fp32 {fp32 / 1e6:.2f} MFLOP, "
        f"integer {counts.integer_operations / 1e6:.2f} M, with full tiles",
        f"  [c] blocks of tiles: {_blocks(workload)}. One of each goes on, or its cluster",
        *(f"  plan on {', '.join(names)}: {plan}" for plan, names in plans_of(workload).items()),
        f"  [c] shared memory: {_shared(wavefronts_of(workload))}",
        f"  [c] shared memory, in clusters: {_shared(wavefronts_of(workload, clusters=True))}",
    ]


def _shared(found: Wavefronts | None) -> str:
    if found is None:
        return "not counted for this row"
    return f"{found.wavefronts:,} wavefronts, {found.wavefronts - found.compulsory:,} beyond the compulsory"


def _blocks(workload: Workload) -> str:
    names: dict[int, list[str]] = {}
    for module in MODULES:
        if module.tensor_flop_per_clock.value or not workload.half:
            many = int(module.multiprocessors.value)
            blocks = counts_of(workload, many, module.architecture).blocks
            names.setdefault(blocks, []).append(module.name)
    return "; ".join(f"{blocks} on {', '.join(found)}" for blocks, found in names.items())


def plans_of(workload: Workload) -> dict[str, list[str]]:
    """Return who decides how many samples a tile has, rule or plan table, and on which modules."""
    found: dict[str, list[str]] = {}
    for module in MODULES:
        if module.tensor_flop_per_clock.value or not workload.half:
            _, plan = planned(workload, int(module.multiprocessors.value), module.architecture)
            found.setdefault(plan.described, []).append(module.name)
    return found


def _chain_lines(workload: Workload) -> list[str]:
    lines = [f"  launches: {counts_of(workload).launches} [c]"]
    for word, chain in (("naive", naive_chain(workload)), ("best-fused", best_fused_chain(workload))):
        total = sum(operation.bytes_moved for operation in chain)
        lines.append(f"  unfused, {word}: {len(chain)} launches, {total:,} bytes moved [c]")
    return lines
