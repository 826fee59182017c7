"""The same scoring without the fused kernel, operation by operation: what it launches and what it moves."""

from dataclasses import dataclass

from edgeosr.bench.kernel_model import CLASSES, HIDDEN, Workload


@dataclass(frozen=True)
class Operation:
    """One kernel: its name, and the bytes it reads and writes (counted, no cache credited)."""

    name: str
    bytes_moved: int


def naive_chain(workload: Workload) -> list[Operation]:
    """Return the chain as a framework runs it, one kernel an operation."""
    batch, dimension, element = workload.batch, workload.dimension, 2 if workload.half else 4
    z, chain = batch * dimension * element, []
    if workload.source == "map":
        y = batch * dimension * workload.positions * element
        chain += [
            Operation("activation", 2 * y),
            Operation("mean over positions", y + z),
            Operation("act'", 2 * y),
            Operation("depthwise correlation of the mask with the table", 2 * y),
            Operation("times the mask", 3 * y),
            Operation("sum over channels and positions", y + 4 * batch),
        ]
    elif workload.probes:
        t = workload.probes * z
        chain += [
            Operation("|t_k|^2", t + 4 * batch * workload.probes),
            Operation("t_k . z", t + z + 4 * batch * workload.probes),
            Operation("J^2 from both", 8 * batch * workload.probes + 4 * batch),
        ]
    chain += [
        Operation("|z|", z + 4 * batch),
        Operation("J = root / |z|", 12 * batch),
        Operation("head products", z + (CLASSES * dimension + batch * CLASSES) * element),
        Operation("divided by |z|", 2 * batch * CLASSES * element + 4 * batch),
        Operation("top class", batch * CLASSES * element + 8 * batch),
        Operation("m-OvR loss", batch * CLASSES * element + 8 * batch),
    ]
    width = dimension
    for number, outputs in enumerate(HIDDEN):
        moved = batch * (width + outputs) * element + width * outputs * element
        chain.append(Operation(f"layer {number + 1}", moved))
        if outputs > 1:
            chain.append(Operation(f"LeakyReLU {number + 1}", 2 * batch * outputs * element))
        width = outputs
    return [*chain, Operation("fusion of the parts", 24 * batch), Operation("threshold", 5 * batch)]


def best_fused_chain(workload: Workload) -> list[Operation]:
    """Return the chain as a good compiler fuses it: pointwise work joins its neighbour."""
    batch, dimension, element = workload.batch, workload.dimension, 2 if workload.half else 4
    z, chain = batch * dimension * element, []
    if workload.source == "map":
        y = batch * dimension * workload.positions * element
        chain += [
            Operation("activation and mean", y + z),
            Operation("masks, correlation and sum", y + 4 * batch),
        ]
    elif workload.probes:
        chain.append(Operation("|t_k|^2, t_k . z and J", workload.probes * z + z + 4 * batch))
    weights = CLASSES * dimension + HIDDEN[0] * dimension
    rows = CLASSES + HIDDEN[0]
    chain += [
        Operation("head over layer 1, one product", z + (weights + batch * rows) * element),
        Operation("|z|, top class and loss", z + batch * CLASSES * element + 12 * batch),
    ]
    width = HIDDEN[0]
    for number, outputs in enumerate(HIDDEN[1:]):
        moved = batch * (width + outputs) * element + width * outputs * element
        chain.append(Operation(f"layer {number + 2} with LeakyReLU", moved))
        width = outputs
    return [*chain, Operation("fusion and threshold", 28 * batch)]
