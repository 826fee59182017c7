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
        node("Add", ["c", "one"], ["n"]),
    ],
    "quantised": [
        node("Cast", ["frames"], ["f"], to=1),
        node("DynamicQuantizeLinear", ["f"], ["n", "scale", "zero"]),
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
    node("Min", ["height", "two"], ["shorter"]),
]


@pytest.mark.parametrize(
    "made",
    [
        [node("Mul", ["height", "two"], ["by"])],
        [node("Max", ["shorter", "one"], ["by"])],
        [node("Div", ["height", "two"], ["half"]), node("Add", ["half", "one"], ["by"])],
    ],
)
def test_whole_numbers_are_divided_by_what_frames_sizes_make_of_numbers_from_0_on(made):
    nodes = [*SIZES, *made, node("Div", ["height", "by"], ["q"])]
    require_graph(good(*nodes, more=[tensor("two", [2], np.int64)]).SerializeToString(), CONTRACT)


@pytest.mark.parametrize(
    "made",
    {
        "less": [node("Sub", ["height", "two"], ["by"])],
        "negated": [node("Neg", ["height"], ["by"])],
        "beyond int64": [node("Mul", ["height", "height"], ["b"]), node("Mul", ["b", "b"], ["by"])],
        "at most -1": [node("Min", ["height", "minus"], ["by"])],
        "in 8 bits": [node("Cast", ["height"], ["by"], to=TensorProto.INT8)],
        "of a shape that is computed": [
            node("Expand", ["channel_order", "height"], ["e"]),
            node("Shape", ["e"], ["by"]),
        ],
    }.values(),
)
def test_whole_numbers_are_not_divided_by_what_frames_sizes_could_make_negative(made):
    more = [tensor("two", [2], np.int64), tensor("minus", [-1], np.int64)]
    assert "divides whole numbers" in refusal(*SIZES, *made, node("Div", ["one", "by"], ["q"]), more=more)


def test_a_unit_matrix_has_the_type_that_it_says():
    nodes = [
        node("Cast", ["frames"], ["f"], to=1),
        node("ReduceMean", ["f"], ["m"], axes=[2, 3], keepdims=0),
        node("EyeLike", ["m"], ["n"], dtype=TensorProto.INT64),
    ]
    assert "by -1" in refusal(*nodes, node("Div", ["n", "by"], ["q"]), more=[tensor("by", [-1], np.int64)])
