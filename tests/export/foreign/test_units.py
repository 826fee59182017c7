"""Mean and std may be of values in 0..1 or in 0..255, and never one of each."""

import pytest

from edgeosr.errors import UsageError
from edgeosr.export.foreign.units import of_one
from edgeosr.export.settings import ExportSettings

IMAGENET_255 = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ((0.5,) * 3, (0.5,) * 3),
        ((0.0,) * 3, (1.0,) * 3),
        ((0.0,) * 3, (1 / 255,) * 3),
        ((0.5,) * 3, (1.0,) * 3),
        ((0.3, 0.3, 0.3), None),
        (None, (0.2,) * 3),
        (None, None),
    ],
)
def test_values_of_0_1_stay_as_they_are(mean, std):
    assert of_one(mean, std, beside_preset=False) == (mean, std, "")


@pytest.mark.parametrize(
    ("mean", "std", "means", "stds"),
    [
        (*IMAGENET_255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ((127.5,) * 3, (127.5,) * 3, (0.5,) * 3, (0.5,) * 3),
        ((103.939, 116.779, 123.68), (1.0,) * 3, (0.40760, 0.45796, 0.48502), (1 / 255,) * 3),
        ((0.0,) * 3, (255.0,) * 3, (0.0,) * 3, (1.0,) * 3),
    ],
)
def test_values_of_0_255_are_converted_and_said(mean, std, means, stds):
    found = of_one(mean, std, beside_preset=False)
    assert found.mean == pytest.approx(means, abs=1e-5) and found.std == pytest.approx(stds, abs=1e-5)
    assert "taken as of values in 0..255; in 0..1: --mean " in found.note


@pytest.mark.parametrize(
    ("mean", "std", "expected"),
    [
        (IMAGENET_255[0], (0.229, 0.224, 0.225), "one of each"),
        ((0.485, 0.456, 0.406), IMAGENET_255[1], "one of each"),
        ((103.9, 116.8, 123.7), (0.017,) * 3, "a factor such as 0.017 is 1 / std"),
        ((0.5, 116.28, 103.53), None, "which is neither"),
        ((0.0,) * 3, (1.2, 0.9, 1.1), "which is neither"),
        (IMAGENET_255[0], None, "--std must be given too.*--preprocessing imagenet"),
        (None, IMAGENET_255[1], "--mean must be given too"),
    ],
)
def test_what_cannot_be_told_is_refused_before_anything_is_read(mean, std, expected):
    with pytest.raises(UsageError, match=expected):
        ExportSettings(mean=mean, std=std)


def test_beside_a_preset_one_of_them_may_stand_alone():
    assert ExportSettings(preprocessing="inception", mean=(127.5,) * 3).std is None
