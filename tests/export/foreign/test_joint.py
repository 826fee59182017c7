"""A preprocessing and an order that hide each other: clear, open, or nothing."""

import numpy as np

from edgeosr.export.foreign.alternatives import value_alternatives
from edgeosr.export.foreign.joint import ENOUGH, alternatives_with_order
from edgeosr.export.foreign.known_refusals import ACCEPT, by_chance, with_open
from edgeosr.export.settings import ExportSettings
from edgeosr.preprocessing import Preprocessing

NAMES = ("a", "b", "c", "d")
STATED = Preprocessing(
    height=32, width=32, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), fit="crop", color="rgb"
)
TRIED = value_alternatives(STATED)
RIGHT = TRIED[1]


def looked_for(images, mended):
    """Return what is found where ``RIGHT``, with the first two names exchanged, mends so many answers."""
    labels = np.tile(np.arange(4), images)
    exchanged = np.array([1, 0, 2, 3])[labels]
    alone = np.zeros(len(labels), bool)
    alone[mended:] = True
    others = (labels + 2) % 4

    def answers(preprocessing, places):
        return (exchanged if preprocessing == RIGHT.preprocessing else others)[places]

    return alternatives_with_order(TRIED, NAMES, labels, alone, answers, None)


def test_what_many_images_show_is_clear_and_what_few_show_is_open():
    clear, open_ = looked_for(20, 40), looked_for(12, 6)
    assert clear is not None and clear.clear and clear.found[0][0] == RIGHT
    assert clear.found[0][1].names == ("b", "a", "c", "d")
    assert open_ is not None and not open_.clear


def test_nothing_is_looked_for_where_enough_is_right():
    assert looked_for(20, int(80 * (1 - ENOUGH)) - 1) is None


def test_what_is_open_is_told_beside_any_other_reason_to_refuse():
    settings = ExportSettings(data="photos", threads=1)
    problem = by_chance("the model names only 30.0%", 4, "the folder names", False)
    said = str(with_open(problem, looked_for(12, 6), settings))
    assert "; or " in said and "--known b,a,c,d" in said and said.endswith(ACCEPT)
    assert with_open(problem, None, settings) is problem
