"""The order that is right can be copied into a shell."""

import shlex

import numpy as np

from edgeosr.cli.options import names_from
from edgeosr.export.foreign.class_order import ClassOrder
from edgeosr.export.foreign.known_refusals import known_line, wrong_order


def line(*names):
    return known_line(names)


def test_names_are_quoted_for_a_shell_where_they_need_it():
    assert line("1", "2") == "--known 1,2"
    option, names = shlex.split(line("it's", "two words", "$HOME", "c"))
    assert option == "--known" and names_from(names) == ("it's", "two words", "$HOME", "c")


def test_names_with_commas_go_into_a_file_one_a_line():
    words = shlex.split(line("a, b", "it's", "c"))
    assert words[:2] == ["--known-file", "reordered-classes.txt"]
    assert words[words.index("printf") + 1 : words.index(">")] == ["%s\\n", "a, b", "it's", "c"]


def test_of_two_classes_a_smallest_value_that_is_the_best_is_told_beside_the_other_order():
    said = {}
    for names in ("ba", "bac"):
        order = ClassOrder(names=tuple(names), called="", right=np.ones(1, bool), moved=2)
        said[names] = str(wrong_order("it names 0%", order, "", "as --known gives them"))
    assert "write --known b,a; " in said["ba"] and "if the smaller of its values is the better" in said["ba"]
    assert "smaller of its values" not in said["bac"]
