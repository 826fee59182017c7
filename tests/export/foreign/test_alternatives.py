"""Another preprocessing is named where it is clearly more accurate, and only there."""

import numpy as np
import pytest

from edgeosr.export.foreign.alternatives import (
    best_alternative,
    cut_alternatives,
    value_alternatives,
)
from edgeosr.export.foreign.presets import CAFFE, CLIP, IMAGENET, INCEPTION
from edgeosr.preprocessing import Preprocessing

LABELS = np.arange(300) % 10


def stated(**changes):
    return Preprocessing(
        **{"height": 224, "width": 224, "mean": IMAGENET.mean, "std": IMAGENET.std, **changes}
    )


def model(shares, asked=None):
    """Answer rightly on a share of the images; ``shares`` holds (test of the preprocessing, share)."""

    def answers(preprocessing, places):
        if asked is not None:
            asked.append(len(places))
        share = next(share for fits, share in shares if fits(preprocessing))
        order = np.random.default_rng(int(1000 * share)).permutation(len(LABELS))
        right = np.isin(places, order[: round(share * len(LABELS))])
        return np.where(right, LABELS[places], (LABELS[places] + 1) % 10)

    return answers


def search(given, shares, asked=None):
    answers = model(shares, asked)
    before = answers(given, np.arange(len(LABELS)))
    if asked is not None:
        asked.clear()
    return best_alternative(given, LABELS, before, answers)


def anything(preprocessing):
    return True


def test_a_clearly_better_one_is_found_and_worded():
    def caffe(p):
        return p.color == "bgr" and p.mean == CAFFE.mean and p.std == CAFFE.std

    found = search(stated(), [(caffe, 0.97), (anything, 0.3)])
    assert found is not None and found.alternative.options == "--preprocessing caffe"
    assert found.right.mean() == pytest.approx(0.97)


def test_a_cut_is_found_too_and_after_the_values():
    def cut(p):
        return p.resize_to == 256

    found = search(stated(), [(cut, 0.95), (anything, 0.7)])
    assert found is not None and found.alternative.options == "--fit crop --crop-fraction 0.875"

    def both(p):
        return cut(p) and p.mean == INCEPTION.mean

    shares = [(both, 0.95), (lambda p: p.mean == INCEPTION.mean, 0.7), (anything, 0.3)]
    found = search(stated(), shares)
    assert found is not None
    assert found.alternative.options == "--preprocessing inception --fit crop --crop-fraction 0.875"


@pytest.mark.parametrize("share", [0.83, 0.8, 0.3])
def test_one_that_is_hardly_better_or_worse_is_not_named(share):
    assert search(stated(), [(lambda p: p == stated(), 0.81), (anything, share)]) is None


def test_nothing_is_run_where_too_few_images_are_wrong_to_show_anything():
    asked = []
    assert search(stated(), [(lambda p: p == stated(), 0.97), (anything, 1.0)], asked) is None
    assert asked == []


def test_few_images_are_run_for_an_alternative_that_mends_nothing():
    asked = []
    assert search(stated(), [(anything, 0.3)], asked) is None
    assert sum(asked) <= 48 * 20


def test_of_two_as_good_the_likelier_is_named_and_the_other_told():
    shares = [(lambda p: p.mean in (INCEPTION.mean, CLIP.mean) and p.color == "rgb", 0.96), (anything, 0.3)]
    found = search(stated(), shares)
    assert found is not None and found.alternative.options == "--preprocessing inception"
    assert [one.options for one in found.as_good] == ["--preprocessing clip"]


def test_the_stated_one_is_no_alternative_and_none_comes_twice():
    for given in (stated(), stated(color="bgr"), stated(mean=(0.1, 0.2, 0.3)), stated(resize_to=256)):
        options = [one.options for one in (*value_alternatives(given), *cut_alternatives(given))]
        assert len(set(options)) == len(options)
        assert given not in [
            one.preprocessing for one in (*value_alternatives(given), *cut_alternatives(given))
        ]


def test_for_a_grey_input_only_one_mean_and_one_std_without_an_order_of_colours_are_tried():
    given = stated(mean=(0.4,) * 3, std=(0.2,) * 3)
    options = [one.options for one in value_alternatives(given, grey=True)]
    assert options == [f"--preprocessing {name}" for name in ("inception", "0..1", "0..255")]

    def cut_and_inception(p):
        return p.resize_to == 256 and p.mean == INCEPTION.mean

    # In two steps, too: the cut first, and clip would be the best of the values.
    shares = [
        (lambda p: p.resize_to == 256 and p.mean == CLIP.mean, 1.0),
        (cut_and_inception, 0.95),
        (lambda p: p.resize_to == 256, 0.7),
        (anything, 0.3),
    ]
    answers = model(shares)
    found = best_alternative(given, LABELS, answers(given, np.arange(300)), answers, grey=True)
    assert found is not None
    assert found.alternative.options == "--fit crop --crop-fraction 0.875 --preprocessing inception"


def test_numbers_are_named_in_the_models_own_order():
    given = stated(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    options = [one.options for one in value_alternatives(given)]
    assert "--color bgr --mean 0.3 0.2 0.1 --std 0.6 0.5 0.4" in options
    assert "--color bgr --mean 0.1 0.2 0.3 --std 0.4 0.5 0.6" in options
    assert "--color rgb --mean 0.3 0.2 0.1 --std 0.6 0.5 0.4" in options
