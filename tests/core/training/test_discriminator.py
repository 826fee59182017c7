"""The discriminator step of a run, with small numbers of OpenGAN steps."""

import dataclasses
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from edgeosr.data.catalogue import open_image_set
from edgeosr.data.decode import decode_images
from edgeosr.data.grouping import grouped
from edgeosr.data.outlier_weighing import too_few_to_weigh
from edgeosr.data.parts import four_parts
from edgeosr.data.recorded import data_record, reopen_parts
from edgeosr.errors import DataError
from edgeosr.model.classifier import load_classifier
from edgeosr.run import read_discriminator, read_run
from edgeosr.training import discriminator_choice, open_tasks, opengan_settings
from edgeosr.training.discriminator import add_discriminator, outlier_halves
from edgeosr.training.train import _open, train
from edgeosr.training.train_run import resumed_settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuickOpenGan(opengan_settings.OpenGanSettings):
    """Few OpenGAN steps."""

    epochs: int = 2
    steps: int = 3


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Few OpenGAN steps and few synthetic images; what was passed last is kept."""
    real = discriminator_choice.train_discriminator
    passed = {}

    def recorded(*arguments, **named):
        passed.update(known_train=arguments[0], known_select=arguments[1], **named)
        return real(*arguments, **named)

    monkeypatch.setattr(discriminator_choice, "train_discriminator", recorded)
    monkeypatch.setattr(opengan_settings, "OpenGanSettings", QuickOpenGan)
    monkeypatch.setattr(open_tasks, "SYNTHETIC_PER_KIND", 4)
    return passed


def test_a_finished_run_gets_its_discriminator_afterwards(settings, changed, quick):
    run = train(changed(settings, epochs=1))
    assert read_discriminator(run) is None
    assert read_run(run).discriminator is None
    record = add_discriminator(run)
    assert read_run(run) == record
    layers = read_discriminator(run)
    assert [len(bias) for _, bias in layers] == record.discriminator["layers"][1:]
    assert record.discriminator["layers"] == [128, 512, 256, 128, 64, 1]
    assert record.discriminator["selected_by"] == "synthetic"
    assert len(record.discriminator["history"]) == 2
    assert record.outliers is None
    assert quick["open_train"] is None


def test_the_embeddings_are_those_of_the_best_weights_without_augmentation(settings, changed, quick):
    run = train(changed(settings, discriminator=True))
    record = read_run(run)
    _, parts = reopen_parts(data_record(record.data, "run.json"))
    pixels = decode_images(parts.select, record.preprocessing, description="").pixels / 255.0
    inputs = (pixels - np.array(record.preprocessing.mean)) / np.array(record.preprocessing.std)
    with torch.no_grad():
        z = load_classifier(run).backbone(torch.tensor(inputs.transpose(0, 3, 1, 2), dtype=torch.float32))
    np.testing.assert_allclose(quick["known_select"], z.numpy(), rtol=1e-4, atol=1e-5)
    assert len(quick["known_train"]) == len(parts.train)


def test_real_outliers_are_cut_into_disjoint_halves_and_are_no_longer_unknown(settings, changed, quick):
    outliers = f"{settings.data}:3"
    run = train(changed(settings, epochs=1, discriminator=True, outliers=outliers))
    record = read_run(run)
    assert record.outliers == {"source": outliers, "classes": ["3"], "train": 12, "select": 12}
    assert record.discriminator["selected_by"] == "real"
    assert record.data["unknown"] == ["4"]
    assert len(quick["open_train"]) == len(quick["open_select"]) == 12
    image_set, parts = reopen_parts(data_record(record.data, "run.json"))
    halves = outlier_halves(outliers, parts, image_set, None)
    # Three weights of generated features were tried on the outliers that it did not learn from.
    assert set(record.discriminator["tried_lambda_g"]) == {"0", "0.2", "1"}
    best = max(record.discriminator["tried_lambda_g"].values())
    assert record.discriminator["select_auroc"] == best
    assert record.discriminator["tried_lambda_g"][f"{record.discriminator['lambda_g']:g}"] == best
    names = [{half.name_of(i) for i in range(len(half))} for half in (halves.train, halves.select)]
    assert not names[0] & names[1]
    assert len(names[0] | names[1]) == 24
    again = outlier_halves(outliers, parts, image_set, None)
    assert [again.train.name_of(i) for i in range(12)] == [halves.train.name_of(i) for i in range(12)]


def test_outliers_of_a_known_class_are_refused_before_training(settings, changed):
    with pytest.raises(DataError, match="hold the known classes 2"):
        train(changed(settings, discriminator=True, outliers=f"{settings.data}:2,3"))
    assert not settings.out.exists()


def test_a_run_stopped_before_its_discriminator_gets_it_by_resuming(settings, changed, monkeypatch, capsys):
    def interrupted(*arguments, **named):
        raise KeyboardInterrupt

    settings = changed(settings, epochs=1, discriminator=True)
    with monkeypatch.context() as patch:
        patch.setattr(discriminator_choice, "train_discriminator", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(settings)
    assert f"edgeosr train --resume {settings.out}" in capsys.readouterr().err
    assert read_run(settings.out).discriminator is None
    train(resumed_settings(settings.out, folds=0))
    assert read_run(settings.out).discriminator is not None


def test_images_that_changed_after_training_are_refused(settings, changed, tmp_path, digits_folder):
    copy = tmp_path / "copy"
    shutil.copytree(digits_folder, copy)
    run = train(changed(settings, data=str(copy), epochs=1))
    (copy / "0" / "000.png").unlink()
    with pytest.raises(DataError, match="changed since the run was trained"):
        add_discriminator(run)


def test_outliers_of_another_set_may_share_class_names(settings, changed, tmp_path, digits_folder):
    record = read_run(train(changed(settings, epochs=1)))
    _, parts = reopen_parts(data_record(record.data, "run.json"))
    other = tmp_path / "other"
    shutil.copytree(digits_folder, other)
    halves = outlier_halves(str(other), parts, open_image_set(settings.data), None)
    assert len(halves.train) + len(halves.select) == 5 * 24


def sessions_of(half, session):
    return {session(half.name_of(i)) for i in range(len(half))}


@pytest.mark.parametrize("place", ["same", "other"])
@pytest.mark.parametrize("asked", ["pattern", "file", "none"])
def test_outliers_have_the_groups_that_the_user_names(digits_folder, tmp_path, asked, place):
    # Sessions that no picture tells: all names of one last digit, or every four names.
    named = tmp_path / "sessions.csv"
    names = [f"{name}/{i:03}.png" for name in range(5) for i in range(24)]
    named.write_text("".join(f"{name},{int(name[2:5]) // 4}\n" for name in names))
    rule = {"pattern": r"(\d)\.png$", "file": str(named), "none": "none"}[asked]
    image_set = grouped(open_image_set(str(digits_folder)), rule)
    parts = four_parts(image_set, known=("0", "1", "2"))
    named.unlink()  # a run goes on without it
    outliers = digits_folder
    if place == "other":
        outliers = tmp_path / "other"
        shutil.copytree(digits_folder, outliers)
        for i in range(20, 24):  # copies of one picture, which only "none" lets into both halves
            shutil.copy(outliers / "3" / "000.png", outliers / "3" / f"{i:03}.png")
    halves = outlier_halves(f"{outliers}:3", parts, image_set, None)
    assert len(halves.train) + len(halves.select) == 24
    by_digit, by_four = (lambda name: name[-5]), (lambda name: int(name[-7:-4]) // 4)
    for kind, session in (("pattern", by_digit), ("file", by_four)):
        apart = not sessions_of(halves.train, session) & sessions_of(halves.select, session)
        assert apart == (asked == kind and (kind, place) != ("file", "other"))
    if asked == "none":
        assert len(halves.train) == len(halves.select) == 12


def test_a_pattern_for_other_names_says_nothing_of_outliers_of_another_set(digits_folder, tmp_path):
    image_set = grouped(open_image_set(str(digits_folder)), r"(\d)\.png$")
    for i in range(8):
        source, place = (
            digits_folder / "3" / f"00{i // 2}.png",
            tmp_path / "other" / "things" / f"{'abcdefgh'[i]}.png",
        )
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, place)
    halves = outlier_halves(str(tmp_path / "other"), four_parts(image_set, known=("0", "1")), image_set, None)
    pairs = [
        sessions_of(half, lambda name: "abcdefgh".index(name[-5]) // 2)
        for half in (halves.train, halves.select)
    ]
    assert len(pairs[0]) == len(pairs[1]) == 2 and not pairs[0] & pairs[1]


@pytest.mark.parametrize(
    ("images", "groups", "told"), [(20, 20, False), (19, 19, True), (200, 10, False), (200, 4, True)]
)
def test_a_training_tells_before_it_starts_what_the_export_will_say_of_too_few_outliers(
    images, groups, told, settings, changed, monkeypatch, capsys
):
    """``images``: of the half that the discriminator does not learn from, in ``groups`` of near copies."""
    settings = changed(settings, data="digits", discriminator=True, outliers="others")
    select = four_parts(open_image_set("digits"), known=settings.known).unknown_test
    rows = np.arange(images) % len(select)
    half = dataclasses.replace(select.subset(rows), groups=np.arange(images) % groups)
    halves = SimpleNamespace(train=half, select=half)
    monkeypatch.setattr("edgeosr.training.train.outlier_halves", lambda *arguments: halves)
    material = _open(settings)
    known = material.parts.select
    few = too_few_to_weigh(len(known), images, known.groups, half.groups)
    assert bool(few) == told
    assert (f"note: {few}\n" in capsys.readouterr().err) == told
