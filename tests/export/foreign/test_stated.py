"""Options come before a preset or a file, and those before the defaults."""

import json

import pytest

from edgeosr.errors import UsageError
from edgeosr.export.foreign.presets import PRESETS
from edgeosr.export.foreign.stated import stated_preprocessing
from edgeosr.export.settings import ExportSettings


def stated(height=224, width=224, **options):
    return stated_preprocessing(ExportSettings(**options), height, width)


@pytest.mark.parametrize(
    ("name", "white", "black"),
    [
        ("imagenet", 2.2489, -2.1179),
        ("inception", 1, -1),
        ("tf", 1, -1),
        ("-1..1", 1, -1),
        ("clip", 1.9303, -1.7923),
        ("0..1", 1, 0),
        ("yolo", 1, 0),
        ("none", 1, 0),
        ("0..255", 255, 0),
        ("Caffe", 255 - 123.68, -123.68),
    ],
)
def test_a_preset_gives_the_red_of_white_and_black_that_its_name_stands_for(name, white, black):
    found = stated(preprocessing=name).preprocessing
    values = [(value - found.mean[0]) / found.std[0] for value in (1, 0)]
    assert values == pytest.approx([white, black], abs=1e-3)
    assert found.color == ("bgr" if name == "Caffe" else "rgb")
    assert (found.fit, found.crop_fraction, found.resize_to) == ("crop", 1, None)


def test_every_alias_is_a_name_of_the_command_line():
    assert all(name == name.lower() and " " not in name for name in PRESETS)


def test_mean_and_std_are_typed_in_the_models_order_and_kept_in_rgb():
    found = stated(color="bgr", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)).preprocessing
    assert found.mean == (0.3, 0.2, 0.1) and found.std == (0.6, 0.5, 0.4)
    # A preset's numbers belong to colours.
    swapped = stated(preprocessing="imagenet", color="bgr").preprocessing
    assert swapped.mean == stated().preprocessing.mean and swapped.color == "bgr"


def test_what_is_given_beside_a_preset_comes_first():
    found = stated(preprocessing="caffe", color="rgb", std=(0.5,) * 3, fit="stretch").preprocessing
    assert found.color == "rgb" and found.std == (0.5,) * 3 and found.fit == "stretch"
    assert found.mean == PRESETS["caffe"].mean


@pytest.mark.parametrize(
    ("size", "options", "resize_to", "fraction"),
    [
        ((224, 224), {"resize": 256}, 256, 1),
        ((224, 224), {"crop_fraction": 0.875}, 256, 1),
        ((224, 224), {"crop_fraction": 0.95}, 235, 1),
        ((64, 64), {"crop_fraction": 0.877}, 73, 1),
        ((224, 224), {"crop_fraction": 1.0}, 224, 1),
        ((224, 160), {"crop_fraction": 0.875}, None, 0.875),
        ((224, 160), {"resize": 256}, 256, 1),
        ((224, 224), {"resize": 256, "fit": "stretch"}, 256, 1),
    ],
)
def test_how_much_is_cut_off_is_pixels_or_a_share(size, options, resize_to, fraction):
    found = stated(*size, **options).preprocessing
    assert (found.resize_to, found.crop_fraction) == (resize_to, fraction)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"resize": 200}, "--resize must be at least 224"),
        ({"resize": 256, "fit": "letterbox"}, "--resize must be .*got 256 with --fit letterbox"),
        ({"crop_fraction": 0.9, "fit": "letterbox"}, "--crop-fraction must stand beside"),
        ({"resize": 256, "crop_fraction": 0.875}, "must not be given together"),
        ({"crop_fraction": 1.2}, "--crop-fraction must be above 0"),
        ({"resize": 0}, "--resize must be a whole number"),
        ({"std": (0.0, 1.0, 1.0)}, "--std must be above 0"),
        ({"preprocessing": "imagnet"}, "--preprocessing must be .*did you mean 'imagenet'"),
        ({"resampling": "cubic"}, "--resampling must be one of .*did you mean 'bicubic'"),
    ],
)
def test_what_does_not_fit_together_is_refused(options, expected):
    with pytest.raises(UsageError, match=expected):
        stated(**options)


def test_a_stretched_share_of_a_shape_that_is_not_square_is_refused():
    with pytest.raises(UsageError, match="must be for a square input; got 224x160"):
        stated(224, 160, fit="stretch", crop_fraction=0.9)


def test_a_fit_beside_a_file_leaves_its_cut_out(tmp_path):
    path = tmp_path / "config.json"
    cfg = {"mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 0.9, "input_size": [3, 224, 224]}
    path.write_text(json.dumps({"pretrained_cfg": cfg}))
    assert stated(preprocessing=str(path)).preprocessing.resize_to == 248
    assert stated(preprocessing=str(path), resize=256).preprocessing.resize_to == 256
    assert stated(preprocessing=str(path), fit="letterbox").preprocessing.resize_to is None
