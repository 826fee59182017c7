import dataclasses
import json
import re

import pytest

from edgeosr.errors import DataError, UsageError
from edgeosr.training.settings import CIRCUMSTANCES, TrainSettings, default_name, settings_from_json

FROZEN = {"arch": "efficientnet-lite0", "pretrained": True, "freeze": True}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"arch": "clasifier32"}, "did you mean 'classifier32'"),
        ({"arch": "timm:"}, "timm:NAME needs a model name"),
        ({"loss": "movrr"}, "did you mean 'movr'"),
        ({"epochs": 0}, "epochs must be a whole number from 1"),
        ({"epochs": True}, "epochs must be a whole number"),
        ({"batch_size": 1}, "batch_size must be a whole number from 2"),
        ({"lr": 0.0}, "lr must be a number above 0"),
        ({"lr": float("nan")}, "lr must be a number above 0"),
        ({"margin": 2.0}, "margin must be a number at least 0 and at most 1.57"),
        ({"known": ("a", "b"), "split": 0}, "give only one of them"),
        ({"resume": True}, "resume needs the run directory"),
        (
            {"pretrained": True, "arch": "classifier32"},
            "no pretrained weights for classifier32; leave --arch out",
        ),
        ({"freeze": True}, "needs pretrained weights"),
        ({"input_size": 8}, "needs an input of at least 16 pixels; got 8"),
        ({"fractions": (0.9, 0.1, 0.1)}, "sum to 1"),
        ({"fractions": (0.5, 0.1, 0.1)}, "sum to 1"),
        ({"fractions": (1.0, 0.0, 0.0)}, "shares above 0"),
        ({"test_fraction": 1.0}, "above 0 and below 1"),
        ({"weight_decay": 1e300}, "weight_decay must be a number at least 0 and at most 1e"),
        ({"lr": 1e39}, "lr must be a number above 0 and at most 1e"),
        ({"per_group": 10**20}, "per_group must be a whole number from 1 to 2147483647"),
        ({"epochs": 10**20}, "epochs must be a whole number from 1 to 2147483647"),
        ({"threads": 0}, "threads must be a whole number from 1 to 1024; got 0"),
        ({"seed": -1}, "seed must be a whole number from 0 to 4294967295; got -1"),
        ({"input_size": 5000}, "input_size must be a whole number from 1 to 4096"),
        ({"devices": 0}, "devices must be a whole number from 1"),
        ({"max_minutes": -1.0}, "max_minutes must be a number above 0"),
        ({"folds": 1}, "folds must be 0 (none) or a whole number from 2 to 64; got 1"),
        ({"folds": 65}, "folds must be 0 (none) or a whole number from 2 to 64; got 65"),
        ({"folds": True}, "folds must be 0 (none) or a whole number from 2 to 64; got True"),
        ({**FROZEN, "folds": 3}, "folds train the backbone again, but freeze keeps it as it is; got folds 3"),
        ({"fold_epochs": 0}, "fold_epochs must be a whole number from 1"),
        ({"fold_epochs": 5, "folds": 0}, "fold_epochs tells how long folds train, and there are none; got 5"),
        ({**FROZEN, "fold_epochs": 5}, "fold_epochs tells how long folds train"),
        ({"outliers": "x", "fold_epochs": 5}, "fold_epochs tells how long folds train"),
        ({"data": 3}, "data must be a text; got 3"),
        ({"data": None}, "data must be a folder of images"),
        ({"known": "cat,dog"}, "known must be a sequence of names, not one text; got 'cat,dog'"),
        ({"known": (1, 2)}, "known must be a sequence of names, such as"),
        ({"arch": 3}, "arch must be a text; got 3"),
        ({"arch": ""}, "arch must be one of"),
        ({"loss": 3}, "loss must be one of"),
        ({"out": 3}, "out must be a path, as text or pathlib.Path; got 3"),
        ({"outliers": "x", "discriminator": False}, "outliers are for the discriminator, which is left out"),
        ({"fractions": 0.8}, "fractions must be 3 numbers; got 0.8"),
        ({"fractions": ("a", 0.1, 0.1)}, "each of the 3 numbers of fractions must be a number; got 'a'"),
        ({"test_fraction": "a"}, "test_fraction must be a number; got 'a'"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_with_the_reason(wrong, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        TrainSettings(**{"data": "digits", **wrong})


def test_settings_survive_json_without_the_circumstances():
    settings = TrainSettings(
        data="digits", known=("0", "1"), fractions=(0.7, 0.1, 0.2), loss="ce", max_minutes=3, threads=1,
        folds=4, fold_epochs=5,
    )  # fmt: skip
    values = json.loads(json.dumps(settings.as_json()))
    assert not set(CIRCUMSTANCES) & set(values)
    assert settings_from_json(values, max_minutes=3, threads=1, folds=4, fold_epochs=5) == settings


def test_a_head_alone_trains_for_more_epochs_unless_told_otherwise():
    assert TrainSettings(data="digits").epochs == 30
    assert TrainSettings(data="digits", **FROZEN).epochs == 100
    assert TrainSettings(data="digits", **FROZEN, epochs=7).epochs == 7
    recorded = TrainSettings(data="digits", **FROZEN).as_json()
    assert recorded["epochs"] == 100 and settings_from_json(recorded).epochs == 100


def test_pretrained_weights_without_an_architecture_are_those_of_efficientnet_lite0():
    assert TrainSettings(data="digits").arch == "classifier32"
    assert TrainSettings(data="digits", pretrained=True, freeze=True).arch == "efficientnet-lite0"
    given = TrainSettings(data="digits", pretrained=True, arch="timm:resnet18")
    assert given.arch == "timm:resnet18"
    recorded = TrainSettings(data="digits", pretrained=True).as_json()
    assert (
        settings_from_json(recorded, resume=True, out="run").arch == recorded["arch"] == "efficientnet-lite0"
    )


def test_settings_of_another_version_are_refused():
    values = {**TrainSettings(data="digits").as_json(), "momentum": 0.8}
    with pytest.raises(DataError, match="momentum"):
        settings_from_json(values)


def test_every_setting_is_documented():
    for field in dataclasses.fields(TrainSettings):
        assert field.name in (TrainSettings.__doc__ or ""), field.name


def test_the_default_name_is_safe_as_a_directory():
    assert default_name(TrainSettings(data="gtsrb", split=0)) == "gtsrb-split0-classifier32-movr"
    assert default_name(TrainSettings(data="/data/my photos/:a,b", arch="timm:resnet10t")) == (
        "my_photos-timm-resnet10t-movr"
    )
