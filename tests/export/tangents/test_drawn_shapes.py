"""The same promise on drawn ranks, sizes and attributes: what nobody thought of in the other tests."""

import numpy as np
import pytest

OPSETS = (13, 18, 26)


class Draw:
    """One draw: a tensor of rank 2 to 5 with sizes 1 to 4, the first one 2 or 3."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.rank = int(self.rng.integers(2, 6))
        sizes = (self.rng.integers(2, 4), *self.rng.integers(1, 5, self.rank - 1))
        self.shape = tuple(int(size) for size in sizes)
        self.opset = int(self.rng.choice(OPSETS))

    def tensor(self, shape=None):
        return self.rng.standard_normal(self.shape if shape is None else shape)

    def axis(self):
        return int(self.rng.integers(-self.rank, self.rank))

    def axes(self):
        chosen = self.rng.permutation(self.rank)[: self.rng.integers(1, self.rank + 1)]
        return [int(axis - self.rank * self.rng.integers(0, 2)) for axis in chosen]


def ints(*values):
    return np.array(values, np.int64)


def transpose(draw):
    return "Transpose", [draw.tensor()], {"perm": draw.rng.permutation(draw.rank).tolist()}, 1


def slice_(draw):
    axes = draw.axes()
    starts, ends, steps = [], [], []
    for axis in axes:
        size = draw.shape[axis]
        first, last = sorted(draw.rng.permutation(size + 1)[:2].tolist())
        step = int(draw.rng.choice([1, 1, 2]))
        if draw.rng.random() < 0.5:
            starts, ends, steps = [*starts, first], [*ends, last], [*steps, step]
        else:  # backwards from the last of them to the first
            below = first - 1 if first else -(size + 1)
            starts, ends, steps = [*starts, last - 1], [*ends, below], [*steps, -step]
    return "Slice", [draw.tensor(), ints(*starts), ints(*ends), ints(*axes), ints(*steps)], {}, 1


def split(draw):
    shape = list(draw.shape)
    axis = draw.axis()
    parts = draw.rng.integers(1, 4, int(draw.rng.integers(1, 4)))
    shape[axis] = int(parts.sum())
    return "Split", [draw.tensor(shape), ints(*parts)], {"axis": axis}, len(parts)


def pad(draw):
    mode = str(draw.rng.choice(["constant", "edge", "reflect"]))
    most = np.array(draw.shape) - 1 if mode == "reflect" else np.full(draw.rank, 2)
    pads = [int(draw.rng.integers(0, limit + 1)) for _ in range(2) for limit in most]
    return "Pad", [draw.tensor(), ints(*pads)], {"mode": mode}, 1


def gather(draw):
    axis = draw.axis()
    size = draw.shape[axis]
    indices = draw.rng.integers(-size, size, draw.rng.integers(1, 4, draw.rng.integers(0, 3)))
    return "Gather", [draw.tensor(), np.asarray(indices, np.int64)], {"axis": axis}, 1


def reshape(draw):
    order = draw.rng.permutation(draw.shape)
    at = int(draw.rng.integers(1, draw.rank))
    target = [int(np.prod(order[:at])), *(int(size) for size in order[at:])]
    target[int(draw.rng.integers(0, len(target)))] = -1
    return "Reshape", [draw.tensor(), ints(*target)], {}, 1


def expand(draw):
    kept = draw.rng.random(draw.rank) < 0.5
    shape = [
        size if keep or axis == 0 else 1
        for axis, (size, keep) in enumerate(zip(draw.shape, kept, strict=True))
    ]
    front = draw.rng.integers(1, 4, draw.rng.integers(0, 2)).tolist()
    return "Expand", [draw.tensor(shape), ints(*front, *draw.shape)], {}, 1


def tile(draw):
    return "Tile", [draw.tensor(), draw.rng.integers(1, 3, draw.rank)], {}, 1


def flatten(draw):
    return "Flatten", [draw.tensor()], {"axis": draw.axis()}, 1


def softmax(draw):
    return str(draw.rng.choice(["Softmax", "LogSoftmax"])), [draw.tensor()], {"axis": draw.axis()}, 1


def reduction(draw):
    kinds = ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceLogSumExp"]
    kind, axes = str(draw.rng.choice(kinds)), draw.axes()
    keepdims = {"keepdims": int(draw.rng.integers(0, 2))}
    if draw.opset >= (13 if kind == "ReduceSum" else 18):
        return kind, [draw.tensor(), ints(*axes)], keepdims, 1
    return kind, [draw.tensor()], {**keepdims, "axes": axes}, 1


KINDS = (transpose, slice_, split, pad, gather, reshape, expand, tile, flatten, softmax, reduction)


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__.strip("_"))
def test_one_operand(check_rule, make):
    for seed in range(6):
        draw = Draw(seed)
        op_type, inputs, attributes, outputs = make(draw)
        check_rule(op_type, inputs, attributes=attributes, outputs=outputs, opset=draw.opset, seed=seed)


@pytest.mark.parametrize("seed", range(12))
def test_product_of_two_that_broadcast(check_rule, seed):
    draw = Draw(seed)
    rows, inner, columns = (int(size) for size in draw.rng.integers(1, 5, 3))
    lead = draw.shape[:-1][: draw.rng.integers(1, 4)]
    sides = []
    for ends in ((rows, inner), (inner, columns)):
        thin = [size if axis == 0 or draw.rng.random() < 0.6 else 1 for axis, size in enumerate(lead)]
        sides.append(draw.tensor((*thin, *ends)))
    varying = [(0,), (1,), (0, 1)][seed % 3]
    check_rule("MatMul", sides, varying=varying, opset=13, seed=seed)


@pytest.mark.parametrize("seed", range(6))
def test_joining_of_some_that_depend_on_the_cut_and_some_that_do_not(check_rule, seed):
    draw = Draw(seed)
    axis, number = draw.axis(), int(draw.rng.integers(2, 5))
    shapes = [[*draw.shape] for _ in range(number)]
    for shape in shapes:
        shape[axis] = int(draw.rng.integers(1, 4))
    if axis % draw.rank == 0:  # the batch is one number for all
        shapes = [[*draw.shape] for _ in range(number)]
    still = tuple(np.flatnonzero(draw.rng.random(number) < 0.5).tolist())
    still = still if len(still) < number else still[1:]
    inputs = [draw.tensor(shape) for shape in shapes]
    check_rule("Concat", inputs, varying=range(number), still=still, attributes={"axis": axis}, seed=seed)
