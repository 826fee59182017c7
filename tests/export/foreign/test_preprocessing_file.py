"""The JSON that a model was published with says its preprocessing, in the words of three projects."""

import json

import pytest

from edgeosr.errors import StorageError, UsageError
from edgeosr.export.foreign.preprocessing_file import given_from_json

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
TIMM = {"mean": MEAN, "std": STD, "input_size": [3, 224, 224], "crop_pct": 0.95, "interpolation": "bicubic"}


def read(tmp_path, content, side=224):
    path = tmp_path / "given.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return given_from_json(path, side, side)


@pytest.mark.parametrize(
    ("content", "side", "cut"),
    [
        ({"pretrained_cfg": TIMM}, 224, ("crop", None, 0.95, "bicubic")),
        (TIMM, 224, ("crop", None, 0.95, "bicubic")),
        ({"pretrained_cfg": {**TIMM, "crop_mode": "squash"}}, 224, ("stretch", None, 0.95, "bicubic")),
        ({"pretrained_cfg": {"mean": MEAN, "std": STD}}, 224, ("crop", None, 0.875, "bilinear")),
        (
            {"pretrained_cfg": {**TIMM, "test_input_size": [3, 288, 288], "test_crop_pct": 1.0}},
            288,
            ("crop", None, 1.0, "bicubic"),
        ),
        (
            {"task": "classify", "imgsz": [224, 224], "names": {"0": "cat"}},
            224,
            ("crop", None, 1.0, "bilinear"),
        ),
        ({"task": "classify", "imgsz": 224}, 224, ("crop", None, 1.0, "bilinear")),
    ],
)
def test_the_cut_and_the_filter_are_those_of_the_file(tmp_path, content, side, cut):
    given = read(tmp_path, content, side)
    assert (given.fit, given.resize_to, given.crop_fraction, given.resampling) == cut
    assert given.note == ""


@pytest.mark.parametrize(
    ("content", "mean", "std"),
    [
        ({"pretrained_cfg": TIMM}, MEAN[0], STD[0]),
        ({"task": "classify", "imgsz": 224}, 0, 1),
    ],
)
def test_mean_and_std_are_those_of_the_file(tmp_path, content, mean, std):
    given = read(tmp_path, content)
    assert (given.mean[0], given.std[0]) == pytest.approx((mean, std))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "is not valid JSON.*; take the file that came with the model, or give --mean and --std in its"),
        ("[]", "expected an object.*; take the file that came with the model"),
        ({}, "must be timm's config.json .*got .* with nothing in it"),
        ({"architectures": ["ViT"], "image_size": 224}, "preprocessor_config.json beside it"),
        ({"pretrained_cfg": {"mean": MEAN}}, "std is missing"),
        ({"pretrained_cfg": {**TIMM, "crop_pct": 0}}, "crop_pct: expected a share above 0"),
        ({"pretrained_cfg": {**TIMM, "crop_mode": "border"}}, "got border.*--fit letterbox"),
        ({"pretrained_cfg": {**TIMM, "input_size": [1, 28, 28]}}, "3 channels"),
        ({"pretrained_cfg": {**TIMM, "interpolation": "magic"}}, "interpolation: expected one of"),
        ({"task": "detect", "imgsz": 640}, "task: expected classify"),
    ],
)
def test_a_damaged_or_foreign_file_is_refused_with_what_was_expected(tmp_path, content, expected):
    with pytest.raises(UsageError, match=expected):
        read(tmp_path, content)


def test_a_file_that_is_too_large_or_not_there_is_refused(tmp_path):
    with pytest.raises(StorageError):
        given_from_json(tmp_path / "none.json", 224, 224)
    (tmp_path / "large.json").write_bytes(b" " * (2**20 + 1))
    with pytest.raises(UsageError, match="at most 1048576 bytes"):
        given_from_json(tmp_path / "large.json", 224, 224)


def test_a_byte_order_mark_in_front_is_no_damage(tmp_path):
    given = read(tmp_path, "\ufeff" + json.dumps(TIMM))
    assert given.mean == tuple(MEAN)
