"""The epoch and the weight of generated features: chosen where the discriminator has learnt nothing."""

import dataclasses
import os
import signal
import threading
import time

import numpy as np
import pytest

from edgeosr.errors import DataError
from edgeosr.metrics import auroc
from edgeosr.training.discriminator_choice import (
    OpenTask,
    Pick,
    choose,
    train_and_choose,
    train_best,
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
    choice = train_and_choose(task(3, shift=0.0), tasks, lambdas, QUICK, threads=2).choice
    curves = np.array(
        [
            [[epoch.select_auroc for epoch in train_best(one, (value,), QUICK)[0].history] for one in tasks]
            for value in lambdas
        ]
    )
    means = curves.mean(axis=1)
    best, epoch = np.unravel_index(means.argmax(), means.shape)
    assert choice.full == Pick(lambdas[best], epoch + 1)
    assert choice.tried == {value: mean for value, mean in zip(lambdas, means.max(axis=1), strict=True)}
    for i, own in enumerate(choice.own):
        assert own == choose(np.delete(curves, i, axis=1), lambdas).full
        assert choice.aurocs[i] == curves[lambdas.index(own.lambda_g), i, own.epoch - 1]


def test_the_chosen_discriminators_are_those_of_the_picked_epochs():
    tasks, whole = [task(0, shift=2.0), task(1, shift=-1.0)], task(2, shift=0.0)
    found = train_and_choose(whole, tasks, (0.2, 1.0), QUICK)
    picks = zip(
        [whole, *tasks], [found.choice.full, *found.choice.own], [found.full, *found.own], strict=True
    )
    for one, pick, made in picks:
        assert made.settings.lambda_g == pick.lambda_g and made.every == ()
        assert made.best_epoch == pick.epoch and len(made.history) == pick.epoch
        assert made.select_auroc is None and made.selected_by == "left-out classes"
        # The same as one that was trained so far and no further.
        stopped = dataclasses.replace(QUICK, lambda_g=pick.lambda_g, epochs=pick.epoch)
        (again,) = train_side_by_side([(dataclasses.replace(one, open_select=None), stopped)], 1, "")
        for mine, others in zip(made.layers, again.layers, strict=True):
            for array, other in zip(mine, others, strict=True):
                np.testing.assert_array_equal(array, other)
    for one, tried, made in zip(tasks, found.choice.aurocs, found.own, strict=True):
        scores = [-made.logits(side) for side in (one.known_select, one.open_select)]
        assert auroc(*scores) == pytest.approx(tried, abs=1e-4)


@pytest.mark.parametrize(("lambdas", "weight"), [((0.2, 1.0), 1.0), ((0.3,), 0.3)])
def test_a_task_alone_is_tried_with_what_nothing_chose(lambdas, weight):
    curves = np.random.default_rng(0).uniform(size=(len(lambdas), 1, 7))
    assert choose(curves, lambdas).own == (Pick(weight, 7),)


def test_where_there_is_nothing_to_tell_apart_the_tasks_say_so():
    """The best of sixty candidates on a task's own images would say 0.57."""
    random = np.random.default_rng(0)
    choices = [choose(0.5 + 0.06 * random.normal(size=(2, 3, 30)), (0.2, 1.0)) for _ in range(100)]
    found = np.array([choice.aurocs for choice in choices])
    assert abs(found.mean() - 0.5) < 4 * 0.06 / np.sqrt(found.size)
    assert np.mean([max(choice.tried.values()) for choice in choices]) > 0.57


def test_ctrl_c_ends_every_training_within_a_step():
    endless = OpenGanSettings(epochs=10**6, steps=10**6, batch=32)
    signal_at = []

    def interrupt():
        signal_at.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    # A shell that starts this in the background has it ignore the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Timer(0.5, interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            train_side_by_side([(task(seed, shift=1.0), endless) for seed in range(3)], 2, "")
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - signal_at[0] < 30


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


@pytest.mark.parametrize("at", [0, 1])
def test_a_failing_task_stops_the_others_with_its_own_error(at):
    broken = task(0, shift=1.0)
    broken.known_train[3, 2] = np.nan
    endless = OpenGanSettings(epochs=10**6, steps=10**6, batch=32)
    jobs = [(task(1, shift=1.0), endless)]
    jobs.insert(at, (broken, QUICK))
    with pytest.raises(DataError, match="known_train must be finite"):
        train_side_by_side(jobs, 2, "")
