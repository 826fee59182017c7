"""``scorer.npz`` must be the scorer that the manifest describes, part by part."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeosr.bundle.backbone import BackboneRecord, GateRecord
from edgeosr.bundle.directory import Bundle
from edgeosr.bundle.manifest import Manifest, parse_manifest
from edgeosr.bundle.scorer import bundle_scorer
from edgeosr.errors import BundleError
from edgeosr.scoring.scorer import ClosedForm, Head, Scorer
from edgeosr.scoring.scorer_file import write_scorer
from edgeosr.scoring.thresholds import ClassThreshold

GATE = GateRecord(
    known=9, unknown=1, ties=0, agreement=1.0, labels=1.0, decisions=1.0, minimum=0.9,
    score_distance=(0.0, 0.0), auroc=None, recalibrated=True,
)  # fmt: skip


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return parse_manifest(Path(__file__).with_name("sample_manifest.json").read_bytes())


@pytest.fixture
def scorer(manifest: Manifest) -> Scorer:
    """What the sample manifest describes."""
    dimension, classes = 6, 4
    return Scorer(
        dimension=dimension,
        classes=classes,
        head=Head(
            kind="cosine",
            weight=np.eye(classes, dimension, dtype=np.float32),
            bias=np.zeros(classes, np.float32),
            temperature=32.0,
            margin=0.5,
        ),
        fusion=manifest.fusion,
        threshold=1.25,
        closed_form=ClosedForm(
            activation="relu",
            parameters=np.zeros(0, np.float32),
            table=np.ones((dimension, 1), np.float32),
            offsets=np.zeros((1, 2), np.int32),
        ),
        layers=((np.ones((1, dimension), np.float32), np.zeros(1, np.float32)),),
    )


def bundle_of(manifest: Manifest, scorer: Scorer) -> Bundle:
    return Bundle(Path("tiny.edgeosr"), manifest, {"scorer.npz": write_scorer(scorer)})


def test_the_scorer_that_the_manifest_describes_is_read(manifest: Manifest, scorer: Scorer) -> None:
    assert bundle_scorer(bundle_of(manifest, scorer)).fusion.parts == manifest.parts


def fused(scorer: Scorer, **changes: Any) -> Scorer:
    return replace(scorer, fusion=replace(scorer.fusion, **changes))


def with_parts(*parts: str) -> Callable[[Scorer], Scorer]:
    count = len(parts)
    return lambda scorer: fused(
        scorer, parts=parts, means=(0.0,) * count, stds=(1.0,) * count, weights=(0.0,) * count
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            with_parts("discriminator", "log_jacobian", "movr_loss", "max_logit", "log_norm"),
            "the list of parts must be log_jacobian, discriminator, .*; got discriminator, log_jacobian,",
        ),
        (
            with_parts("log_jacobian", "discriminator", "movr_loss", "max_logit", "nonsense"),
            "the list of parts must be .*; got .*, nonsense;",
        ),
        (with_parts("log_jacobian", "discriminator"), "the list of parts must be"),
        (
            lambda scorer: replace(
                scorer,
                classes=3,
                head=replace(scorer.head, weight=scorer.head.weight[:3], bias=scorer.head.bias[:3]),
            ),
            "the number of classes must be 4; got 3",
        ),
        (
            lambda scorer: replace(scorer, head=replace(scorer.head, kind="linear", margin=0.0)),
            "the head must be cosine; got linear",
        ),
        (lambda scorer: replace(scorer, threshold=1.5), "the threshold must be 1.25; got 1.5"),
        (lambda scorer: fused(scorer, weights=(1.0, 0.0, 0.0, 0.0, 0.0)), "the fusion's weights must be"),
        (lambda scorer: fused(scorer, means=(0.0,) * 5), "the fusion's means must be"),
        (lambda scorer: replace(scorer, closed_form=None), "the part log_jacobian is computed from"),
        (lambda scorer: replace(scorer, layers=()), "the part discriminator is computed from is missing"),
    ],
)  # fmt: skip
def test_another_scorer_than_the_manifests_is_refused(
    manifest: Manifest, scorer: Scorer, change: Callable[[Scorer], Scorer], words: str
) -> None:
    with pytest.raises(BundleError, match=words) as refusal:
        bundle_scorer(bundle_of(manifest, change(scorer)))
    assert "export the bundle again" in str(refusal.value)


def test_a_scorer_of_another_dimension_is_refused(manifest: Manifest, scorer: Scorer) -> None:
    other = replace(manifest, embedding=replace(manifest.embedding, dimension=7))
    with pytest.raises(BundleError, match="the embedding's length must be 7; got 6"):
        bundle_scorer(bundle_of(other, scorer))


def test_a_backbone_that_was_calibrated_anew_has_the_scorer(manifest: Manifest, scorer: Scorer) -> None:
    fusion = replace(manifest.fusion, means=(0.0,) * 5)
    record = BackboneRecord(
        precision="int8", ending="map", logits=False, dtype="float16", converter="none", fusion=fusion,
        threshold=replace(manifest.threshold, value=0.5), gate=GATE,
    )  # fmt: skip
    own = replace(manifest, backbone=record)
    assert bundle_scorer(bundle_of(own, replace(scorer, threshold=0.5, fusion=fusion))).threshold == 0.5
    with pytest.raises(BundleError, match=r"the threshold must be 0\.5; got 1\.25"):
        bundle_scorer(bundle_of(own, scorer))
    plain = replace(own, backbone=replace(record, fusion=None, threshold=None))
    assert bundle_scorer(bundle_of(plain, scorer)).threshold == 1.25


def test_thresholds_of_classes_must_be_the_manifest_s(manifest: Manifest, scorer: Scorer) -> None:
    values = (0.25, 1.25, 0.5, 1.25)
    by_class = tuple(ClassThreshold(value=one, interval=(0.0, 0.1), groups=40, images=40) for one in values)
    own = replace(manifest, threshold=replace(manifest.threshold, by_class=by_class))
    assert bundle_scorer(bundle_of(own, replace(scorer, class_thresholds=values))).class_thresholds == values
    with pytest.raises(BundleError, match="the number of thresholds of classes must be 4; got 0"):
        bundle_scorer(bundle_of(own, scorer))
    with pytest.raises(BundleError, match="the number of thresholds of classes must be 0; got 4"):
        bundle_scorer(bundle_of(manifest, replace(scorer, class_thresholds=values)))
    name = manifest.classes[2]
    with pytest.raises(BundleError, match=rf"the threshold of the class {name} must be 0\.5; got 0\.75"):
        bundle_scorer(bundle_of(own, replace(scorer, class_thresholds=(0.25, 1.25, 0.75, 1.25))))
