"""The registry of score parts: one module a part, found by itself."""

import numpy as np
import pytest

from edgeosr.errors import UsageError
from edgeosr.scoring.fusion import unfitted_fusion
from edgeosr.scoring.part import Batch, Part, TrainFeatures
from edgeosr.scoring.parts import (
    carried_parts,
    part,
    part_names,
    registered,
    unknown_parts,
    with_constants,
)
from edgeosr.scoring.probes import Probes
from edgeosr.scoring.scorer import ClosedForm, Head, PartConstants, Scorer


def scorer(**changes):
    values = {
        "dimension": 4,
        "classes": 3,
        "head": Head(
            kind="cosine",
            weight=np.eye(3, 4, dtype=np.float32),
            bias=np.zeros(3, np.float32),
            temperature=8.0,
            margin=0.5,
        ),
        "fusion": unfitted_fusion(()),
        "threshold": 0.0,
    }
    return Scorer(**{**values, **changes})


def batch(**changes):
    logits = np.array([[0.5, 0.2, -0.1]])
    values = {
        "z": np.array([[3.0, 0.0, 4.0, 0.0]]),
        "norm": np.array([5.0]),
        "logits": logits,
        "label": logits.argmax(1),
        "top": logits.max(1),
        "jacobian": np.array([0.25]),
        "known": np.array([1.5]),
    }
    return Batch(**{**values, **changes})


class FarthestRow(Part):
    """A part of this test, with rows and a number of its own."""

    name, code = "farthest_row", 900
    title, meaning = "farthest row", "far from the rows"

    def value(self, batch, scorer):
        return -self.products(batch, scorer).max(axis=1) * scorer.constants[self.name].numbers[0]


def test_the_registry_holds_the_modules_of_its_folder_in_the_order_of_their_codes():
    assert part_names() == (
        *("log_jacobian", "discriminator", "movr_loss", "max_logit", "log_norm", "ovr_loss"),
        *("raw_jacobian", "bank", "relative_mahalanobis", "class_jacobian"),
    )
    codes = [part(name).code for name in part_names()]
    assert codes == sorted(set(codes))
    for name in part_names():
        assert part(name).title and part(name).meaning


def test_every_part_says_more_unknown_when_it_should():
    plain = scorer()
    for name, more_unknown in (
        ("log_jacobian", {"jacobian": np.array([0.5])}),
        ("discriminator", {"known": np.array([-1.0])}),
        ("max_logit", {"top": np.array([0.1])}),
        ("log_norm", {"norm": np.array([1.0])}),
        ("movr_loss", {"logits": np.array([[0.1, 0.09, 0.08]])}),
        ("ovr_loss", {"logits": np.array([[0.5, 0.49, 0.48]])}),
        ("raw_jacobian", {"norm": np.array([6.0])}),
    ):
        before, after = (part(name).value(each, plain)[0] for each in (batch(), batch(**more_unknown)))
        assert after > before, name


def test_a_scorer_carries_the_parts_it_has_the_constants_of():
    assert carried_parts(scorer()) == ("movr_loss", "max_logit", "log_norm", "ovr_loss")
    layers = ((np.zeros((1, 4), np.float32), np.zeros(1, np.float32)),)
    form = ClosedForm(
        activation="relu",
        parameters=np.zeros(0, np.float32),
        table=np.ones((4, 1), np.float32),
        offsets=np.zeros((1, 2), np.int32),
    )
    own = PartConstants(
        rows=np.eye(2, 4, dtype=np.float32), biases=np.zeros(2, np.float32), numbers=np.ones(1, np.float32)
    )
    two_a_class = PartConstants(
        rows=np.zeros((0, 4), np.float32), biases=np.zeros(0, np.float32), numbers=np.ones(6, np.float32)
    )
    constants = {"bank": own, "relative_mahalanobis": own, "class_jacobian": two_a_class}
    assert carried_parts(scorer(layers=layers, closed_form=form, constants=constants)) == part_names()
    probed = carried_parts(scorer(layers=layers, probes=Probes(K=1, n=4), constants=constants))
    assert set(part_names()) - set(probed) == {"raw_jacobian", "class_jacobian"}
    linear = Head(
        kind="linear", weight=np.eye(3, 4, dtype=np.float32), bias=np.zeros(3, np.float32), temperature=1.0
    )
    assert "ovr_loss" not in carried_parts(scorer(head=linear))


@pytest.mark.parametrize(
    ("name", "rows", "numbers"),
    [
        *(("bank", 0, 0), ("relative_mahalanobis", 0, 1), ("relative_mahalanobis", 2, 0)),
        *(("class_jacobian", 0, 5), ("class_jacobian", 0, 7), ("class_jacobian", 0, 0)),
    ],
)
def test_a_part_whose_constants_are_too_short_is_not_carried(name, rows, numbers):
    form = ClosedForm(
        activation="relu",
        parameters=np.zeros(0, np.float32),
        table=np.ones((4, 1), np.float32),
        offsets=np.zeros((1, 2), np.int32),
    )
    own = PartConstants(
        rows=np.zeros((rows, 4), np.float32),
        biases=np.zeros(rows, np.float32),
        numbers=np.ones(numbers, np.float32),
    )
    assert name not in carried_parts(scorer(closed_form=form, constants={name: own}))


def test_a_part_of_another_package_can_be_registered_and_is_gone_again():
    rows = np.eye(2, 4, dtype=np.float32)
    constants = PartConstants(
        rows=rows, biases=np.array([0.0, 9.0], np.float32), numbers=np.array([2.0], np.float32)
    )
    with registered(FarthestRow()):
        carrying = scorer(constants={"farthest_row": constants})
        assert carried_parts(carrying)[-1] == "farthest_row"
        assert part("farthest_row").value(batch(), carrying).tolist() == [-18.0]
        assert "farthest_row" not in carried_parts(scorer())
        with pytest.raises(AssertionError, match="is taken"), registered(FarthestRow()):
            pass
    assert unknown_parts(["movr_loss", "farthest_row"]) == ["farthest_row"]


def test_an_unknown_name_is_refused_with_the_near_ones():
    with pytest.raises(UsageError, match="did you mean 'movr_loss'"):
        part("mover_loss")


def test_a_scorer_gets_the_constants_of_the_parts_that_make_some_and_of_no_other():
    class Mean(FarthestRow):
        """Its one row is the mean training embedding."""

        def constants_from(self, features, scorer):
            row = features.embeddings.mean(axis=0, keepdims=True)
            return PartConstants(rows=row, biases=np.zeros(1, np.float32), numbers=np.ones(1, np.float32))

    features = TrainFeatures(
        embeddings=np.arange(8, dtype=np.float32).reshape(2, 4),
        labels=np.array([0, 2]),
        classes=3,
        seed=0,
    )
    old = PartConstants(rows=np.eye(2, 4), biases=np.zeros(2), numbers=np.zeros(0))
    with registered(Mean()):
        made = with_constants(scorer(constants={"farthest_row": old, "gone": old}), features)
        assert made.constants["farthest_row"].rows.tolist() == [[2, 3, 4, 5]]
        assert "farthest_row" in carried_parts(made)
    assert "gone" not in made.constants
    assert not set(made.constants) & {"log_jacobian", "movr_loss", "max_logit", "log_norm", "ovr_loss"}
