"""Whole numbers are not divided by -1: the least of them would end the process, whatever the model says."""

import numpy as np
import pytest
from onnx import TensorProto
from small_graphs import CONTRACT, good, node, tensor

from edgeosr.bundle.onnx.rules import require_graph
from edgeosr.bundle.onnx.wire import WireError

# Ways to a whole number that no input decides the type of.
WHOLE = {
    "of the input": [node("Identity", ["channel_order"], ["n"])],
    "pixels": [node("Identity", ["frames"], ["n"])],
    "a shape": [node("Shape", ["frames"], ["n"])],
    "a place": [node("Cast", ["frames"], ["f"], to=1), node("ArgMax", ["f"], ["n"], axis=1)],
    "a cast": [node("Cast", ["frames"], ["n"], to=TensorProto.INT32)],
    "chosen": [
        node("Equal", ["channel_order", "channel_order"], ["same"]),
        node("Where", ["same", "channel_order", "channel_order"], ["n"]),
    ],
    "the second of two": [
        node("Cast", ["frames"], ["f"], to=1),
        node("TopK", ["f", "one"], ["largest", "n"], axis=1),
    ],
    "like another": [node("Cast", ["frames"], ["f"], to=1), node("CastLike", ["f", "channel_order"], ["n"])],
    "of a constant of one number": [
        node("Constant", [], ["c"], value_int=7),
        node("Add", ["c", "channel_order"], ["n"]),
    ],
    "quantised": [
        node("Cast", ["frames"], ["f"], to=1),
        node("QuantizeLinear", ["f", "one"], ["n"]),
    ],
}


def refusal(*nodes, more=()):
    with pytest.raises(WireError) as error:
        require_graph(good(*nodes, more=more).SerializeToString(), CONTRACT)
    return str(error.value)


@pytest.mark.parametrize("way", WHOLE)
@pytest.mark.parametrize(("divisor", "why"), [(-1, "by -1"), (0, "by 0")])
def test_whole_numbers_are_divided_by_no_constant_that_ends_the_process(way, divisor, why):
    found = refusal(*WHOLE[way], node("Div", ["n", "by"], ["q"]), more=[tensor("by", [divisor], np.int64)])
    assert "(Div) divides whole numbers" in found and why in found


@pytest.mark.parametrize("way", WHOLE)
def test_whole_numbers_are_divided_by_nothing_that_the_frames_decide(way):
    found = refusal(
        *WHOLE[way],
        node("ReduceSum", ["channel_order"], ["sum"], keepdims=0),
        node("Div", ["n", "sum"], ["q"]),
    )
    assert "divides whole numbers by what is neither a short constant" in found


def test_numbers_with_a_fraction_and_sizes_are_divided_as_exporters_do_it():
    nodes = [
        node("Shape", ["frames"], ["sizes"]),
        node("Div", ["sizes", "two"], ["halves"]),
        node("Cast", ["halves"], ["x2"], to=1),
        node("Cast", ["frames"], ["x1"], to=1),
        node("Div", ["x1", "x1"], ["y"]),
        node("Div", ["x1", "minus"], ["z"]),
        node("Reciprocal", ["x2"], ["w"]),
    ]
    more = [tensor("two", [2], np.int64), tensor("minus", [-1.0])]
    require_graph(good(*nodes, more=more).SerializeToString(), CONTRACT)


@pytest.mark.parametrize("name", ["\x1b[2J", "a\nb", "\u202eelif", "\x85"])
def test_names_that_a_terminal_would_act_upon_are_refused(name):
    # onnxruntime writes the names of nodes and tensors into its own log as they are.
    spoilt = [good(node("Identity", ["frames"], [name])), good(more=[tensor(name, [1.0])]), good()]
    spoilt[2].graph.node[0].name = name
    for model in spoilt:
        with pytest.raises(WireError, match="has letters that no terminal may see") as error:
            require_graph(model.SerializeToString(), CONTRACT)
        assert name not in str(error.value)


SIZES = [
    node("Shape", ["frames"], ["sizes"]),
    node("Gather", ["sizes", "one"], ["height"]),
]


@pytest.mark.parametrize("largest", [["height", "two"], ["two", "height"], ["sizes", "height", "two"]])
def test_whole_numbers_are_divided_by_the_larger_of_a_constant_from_1_on_and_anything(largest):
    nodes = [*SIZES, node("Max", largest, ["by"]), node("Div", ["height", "by"], ["q"])]
    require_graph(good(*nodes, more=[tensor("two", [2], np.int64)]).SerializeToString(), CONTRACT)


@pytest.mark.parametrize(
    "made",
    {
        "a size": [node("Identity", ["height"], ["by"])],
        "a size by 0": [node("Mul", ["sizes", "none"], ["by"])],
        "the larger of less": [node("Max", ["height", "none"], ["by"])],
        "the smaller": [node("Min", ["height", "two"], ["by"])],
        "negated later": [node("Max", ["height", "two"], ["b"]), node("Neg", ["b"], ["by"])],
        "the larger of two that are made": [node("Max", ["height", "sizes"], ["by"])],
    }.values(),
)
def test_whole_numbers_are_not_divided_by_what_could_be_0_or_negative(made):
    # onnxruntime 1.17 ends the process where a size is 0, and every release where the least number is by -1.
    more = [tensor("two", [2], np.int64), tensor("none", [0], np.int64)]
    assert "divides whole numbers" in refusal(*SIZES, *made, node("Div", ["one", "by"], ["q"]), more=more)


def test_whole_numbers_have_no_remainder():
    # onnxruntime 1.17 ends the process for a remainder of 0, and of -1.
    assert "(Mod) is no operator" in refusal(node("Mod", ["channel_order", "one"], ["q"]))
