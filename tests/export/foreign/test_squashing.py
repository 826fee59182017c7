"""Squashed outputs are told by their numbers, and honest logits of any scale are never taken for them."""

import numpy as np
import pytest

from edgeosr.export.foreign.squashing import is_squashed, undone
from edgeosr.export.foreign.turned import smallest_is_right

IMAGES = 64


def single(rows):
    return np.asarray(rows, np.float32).astype(np.float64)


def logits(classes, gain=4.0, seed=0):
    """As a classifier has them after training: the own class stands out, more or less."""
    random = np.random.default_rng(seed)
    rows = random.normal(0, 1, (IMAGES, classes))
    rows[np.arange(IMAGES), np.arange(IMAGES) % classes] += random.uniform(0, 4, IMAGES)
    return single(gain * rows)


def log_softmax(rows):
    less = rows - rows.max(axis=1, keepdims=True)
    return less - np.log(np.exp(less).sum(axis=1, keepdims=True))


def softmax(rows):
    return np.exp(log_softmax(rows))


def sigmoid(rows):
    return 1 / (1 + np.exp(-rows))


def walk(steps):
    """Step back from the last of these; return where it ends, what was said on the way and in the end."""
    at, said = len(steps) - 1, []
    while True:
        before = {str(i): steps[i] for i in range(at)}
        step = undone(steps[at], before)
        if step is None:
            return at, said, is_squashed(steps[at], before)
        said.append(step.kind)
        at = int(step.name)


def chain(start, *ways):
    steps = [start]
    for way in ways:
        steps.append(single(way(steps[-1])))
    return steps


FROM_0_TO_1, MULTIPLE = "values from 0 to 1", "probabilities times a constant"
FLAT, EACH = "values that no longer rise with the score", "scores normalised for each image"
SQUASHED = {
    "softmax": ([softmax], ["probabilities"]),
    "softmax twice": ([softmax, softmax], ["probabilities"] * 2),
    "softmax three times": ([softmax] * 3, ["probabilities"] * 3),
    "sigmoid of a softmax": ([softmax, sigmoid], [FROM_0_TO_1, "probabilities"]),
    "softmax in 0..255": ([softmax, lambda p: 255 * p], [MULTIPLE]),
    "softmax in whole steps": ([softmax, lambda p: np.round(255 * p)], [MULTIPLE]),
    "softmax in -1..1": ([softmax, lambda p: 2 * p - 1], [MULTIPLE]),
    "smoothed softmax": ([softmax, lambda p: 0.9 * p + 0.1 / p.shape[1]], [MULTIPLE]),
    "one less a softmax": ([softmax, lambda p: 1 - p], [f"negated {MULTIPLE}"]),
    "log-softmax": ([log_softmax], ["log-probabilities"]),
    "log-softmax times a factor": ([lambda v: 3 * log_softmax(v)], ["log-probabilities times a constant"]),
    "negative log-softmax": ([log_softmax, np.negative], ["negative log-probabilities"]),
    "sigmoid": ([sigmoid], [FROM_0_TO_1]),
    "sigmoid in per cent": ([sigmoid, lambda p: 100 * p], ["sigmoids times a constant"]),
    "tanh": ([np.tanh], ["values squashed by a tanh"]),
    "exponential": ([lambda v: v / 8, np.exp], ["exponentials"]),
    "cut off": ([lambda v: np.clip(v, -1, 1)], [FLAT]),
    "less their maximum": ([lambda v: v - v.max(axis=1, keepdims=True)], [EACH]),
}


@pytest.mark.parametrize("classes", [3, 10, 400])
@pytest.mark.parametrize("squashed", SQUASHED)
def test_the_scores_before_a_squashed_output_are_found_and_what_it_holds_is_said(squashed, classes):
    ways, said = SQUASHED[squashed]
    steps = chain(logits(classes), *ways)
    at, found, rest = walk(steps)
    assert (found, rest) == (said, "")
    # The very scores, or a multiple of them.
    assert np.corrcoef(steps[at].ravel(), steps[0].ravel())[0, 1] > 1 - 1e-9


def test_with_two_classes_too_what_is_a_function_of_each_score_is_found():
    for ways in ([softmax, softmax], [softmax, sigmoid], [softmax, lambda p: 255 * p], [np.tanh]):
        assert walk(chain(logits(2), *ways))[::2] == (0, "")


def test_a_temperature_stays():
    assert walk(chain(logits(5), lambda v: v / 1.7, softmax))[:2] == (1, ["probabilities"])
    assert walk(chain(logits(5), lambda v: v / 5, np.tanh, lambda v: 30 * v))[0] == 1


def heads(classes, gain):
    """What honest heads give, with what is before it, the last one last."""
    random = np.random.default_rng(5)
    rows, bias = logits(classes, gain), random.normal(0, 1, classes)
    z = random.normal(0, 1, (IMAGES, classes))
    cosines = z / np.linalg.norm(z, axis=1, keepdims=True)
    centred = rows - rows.mean(axis=1, keepdims=True)
    # Nearly all embeddings lie on their class's prototype, but are of any length.
    around = random.normal(0, 0.03 / classes**0.5, (IMAGES, classes))
    sure = np.eye(classes)[np.arange(IMAGES) % classes] + around
    products = sure * random.uniform(1, 9, (IMAGES, 1))
    return {
        "straight": [rows],
        "with a bias": [rows, rows + bias],
        "with a large bias": [rows, rows + 100 * bias],
        "all above zero, with the same sum": [centred, centred + np.abs(rows).max() * 3 + bias],
        "scaled": [rows, 30 * rows],
        "a scale for each class": [rows, rows * np.abs(bias)],
        "centred": [rows, centred],
        "cosines": [z, cosines],
        "cosines, sure": [products, sure / np.linalg.norm(sure, axis=1, keepdims=True)],
        "scaled cosines": [z, cosines, gain * cosines],
        "a leaky end": [rows, np.where(rows > 0, rows, 0.1 * rows)],
        "mean of two": [rows, logits(classes, gain, 9), (rows + logits(classes, gain, 9)) / 2],
        "of unit length": [rows, rows / np.linalg.norm(rows, axis=1, keepdims=True)],
        "hard-sigmoid features": [np.clip(rows / 6 + 0.5, 0, 1) @ random.normal(0, 1, (classes, classes))],
        "the same for any image": [1e-6 * rows, 1e-6 * rows + bias],
    }


@pytest.mark.parametrize("gain", [0.01, 0.1, 1, 10, 100, 1000])
@pytest.mark.parametrize("classes", [2, 3, 10, 1000])
def test_honest_scores_of_any_scale_are_left_alone(classes, gain):
    for name, steps in heads(classes, gain).items():
        assert walk([single(each) for each in steps]) == (len(steps) - 1, [], ""), name


@pytest.mark.parametrize("classes", [2, 4, 100])
def test_a_mean_of_squashed_outputs_is_refused_by_what_it_holds(classes):
    one, other = logits(classes), logits(classes, seed=3)
    made = [softmax(one), softmax(other)]
    for scale, said in ((0.5, "probabilities"), (127.5, MULTIPLE)):
        assert walk([single(each) for each in (one, other, *made, scale * sum(made))])[2] == said
        steps = (one, other, *made, sum(made), scale * sum(made))
        assert walk([single(each) for each in steps])[2] == said


def test_where_squashed_outputs_are_mixed_and_no_longer_tell_images_apart_that_is_said():
    one, other = logits(5, 30), logits(5, 30) + 20 * logits(5, 1, seed=3)
    made = [np.tanh(one), np.tanh(other)]
    assert walk([single(each) for each in (one, other, *made, sum(made))])[2] == FLAT


def test_the_smallest_is_the_best_where_known_images_say_so():
    labels = np.arange(IMAGES) % 6
    distances = 30 - logits(6)
    assert smallest_is_right(distances, labels)
    assert not smallest_is_right(-distances, labels)
    # Images of no class of the model, and those without finite values, say nothing.
    assert smallest_is_right(np.vstack([distances, distances]), np.append(labels, np.full(IMAGES, -1)))
    assert not smallest_is_right(np.full_like(distances, np.inf), labels)
    assert not smallest_is_right(distances[:0], labels[:0])


def test_another_order_of_the_names_is_not_taken_for_another_sign():
    random, classes = np.random.default_rng(0), 4
    labels = np.arange(80) % classes
    order = np.array([2, 3, 0, 1])
    for _ in range(20):
        rows = random.normal(0, 1, (80, classes))
        rows[np.arange(80), order[labels]] += 6
        # Each class has one that it is least like: by bad luck the one whose name it got.
        rows[np.arange(80), labels] -= 6
        assert not smallest_is_right(rows, labels)
    assert not smallest_is_right(-logits(2), np.arange(IMAGES) % 2)


def test_of_a_soft_cap_the_factor_is_kept():
    scores = logits(5)
    capped = [scores, single(scores / 30), single(np.tanh(scores / 30)), single(30 * np.tanh(scores / 30))]
    step = undone(capped[-1], {str(i): rows for i, rows in enumerate(capped[:-1])})
    assert step is not None
    np.testing.assert_allclose(step.factor * capped[int(step.name)], scores, rtol=1e-5)
    assert undone(np.tanh(scores), {"0": scores}).factor == 1


def test_a_head_that_ends_in_a_relu6_is_left_alone_while_it_tells_classes_apart():
    scores = np.random.default_rng(2).uniform(-3, 5, (IMAGES, 6))
    scores[np.arange(IMAGES), np.arange(IMAGES) % 6] += np.where(np.arange(IMAGES) % 4, 8, 0)
    steps = chain(single(scores), lambda v: np.clip(v, 0, 6))
    assert walk(steps) == (1, [], "")
    assert walk(chain(logits(6, 30), lambda v: np.clip(v, 0, 6)))[:2] == (0, [FLAT])
