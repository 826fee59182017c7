"""One figure a score: on the same images, at a threshold made by the same rule."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from edgeosr.bench.open_set.cells import Cell, cell_from_score, own_scores
from edgeosr.bench.open_set.observed import scored
from edgeosr.bench.open_set.rivals import LeftOut
from edgeosr.export.conformal import conformal_threshold

CONTEXT = {"protocol": "p", "number": 2, "seed": 0, "command": "c", "versions": {}}


def cells(network):
    return {one.name: cell_from_score(one, network, **CONTEXT) for one in own_scores(network)}


def test_every_part_the_shipped_score_and_both_bounds_have_a_cell(make_network):
    network = make_network()
    found = cells(network)
    assert list(found) == [
        "shipped", "part:bank", "part:movr_loss", "part:noise", "bound", "bound (all parts)",
    ]  # fmt: skip
    truth = [0] * 90 + [1] * 70
    for column, name in enumerate(network.fusion.parts):
        values = [*network.test.values[:, column], *network.unknown.values[:, column]]
        assert found[f"part:{name}"].auroc == pytest.approx(roc_auc_score(truth, values), abs=1e-12)


def test_a_part_is_judged_at_the_conformal_threshold_of_the_calibrate_part(make_network):
    network = make_network()
    cell, calibrate = cells(network)["part:noise"], network.calibrate
    threshold = conformal_threshold(calibrate.values[:, 2], calibrate.groups, 0.05).value
    assert cell.false_accepts == np.mean(network.unknown.values[:, 2] <= threshold)
    assert cell.false_rejects == np.mean(network.test.values[:, 2] > threshold)


def test_false_accepts_at_5_are_those_of_a_threshold_that_rejects_5_percent_of_the_known_test(make_network):
    network = make_network()
    known, unknown = np.sort(network.test.values[:, 2]), network.unknown.values[:, 2]
    strictest = known[int(np.ceil(0.95 * len(known))) - 1]
    assert cells(network)["part:noise"].false_accepts_at_5 == np.mean(unknown <= strictest)


def test_the_shipped_score_is_judged_at_the_threshold_that_ships(make_network):
    network = make_network()
    network = replace(network, threshold=float(np.median(network.unknown.scores)))
    assert cells(network)["shipped"].false_accepts == pytest.approx(0.5, abs=0.01)


def test_images_of_a_group_weigh_one_together(make_network):
    network = make_network()
    grouped = replace(network.unknown, groups=np.minimum(np.arange(70), 1))
    accepted = network.unknown.scores <= network.threshold
    found = cells(replace(network, unknown=grouped))["shipped"].false_accepts
    assert found == pytest.approx((accepted[0] + accepted[1:].mean()) / 2)


def test_a_bound_is_fitted_on_the_test_and_beats_what_ships(make_network):
    found = cells(make_network(weighed=("noise",)))
    assert found["bound"].note == "noise 1.00" or found["bound"].note == ""
    # All parts may be weighed: those that tell the unknown apart get the weight.
    assert found["bound (all parts)"].auroc >= found["shipped"].auroc
    assert "noise" not in found["bound (all parts)"].note.replace("noise 0.0", "")


def test_where_no_folds_weighed_the_bound_is_of_all_parts(make_network):
    found = cells(make_network(weighed=()))
    assert found["bound"].auroc == found["bound (all parts)"].auroc


def test_a_score_without_a_threshold_is_left_out_with_the_reason(make_network):
    network = make_network()
    score = scored("broken", lambda side: np.full(len(side.labels), np.nan), network)
    left = cell_from_score(score, network, **CONTEXT)
    assert isinstance(left, LeftOut) and "not finite" in left.why
    assert isinstance(cells(network)["shipped"], Cell)
