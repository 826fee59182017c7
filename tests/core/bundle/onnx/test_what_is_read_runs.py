"""Whatever the reader lets through, the real onnxruntime loads and runs, or refuses in words."""

import random
import subprocess
import sys

import numpy as np
import onnx
from onnx import helper
from small_graphs import CONTRACT, good, node, tensor

from edgeosr.bundle.onnx.operators import ATTRIBUTES, FLOAT, FLOATS, INT, INTS, OPERATORS, STRING
from edgeosr.bundle.onnx.rules import require_graph
from edgeosr.bundle.onnx.wire import WireError

GRAPHS = 320
SOURCES = [
    node("Cast", ["frames"], ["f"], to=1),
    node("Transpose", ["f"], ["planes"], perm=[0, 3, 1, 2]),
    node("Cast", ["planes"], ["whole"], to=7),
    node("Reshape", ["planes", "three_axes"], ["rows"]),
    node("Shape", ["planes"], ["sizes"]),
    node("Equal", ["whole", "whole"], ["same"]),
    node("Slice", ["planes", "zero", "zero"], ["nothing"]),
]
CONSTANTS = [
    tensor("three_axes", [1, 4, 12], np.int64),
    tensor("zero", [0], np.int64),
    tensor("minus", [-1], np.int64),
    tensor("places", [[0, 0, 0, 0]], np.int64),
    tensor("large", [1 << 40], np.int64),
    tensor("kernel", np.ones((3, 3, 1, 1))),
    tensor("row", np.ones(3)),
    tensor("by", [1, 1, 2, 2]),
    tensor("not_finite", [np.nan, np.inf, 0, 1]),
    tensor("point", 0, np.uint8),
]
NAMES = [each for made in SOURCES for each in made.output] + [each.name for each in CONSTANTS] + ["frames"]
CHILD = """
import resource, sys
from pathlib import Path
import numpy as np
from edgeosr.errors import InferenceError
from edgeosr.runtime.sessions import SessionSettings, open_session, run_session

resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
feed = {"frames": np.ones((1, 4, 4, 3), np.uint8), "channel_order": np.array([0, 1, 2])}
for path in sorted(Path(sys.argv[1]).glob("*.onnx")):
    print(path.name, end=" ", flush=True)
    try:
        run_session(open_session(path.read_bytes(), SessionSettings(threads=1)), None, feed)
        print("ran", flush=True)
    except InferenceError:
        print("refused", flush=True)
"""


def drawn_value(chance, name, rule):
    edges = [-16, -7, -1, 0, 1, 2, 3, 4, 16, 256, rule.least, rule.most]
    within = [each for each in edges if rule.least <= each <= rule.most]
    if rule.kind == INT:
        return chance.choice(within)
    if rule.kind == INTS:
        return [chance.choice(within[:6]) for _ in range(chance.choice([1, 2, 2, 2, 4]))]
    if rule.kind in (FLOAT, FLOATS):
        value = chance.choice([0.0, -1.0, 0.5, 1e38, float("nan")])
        return value if rule.kind == FLOAT else [value]
    if rule.kind == STRING:
        return chance.choice(sorted(rule.words)) if rule.words else chance.choice(["ab->ba", "ab,bc->ac"])
    return tensor("t", [1.0]) if name == "value" else ["Relu"]


def drawn_node(chance, op):
    schema = onnx.defs.get_schema(op, 17, "") if onnx.defs.has(op, 17, "") else onnx.defs.get_schema(op)
    inputs = chance.randint(schema.min_input, min(schema.max_input, schema.min_input + 2))
    outputs = chance.randint(schema.min_output, min(schema.max_output, 2))
    said = {
        name: drawn_value(chance, name, ATTRIBUTES[name])
        for name in sorted(OPERATORS[op])
        if chance.random() < 0.6 or name == "kernel_shape"
    }
    # Of operators that take any number, some read an input that is left out.
    names = ["planes", "planes", ""] if schema.max_input > 9 else ["planes", "planes", "", *NAMES]
    given = [chance.choice(names) for _ in range(inputs)]
    if not any(given):
        given = ["planes", *given[1:]]
    return helper.make_node(op, given, [f"y{i}" for i in range(max(1, outputs))], **said)


def test_no_graph_that_is_read_ends_the_process(tmp_path):
    chance, count, drawn = random.Random(1), 0, 0
    while count < GRAPHS:
        made = drawn_node(chance, sorted(OPERATORS)[drawn % len(OPERATORS)])
        drawn += 1
        model = good(*SOURCES, made, more=CONSTANTS)
        model.opset_import[0].version = 17
        data = model.SerializeToString()
        try:
            require_graph(data, CONTRACT)
        except WireError:
            assert drawn < 100 * GRAPHS, "hardly anything is read"
            continue
        (tmp_path / f"{count:03}-{made.op_type}.onnx").write_bytes(data)
        count += 1
    found = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert found.returncode == 0, f"{found.stdout[-200:]}{found.stderr[-1000:]}"
    outcomes = [line.split()[1] for line in found.stdout.splitlines()]
    assert len(outcomes) == GRAPHS and outcomes.count("ran") > GRAPHS // 10
