"""The epoch and the weight of generated features: chosen where the discriminator has learnt nothing."""

import numpy as np
import pytest

from edgeosr.metrics import auroc
from edgeosr.training.discriminator_choice import (
    OpenTask,
    choose,
    train_best,
    train_chosen,
    train_side_by_side,
)
from edgeosr.training.opengan_settings import OpenGanSettings

QUICK = OpenGanSettings(epochs=4, steps=10, batch=32)


def task(seed: int, *, shift: float, outliers: bool = False) -> OpenTask:
    """Known embeddings round one point, open ones ``shift`` away."""
    random = np.random.default_rng(seed)

    def around(count: int, centre: float):
        return (centre + random.normal(size=(count, 8))).astype(np.float32)

    return OpenTask(
        known_train=around(120, 0.0),
        known_select=around(60, 0.0),
        open_train=around(60, shift) if outliers else None,
        open_select=around(60, shift),
        kind="left-out classes",
    )


def test_the_choice_is_the_best_mean_over_all_tasks():
    tasks = [task(0, shift=2.0), task(1, shift=-2.0), task(2, shift=1.0)]
    lambdas = (0.2, 1.0)
    choice = choose(tasks, lambdas, QUICK, threads=2)
    curves = {
        value: np.array(
            [[epoch.select_auroc for epoch in train_best(one, (value,), QUICK)[0].history] for one in tasks]
        )
        for value in lambdas
    }
    means = np.stack([curves[value].mean(axis=0) for value in lambdas])
    best, epoch = np.unravel_index(means.argmax(), means.shape)
    assert (choice.lambda_g, choice.epoch) == (lambdas[best], epoch + 1)
    assert choice.aurocs == tuple(curves[choice.lambda_g][:, epoch])
    assert choice.tried == {value: mean for value, mean in zip(lambdas, means.max(axis=1), strict=True)}
    assert choice.auroc == pytest.approx(means.max())


def test_the_chosen_discriminator_is_the_one_that_was_tried():
    one = task(0, shift=2.0)
    choice = choose([one], (0.2, 1.0), QUICK)
    (made,) = train_chosen([one], choice, QUICK)
    assert made.best_epoch == choice.epoch and len(made.history) == choice.epoch
    assert made.select_auroc is None and made.selected_by == "left-out classes"
    scores = [-made.logits(side) for side in (one.known_select, one.open_select)]
    assert auroc(*scores) == pytest.approx(choice.aurocs[0], abs=1e-4)


def test_how_many_train_side_by_side_changes_no_bit():
    jobs = [(task(seed, shift=1.0), QUICK) for seed in range(3)]
    alone, together = (train_side_by_side(jobs, threads, "") for threads in (1, 3))
    for first, second in zip(alone, together, strict=True):
        for (weight, bias), (other_weight, other_bias) in zip(first.layers, second.layers, strict=True):
            np.testing.assert_array_equal(weight, other_weight)
            np.testing.assert_array_equal(bias, other_bias)


def test_with_outliers_the_best_of_several_weights_is_kept_and_all_are_told():
    best, tried = train_best(task(3, shift=0.7, outliers=True), (0.0, 0.2, 1.0), QUICK)
    assert set(tried) == {0.0, 0.2, 1.0}
    assert best.select_auroc == max(tried.values()) == tried[best.settings.lambda_g]


def test_a_failing_task_stops_the_others_with_its_own_error():
    broken = task(0, shift=1.0)
    broken.known_train[3, 2] = np.nan
    with pytest.raises(Exception, match="known_train must be finite"):
        train_side_by_side([(broken, QUICK), (task(1, shift=1.0), QUICK)], 2, "")
