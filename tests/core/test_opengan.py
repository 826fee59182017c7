"""OpenGAN on features: real digits, their pixels as features, some classes known and some never seen."""

import dataclasses
import itertools
import json
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from edgeosr.errors import DataError, TrainingError, UsageError
from edgeosr.metrics import auroc
from edgeosr.training import opengan_loop
from edgeosr.training.opengan import (
    Discriminator,
    OpenGanSettings,
    fold_standardisation,
    train_discriminator,
)

DIGITS = load_digits()
FEATURES = DIGITS.data.astype(np.float32)  # 64 pixels, some of them constant
KNOWN = FEATURES[DIGITS.target < 6]
OUTLIERS = FEATURES[np.isin(DIGITS.target, (6, 7))]
UNKNOWN = FEATURES[DIGITS.target >= 8]  # the test unknowns: neither trained on nor selected by
QUICK = OpenGanSettings(epochs=3, steps=10, batch=64)


def train(settings: OpenGanSettings = QUICK, **changes) -> Discriminator:
    arguments = {
        "known_train": KNOWN[:800], "known_select": KNOWN[800:900],
        "open_train": OUTLIERS[::2], "open_select": OUTLIERS[1::2], "open_select_kind": "real",
    }  # fmt: skip
    return train_discriminator(**{**arguments, **changes}, settings=settings)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small gain nothing from threads, and lose much where other work holds the processor."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def trained() -> Discriminator:
    return train(OpenGanSettings(epochs=6, steps=30))


def network(discriminator: Discriminator) -> torch.nn.Sequential:
    """What a deployment builds from the layers, in float32 and eval mode."""
    modules: list[torch.nn.Module] = []
    for weight, bias in discriminator.layers:
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
        linear.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})
        modules += [linear, torch.nn.LeakyReLU(discriminator.slope)]
    return torch.nn.Sequential(*modules[:-1]).eval()


def test_one_image_at_a_time_gives_the_batchs_logits_to_1e_5(trained):
    mixed = np.concatenate([KNOWN[900:950], UNKNOWN[:50]])
    together = trained.logits(mixed)
    assert together.shape == (100,) and together.dtype == np.float32
    alone = np.concatenate([trained.logits(row[None]) for row in mixed])
    np.testing.assert_allclose(alone, together, atol=1e-5, rtol=0)
    # The company an image keeps does not matter either: known first, unknown first, or only unknown.
    np.testing.assert_allclose(trained.logits(mixed[::-1])[::-1], together, atol=1e-5, rtol=0)
    np.testing.assert_allclose(trained.logits(mixed[50:]), together[50:], atol=1e-5, rtol=0)
    # And the same of the float32 network that ships.
    module = network(trained)
    with torch.no_grad():
        batch = module(torch.from_numpy(mixed))
        singles = torch.cat([module(torch.from_numpy(row[None])) for row in mixed])
    assert torch.equal(module.train()(torch.from_numpy(mixed)), batch)  # no mode to forget
    np.testing.assert_allclose(singles.numpy(), batch.numpy(), atol=1e-5, rtol=0)
    np.testing.assert_allclose(batch.numpy()[:, 0], together, atol=1e-4, rtol=0)


def test_it_has_the_layers_of_the_reference_and_nothing_else(trained):
    shapes = [(weight.shape, bias.shape) for weight, bias in trained.layers]
    sizes = (64, 512, 256, 128, 64, 1)
    assert shapes == [((after, before), (after,)) for before, after in itertools.pairwise(sizes)]
    assert all(array.dtype == np.float32 for layer in trained.layers for array in layer)
    made = opengan_loop.make_discriminator(64, torch.Generator().manual_seed(0))
    assert {type(module) for module in made} == {torch.nn.Linear, torch.nn.LeakyReLU}


@pytest.mark.parametrize("dimension", [1, 128, 1280])
def test_standardisation_folded_into_the_first_layer_gives_the_same_outputs(dimension):
    random = np.random.default_rng(dimension)
    weight, bias = random.normal(size=(512, dimension)), random.normal(size=512)
    mean, std = random.normal(size=dimension) * 3, random.uniform(0.01, 5, size=dimension)
    features = mean + std * random.normal(size=(20, dimension))
    folded_weight, folded_bias = fold_standardisation(weight, bias, mean, std)
    expected = ((features - mean) / std) @ weight.T + bias
    scale = np.abs((features / std)[:, None] * weight).sum(axis=2)  # float32 rounding is relative to this
    assert (np.abs(features @ folded_weight.T + folded_bias - expected) < 2e-6 * (1 + scale)).all()


def test_the_folded_layers_give_the_logits_that_were_trained(monkeypatch):
    seen = {}
    inner = opengan_loop.train_layers

    def spy(known, known_select, *others):
        seen["standardised"] = known_select
        seen["layers"], history, best = inner(known, known_select, *others)
        return seen["layers"], history, best

    monkeypatch.setattr(opengan_loop, "train_layers", spy)
    trained = train()
    unfolded = dataclasses.replace(trained, layers=seen["layers"])
    standardised = seen["standardised"]
    np.testing.assert_allclose(
        trained.logits(KNOWN[800:900]), unfolded.logits(standardised), atol=1e-4, rtol=0
    )


def test_a_channel_that_is_dead_on_known_images_cannot_drown_the_others():
    known, dead = KNOWN[:800].copy(), 20
    known[:, dead] = 3.0
    trained = train(known_train=known)
    scales = np.abs(trained.layers[0][0]).mean(axis=0)
    assert scales[dead] < 5 * np.median(scales)


def test_with_outliers_it_tells_unknown_classes_that_it_never_saw(trained):
    fresh = KNOWN[900:]
    assert auroc(-trained.logits(fresh), -trained.logits(UNKNOWN)) > 0.7
    assert trained.logits(fresh).mean() > trained.logits(UNKNOWN).mean()


def test_the_epoch_with_the_best_select_auroc_is_the_one_that_ships(trained):
    figures = [epoch.select_auroc for epoch in trained.history]
    assert [epoch.epoch for epoch in trained.history] == [1, 2, 3, 4, 5, 6]
    assert trained.select_auroc == max(figures)
    assert trained.best_epoch == 1 + figures.index(max(figures))
    measured = auroc(-trained.logits(KNOWN[800:900]), -trained.logits(OUTLIERS[1::2]))
    assert measured == pytest.approx(trained.select_auroc, abs=1e-4)


def test_an_early_best_epoch_is_kept_although_training_went_on():
    # Known select features against themselves but for one image: AUROC moves at random around a half.
    noise = np.random.default_rng(0).normal(size=(60, 64)).astype(np.float32)
    for seed in range(5):
        settings = dataclasses.replace(QUICK, seed=seed, epochs=6, steps=3, lr_d=3e-3)
        trained = train(settings, known_select=noise[:30], open_select=noise[30:])
        if trained.best_epoch < 6:
            break
    shorter = train(dataclasses.replace(settings, epochs=trained.best_epoch),
                    known_select=noise[:30], open_select=noise[30:])  # fmt: skip
    assert trained.best_epoch < 6
    assert all(
        np.array_equal(one, other)
        for layers in zip(trained.layers, shorter.layers, strict=True)
        for one, other in zip(*layers, strict=True)
    )


def test_the_seed_decides_everything_and_the_global_random_state_is_left_alone():
    torch.manual_seed(11)
    before = torch.get_rng_state()
    first = train()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(12)
    second, other = train(), train(dataclasses.replace(QUICK, seed=1))
    assert first.history == second.history
    np.testing.assert_array_equal(first.logits(UNKNOWN), second.logits(UNKNOWN))
    assert np.abs(first.logits(UNKNOWN) - other.logits(UNKNOWN)).max() > 1e-3


@pytest.mark.parametrize(("asked", "taken"), [(None, 1), (2, 2)])
def test_it_trains_on_one_thread_or_as_many_as_asked_and_leaves_torchs_own_count(monkeypatch, asked, taken):
    seen = set()
    real = opengan_loop._Trainer.step

    def noted(trainer):
        seen.add(torch.get_num_threads())
        return real(trainer)

    monkeypatch.setattr(opengan_loop._Trainer, "step", noted)
    torch.set_num_threads(3)
    try:
        train(threads=asked)
        assert (seen, torch.get_num_threads()) == ({taken}, 3)
        with pytest.raises(TrainingError, match="is not finite"):
            train(dataclasses.replace(QUICK, lr_d=1e30))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(1)


def test_without_outliers_only_generated_features_are_fought():
    epoch = train(open_train=None).history[0]
    assert epoch.loss_outliers is None
    assert all(np.isfinite([epoch.loss_known, epoch.loss_generated, epoch.loss_generator, epoch.diversity]))


def test_without_a_generator_it_is_a_plain_outlier_classifier():
    trained = train(OpenGanSettings(lambda_g=0, epochs=4, steps=40))
    last = trained.history[-1]
    assert (last.loss_generated, last.loss_generator, last.diversity) == (None, None, None)
    assert last.loss_known < 0.4 and last.loss_outliers < 0.4


def test_lambda_o_of_zero_is_training_without_outliers():
    without = train(open_train=None)
    zero = train(dataclasses.replace(QUICK, lambda_o=0.0))
    np.testing.assert_array_equal(zero.logits(UNKNOWN), without.logits(UNKNOWN))


def test_lambda_g_moves_the_balance_towards_known():
    light, heavy = (
        train(OpenGanSettings(lambda_g=value, epochs=1, steps=60), open_train=None) for value in (0.05, 5.0)
    )
    assert light.logits(KNOWN).mean() > heavy.logits(KNOWN).mean() + 0.5


def test_the_generator_learns_to_look_known():
    random = torch.Generator().manual_seed(0)
    known = torch.from_numpy((KNOWN - KNOWN.mean(axis=0)) / (KNOWN.std(axis=0) + 1))
    trainer = opengan_loop._Trainer(known, None, OpenGanSettings(lr_d=1e-9, lr_g=1e-3), random)
    losses = [trainer.step()[3] for _ in range(30)]  # D hardly moves: G alone must bring its loss down
    assert losses[-1] < 0.5 * losses[0]


def test_a_collapsed_generator_shows_in_the_diversity():
    random = torch.Generator().manual_seed(0)
    known = torch.from_numpy(KNOWN / KNOWN.std())
    trainer = opengan_loop._Trainer(known, None, OpenGanSettings(), random)
    assert trainer.generator is not None
    last = trainer.generator[-1]
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        last.bias.copy_(known[0])
        last.weight.zero_()
    assert trainer.diversity() == pytest.approx(0, abs=1e-6)
    # A generator that returned known features would stand at one.
    trainer.generator.forward = lambda noise: known[torch.randperm(len(known))[: len(noise)]]  # type: ignore
    assert trainer.diversity() == pytest.approx(1, abs=0.05)


def test_fewer_features_than_a_batch_are_used_again_and_again():
    trained = train(known_train=KNOWN[:5], open_train=OUTLIERS[:1])
    assert np.isfinite(trained.logits(UNKNOWN)).all()
    batches = opengan_loop._batches(torch.arange(5.0)[:, None], 3, torch.Generator().manual_seed(0))
    drawn = torch.cat([next(batches) for _ in range(5)])
    assert np.unique(drawn.numpy(), return_counts=True)[1].tolist() == [3] * 5


def test_the_history_is_plain_json(trained):
    plain = [json.loads(json.dumps(epoch.as_json(), allow_nan=False)) for epoch in trained.history]
    assert set(plain[0]) == {
        "epoch", "loss_known", "loss_outliers", "loss_generated", "loss_generator", "select_auroc",
        "diversity",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"known_select": KNOWN[:0]}, DataError, r"known_select must be .*\[n, 64\] with n >= 1"),
        ({"open_select": UNKNOWN[:, :63]}, DataError, "open_select must be embeddings"),
        ({"open_train": np.full((3, 64), np.nan, np.float32)}, DataError, "3 of 3 embeddings are not"),
        ({"known_train": np.ones((50, 64), np.float32)}, TrainingError, "collapsed"),
        ({"open_select_kind": "sythetic"}, UsageError, "did you mean 'synthetic'"),
    ],
)
def test_features_that_cannot_be_used_are_refused_with_the_reason(changes, error, words):
    with pytest.raises(error, match=words):
        train(**changes)


def test_nothing_to_train_against_is_refused():
    with pytest.raises(UsageError, match="something to tell known embeddings from"):
        train(dataclasses.replace(QUICK, lambda_g=0.0), open_train=None)


def test_a_loss_that_is_not_finite_stops_with_the_settings_to_change():
    with pytest.raises(TrainingError, match="lower lr_d"):
        train(OpenGanSettings(lr_d=1e30, epochs=2, steps=20))


@pytest.mark.parametrize(
    "wrong",
    [{"batch": 1}, {"epochs": 0}, {"steps": 2.5}, {"seed": -1}, {"lambda_g": -1.0},
     {"lambda_o": float("nan")}, {"lr_g": 0.0}, {"lr_d": float("inf")}, {"noise": True}],
)  # fmt: skip
def test_settings_are_checked_when_made(wrong):
    with pytest.raises(UsageError, match=f"OpenGAN {next(iter(wrong))} must be"):
        OpenGanSettings(**wrong)


def test_the_settings_need_no_torch():
    import subprocess
    import sys

    code = "import sys, edgeosr.training.opengan as o; o.OpenGanSettings(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
