import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from edgeosr.errors import UsageError
from edgeosr.scoring.activations import KINKED, activate
from edgeosr.scoring.fusion import unfitted_fusion
from edgeosr.scoring.parts import carried_parts, part
from edgeosr.scoring.parts.movr_loss import one_vs_rest_loss, with_margin
from edgeosr.scoring.probes import Probes
from edgeosr.scoring.reference import closed_form_squared, reference_scores
from edgeosr.scoring.scorer import ACTIVATIONS, ClosedForm, Head, Scorer

SLOPES = [0.25, -0.5, 0.0]
TORCH = {
    "identity": ([], lambda y: y * 1),
    "relu": ([], F.relu),
    "leaky_relu": ([0.1], lambda y: F.leaky_relu(y, 0.1)),
    "prelu": (SLOPES, lambda y: F.prelu(y, torch.tensor(SLOPES, dtype=torch.float64))),
    "clip": ([0, 6], F.relu6),
    "elu": ([0.7], lambda y: F.elu(y, 0.7)),
    "hard_swish": ([], F.hardswish),
    "silu": ([], F.silu),
    "gelu": ([], F.gelu),
    "gelu_tanh": ([], lambda y: F.gelu(y, approximate="tanh")),
    "mish": ([], F.mish),
}


def small_scorer(
    *,
    weights=None,
    closed_form=None,
    probes=None,
    kind="cosine",
    classes=3,
    dimension=4,
    margin=0.0,
):
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((classes, dimension)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    draft = Scorer(
        dimension=dimension,
        classes=classes,
        head=Head(
            kind=kind, weight=rows, bias=np.zeros(classes, np.float32), temperature=32.0, margin=margin
        ),
        fusion=unfitted_fusion(()),
        threshold=1e9,
        closed_form=closed_form,
        probes=probes,
    )
    parts = carried_parts(draft)
    chosen = {"movr_loss": 1.0} if weights is None else weights
    fusion = replace(unfitted_fusion(parts), weights=tuple(chosen.get(name, 0.0) for name in parts))
    return replace(draft, fusion=fusion)


def values_of(scorer, got, name):
    return got["values"][:, scorer.fusion.parts.index(name)]


def test_every_activation_of_the_contract_is_checked_here():
    assert set(TORCH) == set(ACTIVATIONS)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_and_derivatives_are_those_of_torch_kinks_included(name):
    parameters, function = TORCH[name]
    points = np.concatenate([np.linspace(-9, 9, 181), [-3, 0, 3, 6, -80, 80, -0.0]])
    y = np.stack([points, points, points])[None, :, :, None]
    tensor = torch.tensor(y, requires_grad=True)
    expected = function(tensor)
    expected.sum().backward()
    value, slope = activate(name, np.array(parameters, np.float32), y)
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(slope, tensor.grad.numpy(), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_activations_with_a_kink_are_those_whose_derivative_jumps(name):
    points = np.arange(-9, 9, 1e-4)
    _, slope = activate(name, np.array(TORCH[name][0], np.float32), np.stack([points] * 3)[None, :, :, None])
    assert (np.abs(np.diff(slope[0, 0, :, 0])).max() > 0.1) == (name in KINKED)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_never_hides_a_nan(name):
    value, slope = activate(name, np.array(TORCH[name][0], np.float32), np.full((1, 3, 2, 2), np.nan))
    assert np.isnan(value).all() and np.isnan(slope).all()


@pytest.mark.parametrize("name", ["relu", "silu", "prelu"])
def test_the_closed_form_is_the_jacobian_norm_of_autograd_on_the_padded_input(name):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(3, 2, 3, 3, generator=generator, dtype=torch.float64)
    padded = torch.randn(1, 2, 7, 6, generator=generator, dtype=torch.float64)
    parameters, function = TORCH[name]
    y = F.conv2d(padded, weight)
    jacobian = torch.func.jacrev(lambda h: function(F.conv2d(h, weight)).mean((2, 3)))(padded)
    offsets = [(0, 0), (0, 1), (0, 2)] + [(i, j) for i in (1, 2) for j in range(-2, 3)]
    # sum over positions of w(p) w(p + offset), by zero padding and slicing: no formula of ours.
    wide = F.pad(weight, (2, 2, 2, 2))
    table = torch.stack(
        [(weight * wide[:, :, 2 + i : 5 + i, 2 + j : 5 + j]).sum((1, 2, 3)) for i, j in offsets], 1
    )
    table[:, 1:] *= 2
    closed_form = ClosedForm(
        activation=name,
        parameters=np.array(parameters, np.float32),
        table=table.numpy().astype(np.float32),
        offsets=np.array(offsets, np.int32),
    )
    slopes = activate(name, closed_form.parameters, y.numpy())[1]
    got = closed_form_squared(closed_form, slopes)
    np.testing.assert_allclose(got, [float(jacobian.square().sum())], rtol=1e-6)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_number_that_crosses_a_kink_moves_the_jacobian_norm_by_a_step_and_no_other_part(name):
    """What runtime/agreement.py allows of these parts alone; float64, so nothing here is rounding."""
    rng = np.random.default_rng(5)
    parameters = np.array([SLOPES[0]] if name == "prelu" else TORCH[name][0], np.float32)
    table, offsets = np.ones((4, 1), np.float32), np.zeros((1, 2), np.int32)
    form = ClosedForm(activation=name, parameters=parameters, table=table, offsets=offsets)
    scorer = small_scorer(closed_form=form, margin=0.3)
    before, after = (rng.normal(1, 1, (1, 4, 5, 5)) for _ in range(2))
    after[:] = before
    kink = {"hard_swish": 3.0}.get(name, 0.0)
    before[0, 2, 1, 3], after[0, 2, 1, 3] = kink + 1e-7, kink - 1e-7
    values = [reference_scores(scorer, map=one)["values"][0] for one in (before, after)]
    moved = dict(zip(scorer.fusion.parts, np.abs(values[0] - values[1]), strict=True))
    steps = {part_name for part_name, distance in moved.items() if distance > 1e-3}
    assert steps == ({"log_jacobian", "raw_jacobian"} if name in KINKED else set())
    assert {part_name for part_name in moved if part(part_name).counts_masks} >= steps
    assert max(moved[part_name] for part_name in set(moved) - steps) < 1e-6


def test_probes_that_span_the_space_give_the_norm_of_the_unit_embeddings_jacobian():
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    h = torch.randn(3, 6, generator=generator, dtype=torch.float64)
    basis = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))[0]

    def embed(x):
        return torch.tanh(x @ weight.T)

    exact = torch.func.vmap(torch.func.jacrev(lambda x: F.normalize(embed(x), dim=0)))(h)
    tangents = torch.einsum("bdn,kn->kbd", torch.func.vmap(torch.func.jacrev(embed))(h), basis)
    scorer = small_scorer(probes=Probes(K=6, n=6))
    got = reference_scores(scorer, embedding=embed(h).numpy(), tangents=tangents.numpy())
    logs = values_of(scorer, got, "log_jacobian")
    np.testing.assert_allclose(np.exp(logs), exact.flatten(1).norm(dim=1).numpy(), rtol=1e-10)


def test_half_of_the_directions_count_twice_and_a_radial_tangent_counts_nothing():
    z = np.array([[3.0, 0, 4, 0]])
    across = np.array([[0.0, 2, 0, 0]])
    scorer = small_scorer(probes=Probes(K=2, n=4))
    got = reference_scores(scorer, embedding=z, tangents=np.stack([z, across]))
    np.testing.assert_allclose(values_of(scorer, got, "log_jacobian"), [math.log(math.sqrt(2 * 4) / 5)])


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e20])
def test_a_tangent_that_is_not_finite_or_too_large_for_float32_is_never_accepted(bad):
    tangents = np.ones((2, 3, 4))
    tangents[1, 1, 2] = bad
    got = reference_scores(
        small_scorer(probes=Probes(K=2, n=8)), embedding=np.ones((3, 4)) + np.eye(3, 4), tangents=tangents
    )
    assert got["accepted"].tolist() == [True, False, True]
    assert np.isnan(got["score"]).tolist() == [False, True, False]


def test_tangents_that_are_missing_or_misshapen_are_named():
    for wrong in (None, np.ones((3, 2, 4))):
        with pytest.raises(UsageError, match=r"tangents \[K, batch, D\] = \(2, 2, 4\); got"):
            reference_scores(small_scorer(probes=Probes(K=2, n=8)), embedding=np.ones((2, 4)), tangents=wrong)


def test_the_loss_is_the_m_ovr_loss_of_the_predicted_label():
    scaled = np.random.default_rng(0).normal(0, 20, (50, 7))
    label = scaled.argmax(1)
    tensor = torch.tensor(scaled)
    signed = torch.where(F.one_hot(torch.tensor(label), 7).bool(), -tensor, tensor)
    np.testing.assert_allclose(
        one_vs_rest_loss(scaled, label), F.softplus(signed, threshold=1e9).sum(1), rtol=1e-12
    )


@pytest.mark.parametrize("margin", [0.1, 0.5, 1.2])
def test_a_cosine_heads_loss_is_the_trained_one_margin_included(margin):
    from edgeosr.training.losses import movr_loss as trained

    scorer = small_scorer(margin=margin)
    z = np.random.default_rng(1).normal(size=(40, 4)).astype(np.float32)
    cosines = F.normalize(torch.tensor(z), dim=1) @ torch.tensor(scorer.head.weight).T
    expected = trained(cosines, cosines.argmax(1), temperature=32.0, margin=margin)
    everything = reference_scores(scorer, embedding=z)
    got = values_of(scorer, everything, "movr_loss")
    np.testing.assert_allclose(got, expected.numpy(), rtol=2e-4, atol=2e-4)
    without = trained(cosines, cosines.argmax(1), temperature=32.0, margin=0.0)
    off = values_of(scorer, everything, "ovr_loss")
    np.testing.assert_allclose(off, without.numpy(), rtol=2e-4, atol=2e-4)
    shifted = torch.cos(torch.arccos(cosines.double()) + margin).numpy()
    np.testing.assert_allclose(with_margin(cosines.double().numpy(), margin), shifted, atol=1e-12)


@pytest.mark.parametrize(("top", "other", "expected"), [(1e4, -1e4, 0.0), (1e4, 9e3, 9e3), (-1e4, -1e4, 1e4)])
def test_the_loss_is_exact_for_huge_logits(top, other, expected):
    assert one_vs_rest_loss(np.array([[top, other]]), np.array([0]))[0] == expected


def test_equal_logits_give_the_lowest_index():
    scorer = small_scorer(kind="external")
    got = reference_scores(scorer, embedding=np.ones((2, 4)), logits=np.array([[1, 2, 2], [0, 0, 0]]))
    assert got["label"].tolist() == [1, 0]


def test_an_embedding_and_a_jacobian_of_zero_have_finite_scores():
    table = np.ones((4, 1), np.float32)
    empty = np.zeros(0, np.float32)
    form = ClosedForm(activation="relu", parameters=empty, table=table, offsets=np.zeros((1, 2), np.int32))
    every = dict.fromkeys(("log_jacobian", "movr_loss", "max_logit", "log_norm"), 1.0)
    scorer = small_scorer(weights=every, closed_form=form)
    got = reference_scores(scorer, map=np.zeros((1, 4, 2, 2)))
    assert values_of(scorer, got, "log_jacobian")[0] == pytest.approx(math.log(1e-12))
    # log J + loss - top - log |z| at the floor, with three softplus(0) for the loss.
    assert got["score"][0] == pytest.approx(math.log(1e-12) + 3 * math.log(2) - math.log(1e-12))
    assert got["accepted"][0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", ["movr_loss", "max_logit", "log_norm"])
def test_anything_not_finite_is_never_accepted(bad, part):
    z = np.ones((3, 4))
    z[1, 2] = bad
    got = reference_scores(small_scorer(weights={part: 1.0}), embedding=z)
    assert got["accepted"].tolist() == [True, False, True]
    assert np.isnan(got["score"]).tolist() == [False, True, False]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_bad_map_value_counts_even_where_the_embedding_hides_it(bad):
    y = np.ones((2, 4, 3, 3))
    y[1, 0, 0, 0] = bad
    got = reference_scores(small_scorer(), map=y, embedding=np.ones((2, 4)))
    assert got["accepted"].tolist() == [True, False]


def test_missing_and_misshapen_arrays_are_named():
    with pytest.raises(UsageError, match="needs the embedding"):
        reference_scores(small_scorer())
    with pytest.raises(UsageError, match=r"embedding must be \[batch, 4\]; got \(2, 5\)"):
        reference_scores(small_scorer(), embedding=np.ones((2, 5)))
    with pytest.raises(UsageError, match="external head only"):
        reference_scores(small_scorer(), embedding=np.ones((2, 4)), logits=np.ones((2, 3)))


def test_with_a_threshold_a_class_that_of_the_label_decides():
    scorer = small_scorer(dimension=4, classes=3)
    z = np.random.default_rng(1).standard_normal((200, 4))
    said = reference_scores(scorer, embedding=z)
    limits = tuple(float(np.float32(np.median(said["score"][said["label"] == k]))) for k in range(3))
    got = reference_scores(replace(scorer, threshold=-1e9, class_thresholds=limits), embedding=z)
    assert got["accepted"].tolist() == (said["score"] <= np.array(limits)[said["label"]]).tolist()
    assert {*got["accepted"][got["label"] == 0]} == {True, False}
    broken = reference_scores(replace(scorer, class_thresholds=limits), embedding=np.full((1, 4), np.nan))
    assert not broken["accepted"].any()
