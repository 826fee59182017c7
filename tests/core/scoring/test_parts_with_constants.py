"""Parts with constants of their own: how train features make them, and what they make of a sample."""

from dataclasses import replace

import numpy as np
import pytest

from edgeosr.errors import MissingDependencyError
from edgeosr.scoring.fusion import unfitted_fusion
from edgeosr.scoring.part import Batch, TrainFeatures
from edgeosr.scoring.parts import part, with_constants
from edgeosr.scoring.parts.class_jacobian import FEWEST_IMAGES, LEAST_SPREAD
from edgeosr.scoring.parts.relative_mahalanobis import SHRINKAGE
from edgeosr.scoring.scorer import ClosedForm, Head, Scorer

BANK, RELATIVE, OF_CLASS = part("bank"), part("relative_mahalanobis"), part("class_jacobian")


def scorer(dimension, classes=3):
    nothing = np.zeros(0, np.float32)
    return Scorer(
        dimension=dimension,
        classes=classes,
        head=Head(kind="external", weight=nothing.reshape(0, 0), bias=nothing, temperature=1.0),
        fusion=unfitted_fusion(()),
        threshold=0.0,
    )


def clusters(count=60, dimension=12, classes=3, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    mixing = rng.normal(size=(dimension, dimension)) * scale
    centres = 2 + rng.normal(size=(classes, dimension)) * 3
    z = (centres[labels] + rng.normal(size=(count, dimension))) @ mixing
    return TrainFeatures(embeddings=z.astype(np.float32), labels=labels, classes=classes, seed=seed)


def features_of(embeddings, labels=None):
    z = np.asarray(embeddings, np.float32)
    labels = np.zeros(len(z), np.int64) if labels is None else np.asarray(labels)
    return TrainFeatures(embeddings=z, labels=labels, classes=3, seed=0)


def values(entry, features, z):
    z = np.asarray(z, np.float64)
    made = with_constants(scorer(z.shape[1]), features)
    norm = np.maximum(np.linalg.norm(z, axis=1), 1e-12)
    none = np.zeros(len(z))
    batch = Batch(z=z, norm=norm, logits=none, label=none, top=none, jacobian=none, known=none)
    return entry.value(batch, made)


def explicit_distances(features, z):
    """Half the difference of Mahalanobis distances, as its definition says: float64, one class at a time."""
    train, labels = features.embeddings.astype(np.float64), features.labels
    within, distances = np.zeros((train.shape[1],) * 2), []
    for label in np.unique(labels):
        own = train[labels == label]
        within += np.cov(own.T, bias=True) * len(own) / len(train)
    target = np.diag(within).mean() * np.eye(len(within))
    precision = np.linalg.inv((1 - SHRINKAGE) * within + SHRINKAGE * target)
    for mean in [train.mean(0), *(train[labels == label].mean(0) for label in np.unique(labels))]:
        away = z - mean
        distances.append(np.einsum("nd,de,ne->n", away, precision, away))
    return (np.min(distances[1:], axis=0) - distances[0]) / 2


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_relative_mahalanobis_is_half_the_difference_of_the_distances(classes):
    features = clusters(classes=classes)
    z = np.concatenate([features.embeddings, np.random.default_rng(5).normal(size=(40, 12)) * 5])
    expected = explicit_distances(features, z)
    np.testing.assert_allclose(values(RELATIVE, features, z), expected, rtol=1e-5, atol=1e-4)
    assert expected.std() > 1


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_rows_of_relative_mahalanobis_fit_float16_whatever_the_embedding_s_scale(scale):
    features = clusters(scale=scale)
    rows = RELATIVE.constants_from(features, scorer(12)).rows
    assert np.abs(rows).max() == 1
    z = features.embeddings.astype(np.float64)
    np.testing.assert_allclose(
        values(RELATIVE, features, z), explicit_distances(features, z), rtol=1e-5, atol=1e-4
    )


def test_relative_mahalanobis_of_more_dimensions_than_images_is_finite():
    features = clusters(count=9, dimension=50)
    assert np.isfinite(values(RELATIVE, features, features.embeddings)).all()


def test_relative_mahalanobis_has_no_row_for_a_class_without_images():
    features = clusters(classes=4)
    kept = features.labels != 2
    fewer = TrainFeatures(
        embeddings=features.embeddings[kept], labels=features.labels[kept], classes=4, seed=0
    )
    assert len(RELATIVE.constants_from(fewer, scorer(12, 4)).rows) == 3


def test_relative_mahalanobis_needs_two_classes_and_a_spread():
    z = np.random.default_rng(0).normal(size=(20, 4))
    assert RELATIVE.constants_from(features_of(z), scorer(4)) is None
    still = features_of(np.repeat(np.eye(2, 4), 5, axis=0), np.repeat([0, 1], 5))
    assert RELATIVE.constants_from(still, scorer(4)) is None


def test_the_bank_of_few_embeddings_is_those_embeddings():
    features = clusters(count=40)
    rows = BANK.constants_from(features, scorer(12)).rows
    unit = features.embeddings / np.linalg.norm(features.embeddings, axis=1, keepdims=True)
    assert len(rows) == 40
    nearest = (rows @ unit.T).max(axis=1)
    np.testing.assert_allclose(nearest, 1, atol=1e-6)
    np.testing.assert_allclose(values(BANK, features, features.embeddings * 7), -1, atol=1e-6)


def test_the_bank_is_minus_the_largest_cosine_to_a_row_whatever_the_length_of_z():
    features = clusters(count=300)
    rows = BANK.constants_from(features, scorer(12)).rows
    assert rows.shape == (256, 12) and rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    z = np.random.default_rng(3).normal(size=(9, 12)) * np.exp(np.arange(9))[:, None]
    expected = -(z / np.linalg.norm(z, axis=1, keepdims=True) @ rows.T).max(axis=1)
    np.testing.assert_allclose(values(BANK, features, z), expected, atol=1e-6)
    assert (values(BANK, features, -features.embeddings) > values(BANK, features, features.embeddings)).all()
    assert values(BANK, features, np.zeros((1, 12))) == 0


@pytest.mark.parametrize("count", [1, 5, 256])
def test_embeddings_of_one_direction_share_a_centre(count):
    distinct = np.random.default_rng(1).normal(size=(count, 6))
    copies = np.concatenate([distinct * length for length in (1, 1, 2, 0.5)])
    rows = BANK.constants_from(features_of(copies), scorer(6)).rows
    assert len(rows) == count
    unit = distinct / np.linalg.norm(distinct, axis=1, keepdims=True)
    np.testing.assert_allclose((unit @ rows.T).max(axis=1), 1, atol=1e-6)


def test_embeddings_without_a_direction_are_left_out_of_the_bank():
    z = np.eye(3)
    z[1] = 0
    assert len(BANK.constants_from(features_of(z), scorer(3)).rows) == 2
    assert BANK.constants_from(features_of(np.zeros((4, 3))), scorer(3)) is None


def test_an_embedding_that_is_not_finite_changes_no_constant():
    clean = clusters()
    z, labels = np.vstack([clean.embeddings, np.full(12, np.nan)]), np.append(clean.labels, 0)
    dirty = TrainFeatures(embeddings=z.astype(np.float32), labels=labels, classes=3, seed=0)
    for entry in (BANK, RELATIVE):
        rows = [entry.constants_from(features, scorer(12)).rows for features in (clean, dirty)]
        np.testing.assert_array_equal(*rows)


def with_closed_form(classes):
    form = ClosedForm(
        activation="relu",
        parameters=np.zeros(0, np.float32),
        table=np.ones((4, 1), np.float32),
        offsets=np.zeros((1, 2), np.int32),
    )
    return replace(scorer(4, classes), closed_form=form)


def norms_of(logs, labels, classes):
    logs = np.asarray(logs, np.float64)
    return TrainFeatures(
        embeddings=np.ones((len(logs), 4), np.float32),
        labels=np.asarray(labels),
        classes=classes,
        seed=0,
        jacobian_squared=np.exp(2 * logs),
    )


def class_values(made, logs, labels):
    logs, labels = np.asarray(logs, np.float64), np.asarray(labels)
    norm = np.full(len(logs), 2.0)
    none = np.zeros(len(logs))
    batch = Batch(
        z=none, norm=norm, logits=none, label=labels, top=none, jacobian=np.exp(logs) / norm, known=none
    )
    return OF_CLASS.value(batch, made)


def test_class_jacobian_has_mean_0_and_deviation_1_within_each_class_of_the_train_part():
    labels = np.repeat([0, 1, 2], 50)
    logs = np.random.default_rng(0).normal(size=150) * (1 + labels) + 5 * labels
    made = with_constants(with_closed_form(3), norms_of(logs, labels, 3))
    for label in range(3):
        found = class_values(made, logs[labels == label], labels[labels == label])
        np.testing.assert_allclose([found.mean(), found.std()], [0, 1], atol=1e-5)
    # What is usual for one class is not for another.
    assert class_values(made, [10.0], [2]) < 1 < class_values(made, [10.0], [0])


def test_a_class_of_few_images_takes_mean_and_deviation_of_all():
    enough, few = FEWEST_IMAGES, FEWEST_IMAGES - 1
    labels = np.repeat([0, 1], [enough, few])
    logs = np.random.default_rng(1).normal(size=len(labels)) + 3 * labels
    made = with_constants(with_closed_form(3), norms_of(logs, labels, 3))
    of_all = (logs - logs.mean()) / logs.std()
    for label in (1, 2):  # one of few, one of none
        np.testing.assert_allclose(class_values(made, logs, np.full(len(logs), label)), of_all, rtol=1e-5)
    assert np.abs(class_values(made, logs, np.zeros(len(logs), int)) - of_all).max() > 0.5


def test_the_deviation_of_a_class_is_not_taken_below_a_share_of_that_of_all():
    labels = np.repeat([0, 1], 20)
    logs = np.concatenate([np.full(20, 1.0), np.random.default_rng(2).normal(size=20)])
    made = with_constants(with_closed_form(2), norms_of(logs, labels, 2))
    assert class_values(made, [2.0], [0])[0] == pytest.approx(1 / (LEAST_SPREAD * logs.std()), rel=1e-5)


def test_class_jacobian_needs_a_closed_form_and_norms_that_vary():
    varied = norms_of(np.arange(20.0), np.zeros(20, int), 1)
    assert OF_CLASS.constants_from(varied, with_closed_form(1)) is not None
    assert OF_CLASS.constants_from(varied, scorer(4, 1)) is None
    assert OF_CLASS.constants_from(replace(varied, jacobian_squared=None), with_closed_form(1)) is None
    assert OF_CLASS.constants_from(norms_of([1.0] * 20, [0] * 20, 1), with_closed_form(1)) is None
    rounding = 3 + 1e-7 * np.random.default_rng(0).normal(size=20)
    assert OF_CLASS.constants_from(norms_of(rounding, [0] * 20, 1), with_closed_form(1)) is None
    some_not_finite = replace(varied, jacobian_squared=np.append(varied.jacobian_squared[:-1], np.nan))
    assert np.isfinite(OF_CLASS.constants_from(some_not_finite, with_closed_form(1)).numbers).all()


def test_constants_are_the_same_bits_each_time():
    features = replace(clusters(count=400), seed=(1 << 63) + 5)
    for entry in (BANK, RELATIVE):
        once, again = (entry.constants_from(features, scorer(12)) for _ in range(2))
        assert once.rows.tobytes() == again.rows.tobytes()


def test_without_scikit_learn_the_bank_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.cluster", None)
    with pytest.raises(MissingDependencyError, match=r"edgeosr\[export\]"):
        BANK.constants_from(clusters(count=300), scorer(12))
