"""The closed form's norm with each channel by 1 / its variance within classes."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose

from edgeosr.bundle.directory import read_bundle
from edgeosr.bundle.manifest import manifest_bytes, parse_manifest
from edgeosr.cli.bundle_report import text_from_bundle
from edgeosr.errors import BundleError, UsageError
from edgeosr.export.channel_weights import LEAST_VARIANCE, within_class_weights
from edgeosr.export.export_run import export_run
from edgeosr.export.settings import ExportSettings
from edgeosr.runtime.verify import verify_bundle
from edgeosr.scoring.scorer_file import read_scorer


def test_weights_are_one_over_the_variance_within_classes():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 400)
    spreads = np.array([0.5, 1.0, 2.0])
    # Far apart classes: what differs between them must not count.
    z = 50 * rng.normal(size=(3, 3))[labels] + spreads * rng.normal(size=(1200, 3))
    weights = within_class_weights(z, labels)
    assert weights.mean() == pytest.approx(1)
    assert_allclose(weights, (1 / spreads**2) / (1 / spreads**2).mean(), rtol=0.15)


def test_a_channel_that_is_always_off_does_not_outweigh_the_others():
    rng = np.random.default_rng(1)
    z, labels = rng.normal(size=(300, 4)), np.arange(300) % 3
    z[:, 3] = 0
    weights = within_class_weights(z, labels)
    variances = 1 / weights[:3]
    assert weights[3] == pytest.approx(1 / (LEAST_VARIANCE * variances.sum() / 4))
    assert within_class_weights(np.ones((6, 4)), np.arange(6) % 2) is None
    assert within_class_weights(rng.normal(size=(3, 4)), np.arange(3)) is None


@pytest.fixture(scope="module")
def weighed(digits_run, tmp_path_factory):
    out = tmp_path_factory.mktemp("weighed") / "weighed.edgeosr"
    export_run(digits_run, ExportSettings(channel_weights="within-class", out=out, parts="all"))
    return read_bundle(out)


def test_a_bundle_says_that_its_channels_are_weighed_and_decides_alike_in_every_back_end(
    weighed, digits_bundle
):
    assert weighed.manifest.jacobian.kind == "J_w"
    assert "J_w = |sqrt(w) dz/dh| / |z|" in text_from_bundle(weighed)
    assert verify_bundle(weighed.path).passed
    plain = read_scorer(read_bundle(digits_bundle).files["scorer.npz"]).closed_form.table
    ratio = read_scorer(weighed.files["scorer.npz"]).closed_form.table / np.where(plain == 0, 1, plain)
    by_channel = ratio[:, 0]
    assert by_channel.mean() == pytest.approx(1, abs=0.05) and by_channel.std() > 0.05


def test_an_edgeosr_that_does_not_know_the_norm_refuses_it(weighed):
    plain = json.loads(manifest_bytes(weighed.manifest))
    plain["jacobian"]["kind"] = "J_v"
    with pytest.raises(BundleError, match=r"jacobian.kind: expected"):
        parse_manifest(json.dumps(plain).encode())


@pytest.mark.parametrize("jacobian", ["probes", "none"])
def test_channels_of_what_is_no_closed_form_are_not_weighed(jacobian):
    with pytest.raises(UsageError, match=f"--channel-weights within-class .*got --jacobian {jacobian}"):
        ExportSettings(channel_weights="within-class", jacobian=jacobian)


def test_other_weights_are_refused_by_name():
    with pytest.raises(
        UsageError, match="--channel-weights must be one of equal, within-class; got 'within'"
    ):
        ExportSettings(channel_weights="within")
