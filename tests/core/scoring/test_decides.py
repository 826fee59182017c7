"""What decides is told in words: the heaviest part first, and what a negative weight does."""

import pytest

from edgeosr.scoring.decides import decides
from edgeosr.scoring.fusion import Fusion, unfitted_fusion

PARTS = ("movr_loss", "bank", "log_norm", "max_logit")


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ((0.3, 0.7, 0.0, 0.0), "nearest known image 0.70, margin loss 0.30"),
        (
            (0.3, 0.5, -0.2, 0.0),
            "nearest known image 0.50, margin loss 0.30, minus embedding norm 0.20 (counts against unknown)",
        ),
        (
            (0.0, 0.0, -0.6, 0.4),
            "minus embedding norm 0.60 (counts against unknown), top logit 0.40",
        ),
    ],
)
def test_the_parts_that_decide_are_told_by_magnitude_and_a_negative_one_with_what_it_does(weights, said):
    fusion = Fusion(parts=PARTS, means=(0.0,) * 4, stds=(1.0,) * 4, weights=weights)
    assert decides(fusion) == said


def test_where_no_part_has_a_weight_nothing_decides():
    assert decides(unfitted_fusion(PARTS)) == "nothing"
