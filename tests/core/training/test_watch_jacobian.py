"""The watched Jacobian norm: what it is, that it changes nothing, and what it leaves."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from edgeosr.bench.jacobian_curves import curves, main
from edgeosr.data.catalogue import open_image_set
from edgeosr.data.parts import four_parts
from edgeosr.errors import DataError, UsageError
from edgeosr.preprocessing import Preprocessing
from edgeosr.training.jacobian_plot import draw_jacobian
from edgeosr.training.settings import TrainSettings, settings_from_json
from edgeosr.training.train import train
from edgeosr.training.train_run import resumed_settings
from edgeosr.training.watch_jacobian import jacobian_norms, probe_directions, watched_images

SIDE = 4


def network():
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).eval()


def exact_jacobian(module, image):
    """Return du/dx, ``[D, 3 S S]``, by reverse mode in float64."""
    module = module.double()

    def unit(x):
        z = module(x[None])[0]
        return z / z.norm()

    return torch.func.jacrev(unit)(image.double()).reshape(5, -1)


def log_of(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines()]


def test_with_every_direction_the_norm_is_the_exact_one():
    images = torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    directions = probe_directions(3 * SIDE * SIDE, SIDE, seed=0)
    norms = jacobian_norms(network(), images, directions)
    expected = [exact_jacobian(network(), image).norm() for image in images]
    assert torch.allclose(norms.double(), torch.stack(expected), rtol=1e-5)


def test_with_few_directions_it_is_their_scaled_share():
    images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    directions = probe_directions(5, SIDE, seed=7)
    flat = directions.reshape(5, -1).double()
    assert torch.allclose(flat @ flat.T, torch.eye(5, dtype=torch.float64), atol=1e-6)
    expected = [
        ((exact_jacobian(network(), image) @ flat.T).square().sum() * (3 * SIDE * SIDE / 5)).sqrt()
        for image in images
    ]
    norms = jacobian_norms(network(), images, directions)
    assert torch.allclose(norms.double(), torch.stack(expected), rtol=1e-5)


def test_more_directions_than_the_input_has_numbers_are_refused():
    with pytest.raises(UsageError, match="at most 48"):
        probe_directions(49, SIDE, seed=0)


def test_watching_changes_no_bit_of_the_weights_and_leaves_figures_and_a_picture(settings, tmp_path):
    short = dataclasses.replace(settings, epochs=2)
    plain = train(short)
    watched = train(
        dataclasses.replace(
            short, watch_jacobian=True, watch_images=6, watch_probes=2, out=tmp_path / "watched"
        )
    )
    before, after = (torch.load(run / "weights.pt", weights_only=True) for run in (plain, watched))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    for line in log_of(watched):
        seen = line["jacobian"]
        assert seen["known"]["images"] == seen["unknown"]["images"] == 6
        assert seen["difference"] == pytest.approx(seen["unknown"]["mean"] - seen["known"]["mean"])
        assert 0 <= seen["auroc"] <= 1
    assert not any("jacobian" in line for line in log_of(plain))
    with Image.open(watched / "jacobian.png") as image:
        picture = np.asarray(image.convert("L"))
    assert picture.shape[0] > 400
    assert picture.std() > 5  # something is drawn


def test_an_interrupted_watch_goes_on_to_the_same_figures(settings, tmp_path, monkeypatch):
    import edgeosr.training.loop as loop

    def watching(out):
        return dataclasses.replace(
            settings, epochs=2, watch_jacobian=True, watch_images=4, watch_probes=1, out=tmp_path / out
        )

    whole = train(watching("whole"))
    real = loop.train_epoch

    def interrupted(*arguments, **named):
        if named["epoch"] == 1:
            raise KeyboardInterrupt
        return real(*arguments, **named)

    monkeypatch.setattr(loop, "train_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(watching("halved"))
    monkeypatch.setattr(loop, "train_epoch", real)
    halved = train(resumed_settings(tmp_path / "halved", threads=1, folds=0))
    for one, other in zip(log_of(whole), log_of(halved), strict=True):
        for kind in ("known", "unknown"):
            assert one["jacobian"][kind] == other["jacobian"][kind]


def test_runs_from_before_the_watch_and_the_compiler_read_as_they_did():
    recorded = TrainSettings(data="digits").as_json()
    assert not {"watch_jacobian", "watch_probes", "compile"} & set(recorded)
    assert settings_from_json(recorded) == TrainSettings(data="digits")
    changed = TrainSettings(data="digits", watch_jacobian=True, compile=True)
    assert settings_from_json(changed.as_json()) == changed


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"watch_unknown": "dtd10"}, "add watch_jacobian"),
        (
            {"watch_jacobian": True, "arch": "efficientnet-lite0", "pretrained": True, "freeze": True},
            "freeze keeps it as it is",
        ),
        ({"watch_jacobian": True, "watch_images": 1}, "watch_images must be a whole number from 2"),
        ({"watch_jacobian": True, "watch_probes": 0}, "watch_probes must be a whole number from 1"),
    ],
)
def test_settings_that_cannot_watch_are_refused(changes, said):
    with pytest.raises(UsageError, match=said):
        TrainSettings(data="digits", **changes)


def test_without_unknown_images_nothing_is_trained(settings):
    every_class = dataclasses.replace(settings, known=None, watch_jacobian=True)
    with pytest.raises(UsageError, match="every class of "):
        train(every_class)
    assert not settings.out.exists()


def watched(settings, unknown_source):
    image_set = open_image_set(settings.data)
    parts = four_parts(image_set, known=settings.known)
    select = np.zeros((9, 16, 16, 3), np.uint8)
    return watched_images(
        parts, image_set, select, Preprocessing(height=16, width=16), images=5,
        unknown_source=unknown_source, data_root=None,
    )  # fmt: skip


def test_unknown_images_may_come_from_another_source(settings):
    images = watched(settings, "digits:8,9")
    assert len(images.known) == len(images.unknown) == 5
    other = open_image_set("digits:8,9").train
    pixels = {Preprocessing(height=16, width=16).resize(other.read(i)).tobytes() for i in range(len(other))}
    assert all(image.tobytes() in pixels for image in images.unknown)


def test_known_classes_are_refused_as_watched_unknown_images(settings):
    with pytest.raises(DataError, match="hold the known classes 1;"):
        watched(settings, f"{settings.data}:1,4")


def test_two_runs_are_drawn_side_by_side_and_their_numbers_written(settings, tmp_path, capsys):
    runs = [
        train(
            dataclasses.replace(
                settings, loss=loss, epochs=1, watch_jacobian=True, watch_images=4, watch_probes=1,
                out=tmp_path / loss,
            )
        )
        for loss in ("movr", "ce")
    ]  # fmt: skip
    main([*map(str, runs), "--out", str(tmp_path / "both.png"), "--json", str(tmp_path / "both.json")])
    document = json.loads((tmp_path / "both.json").read_text("utf-8"))
    assert [run["training"]["loss"] for run in document["runs"]] == ["movr", "ce"]
    assert [run["epochs"] for run in document["runs"]] == [log_of(run) for run in runs]
    with Image.open(tmp_path / "both.png") as both, Image.open(runs[0] / "jacobian.png") as single:
        assert both.width > single.width
    said = capsys.readouterr().out
    assert "JND" in said
    assert "eval mode" in said


def test_a_run_that_did_not_watch_is_refused(settings, tmp_path):
    run = train(dataclasses.replace(settings, epochs=1))
    with pytest.raises(UsageError, match="without --watch-jacobian"):
        curves([run], tmp_path / "picture.png")
    assert not (tmp_path / "picture.png").exists()


def test_a_run_with_larger_norms_is_drawn_whole_beside_one_with_smaller_ones(tmp_path):
    def lines(scale):
        part = {"images": 2, "mean": scale, "std": 0.0, "median": scale}
        seen = {"known": part, "unknown": part, "difference": 0.0, "auroc": 0.5, "seconds": 0.0}
        return [{"epoch": epoch, "jacobian": seen} for epoch in (1, 2)]

    def blue_in_the_right_half(scale):
        path = tmp_path / f"{scale}.png"
        draw_jacobian(path, [("small", lines(1.0)), ("large", lines(scale))], title="t", caption="c")
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB")).astype(int)
        # Known lies over unknown at equal norms: its blue line crosses the panel.
        right = pixels[:, pixels.shape[1] // 2 :]
        return int(((right[..., 2] - right[..., 0]) > 60).sum())

    assert blue_in_the_right_half(5.0) > 0.8 * blue_in_the_right_half(1.0)
