"""Each type of Hugging Face's image processors does what it likes with the numbers of its file."""

import json

import pytest

from edgeosr.errors import UsageError
from edgeosr.export.foreign.preprocessing_file import given_from_json

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def both(side):
    return {"height": side, "width": side}


def short(side):
    return {"shortest_edge": side}


def read(tmp_path, content, side=224):
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(content))
    return given_from_json(path, side, side)


def of(kind, **more):
    """What a file of today holds: it names its type, and numbers of two switches."""
    return {**HALF, "image_processor_type": f"{kind}ImageProcessor", "do_resize": True, "resample": 3, **more}


def old(kind, **more):
    """What a file of 2022 holds: one number as size."""
    return {**HALF, "feature_extractor_type": f"{kind}FeatureExtractor", "do_resize": True, **more}


CUT_48 = {"do_center_crop": True, "crop_size": both(48)}


@pytest.mark.parametrize(
    ("content", "side", "cut"),
    [
        # Both sides.
        (of("ViT", size=both(48)), 48, ("stretch", None, None)),
        (of("ViT", size=48), 48, ("stretch", None, None)),
        (of("ViT"), 224, ("stretch", None, None)),
        (of("ViT", size=both(48), do_center_crop=True, crop_size=48), 48, ("stretch", None, None)),
        (old("ViT", size=224), 224, ("stretch", None, None)),
        (of("Siglip", size=both(48), do_convert_rgb=True), 48, ("stretch", None, None)),
        (of("Segformer", size=both(48), do_reduce_labels=True), 48, ("stretch", None, None)),
        (of("Pvt", size=48), 48, ("stretch", None, None)),
        (of("DINOv3ViT"), 224, ("stretch", None, None)),
        (of("EfficientNet", size=both(48)), 48, ("stretch", None, None)),
        # Both sides, then the middle.
        (of("DeiT", size=56, crop_size=48), 48, ("stretch", 56, None)),
        (of("DeiT"), 224, ("stretch", 256, None)),
        (old("Beit", size=56, **CUT_48), 48, ("stretch", 56, None)),
        (of("Beit", size=both(48), do_center_crop=False, crop_size=both(40)), 48, ("stretch", None, None)),
        (of("EfficientNet", size=56, **CUT_48), 48, ("stretch", 56, None)),
        (of("EfficientFormer", size=56, **CUT_48), 48, ("stretch", 56, None)),
        # The shorter side, then the middle.
        (of("EfficientFormer", size=short(56), **CUT_48), 48, ("crop", 56, None)),
        (of("CLIP", size=short(56), **CUT_48), 48, ("crop", 56, None)),
        (old("CLIP", size=56, crop_size=48, do_center_crop=True), 48, ("crop", 56, None)),
        (of("CLIP", size=short(48), do_center_crop=False), 48, ("crop", 48, None)),
        (of("Bit", size=short(256)), 224, ("crop", 256, None)),
        (of("Bit", size=56, default_to_square=False, **CUT_48), 48, ("crop", 56, None)),
        (of("MobileNetV2"), 224, ("crop", 256, None)),
        (of("MobileViT", size=288), 256, ("crop", 288, None)),
        (
            of("PPLCNet", size=both(300), crop_size=48, resize_short=64, size_divisor=1),
            48,
            ("crop", 64, None),
        ),
        # ConvNeXT: a share, and nothing from 384 on.
        (of("ConvNext", size=short(48)), 48, ("crop", 54, None)),
        (of("ConvNext", size=short(224), crop_pct=0.9), 224, ("crop", 248, None)),
        (old("ConvNext", size=224, crop_pct=0.875), 224, ("crop", 256, None)),
        (of("ConvNext", size=short(384), crop_pct=0.95), 384, ("stretch", None, None)),
        (old("ConvNext", size=384), 384, ("stretch", None, None)),
        # LeViT: 256 / 224 of its size.
        (of("Levit", size=short(48), **CUT_48), 48, ("crop", 54, None)),
        (old("Levit", size=48, do_center_crop=True), 48, ("crop", 54, None)),
        (old("Levit", size=224, do_center_crop=True), 224, ("crop", 256, None)),
        (of("Levit", size=short(48), do_center_crop=False), 54, ("crop", 54, None)),
        (of("Levit", size=both(48), **CUT_48), 48, ("stretch", 48, None)),
        # PoolFormer: a share, whichever way its size is written.
        (of("PoolFormer", size=short(48), crop_pct=0.9, **CUT_48), 48, ("crop", 53, None)),
        (of("PoolFormer", size=both(48), crop_pct=0.9, **CUT_48), 48, ("crop", 53, None)),
        (of("PoolFormer", size=short(48), **CUT_48), 48, ("crop", 53, None)),
        (old("PoolFormer", size=48, crop_pct=0.95, do_resize_and_center_crop=True), 48, ("crop", 50, None)),
        # Perceiver: cut first, then resized.
        (of("Perceiver", size=56, crop_size=64, do_center_crop=True), 56, ("crop", None, 0.875)),
        (of("Perceiver", size=56, do_center_crop=False), 56, ("stretch", None, None)),
        # Nothing is resized.
        (of("ViT", do_resize=False), 224, ("crop", None, None)),
        (old("PoolFormer", do_resize=None, do_resize_and_center_crop=False), 224, ("crop", None, None)),
        # No type: as it says.
        ({**HALF, "size": 224}, 224, ("stretch", None, None)),
        ({**HALF, "size": both(256), "crop_size": 224}, 224, ("stretch", 256, None)),
        ({**HALF, "size": short(256), **CUT_48}, 48, ("crop", 256, None)),
    ],
)
def test_the_cut_is_what_the_type_makes_of_the_numbers(tmp_path, content, side, cut):
    given = read(tmp_path, content, side)
    assert (given.fit, given.resize_to, given.crop_fraction) == cut


@pytest.mark.parametrize(
    "ending", ["ImageProcessor", "ImageProcessorFast", "ImageProcessorPil", "FeatureExtractor"]
)
def test_a_type_is_known_by_all_its_names(tmp_path, ending):
    content = {**HALF, "image_processor_type": f"PoolFormer{ending}", "size": 48, **CUT_48}
    assert read(tmp_path, content, 48).resize_to == 53


def test_the_filter_is_that_of_the_file_or_of_the_type(tmp_path):
    assert read(tmp_path, of("ViT", resample=1)).resampling == "lanczos"
    assert read(tmp_path, of("ViT", resample=None)).resampling == "bilinear"
    assert read(tmp_path, old("CLIP")).resampling == "bicubic"


@pytest.mark.parametrize(
    ("content", "mean", "std"),
    [
        (of("ViT"), 0.5, 0.5),
        (of("ViT", image_mean=None, image_std=None), 0.5, 0.5),
        (of("Pvt", image_mean=None, image_std=None), 0.485, 0.229),
        (of("ViT", do_normalize=False), 0, 1),
        (of("ViT", do_normalize=False, do_rescale=False), 0, 1 / 255),
        (of("ViT", rescale_factor=1 / 127.5), 0.25, 0.25),
        # value - 127.5 over 127.5, without rescaling.
        (of("ViT", image_mean=127.5, image_std=127.5, do_rescale=False), 0.5, 0.5),
        # EfficientNet: the deviation twice, and to -1..1 before it.
        (of("EfficientNet"), 0.5, 0.25),
        (of("EfficientNet", include_top=True), 0.5, 0.25),
        (of("EfficientNet", include_top=False), 0.5, 0.5),
        (of("EfficientNet", do_normalize=False), 0, 0.5),
        (
            of(
                "EfficientNet",
                rescale_offset=True,
                rescale_factor=1 / 127.5,
                do_normalize=False,
                include_top=False,
            ),
            0.5,
            0.5,
        ),
        (of("EfficientNet", rescale_offset=True, do_rescale=False, include_top=False), 0.5 / 255, 0.5 / 255),
        # MobileViT never normalises.
        (of("MobileViT", size=256, do_normalize=True), 0, 1),
        ({"do_normalize": False, "do_rescale": False}, 0, 1 / 255),
    ],
)
def test_mean_and_std_are_those_of_rescaling_and_normalising_together(tmp_path, content, mean, std):
    given = read(tmp_path, content)
    assert (given.mean[0], given.std[0]) == pytest.approx((mean, std))


def test_a_type_that_turns_channels_round_takes_bgr(tmp_path):
    assert read(tmp_path, of("MobileViT", size=256)).color == "bgr"
    assert read(tmp_path, of("MobileViT", size=256, do_flip_channel_order=False)).color == "rgb"
    # It normalises first: its numbers belong to red, green and blue as they come.
    turned = read(tmp_path, of("PPLCNet", image_mean=MEAN[::-1], image_std=STD[::-1]))
    assert turned.color == "bgr" and turned.mean == tuple(MEAN[::-1])


@pytest.mark.parametrize("name", ["image_processor", "feature_extractor"])
def test_a_file_of_all_inputs_is_read_where_the_images_are(tmp_path, name):
    inner = of("Levit", size=short(48), **CUT_48)
    given = read(tmp_path, {"processor_class": "AProcessor", name: inner, "tokenizer": {"size": 3}}, 48)
    assert given.resize_to == 54 and given.mean == (0.5,) * 3


def test_what_is_only_assumed_is_told(tmp_path):
    assert read(tmp_path, of("ViT")).note == ""
    assert "names no image_processor_type" in read(tmp_path, {**HALF, "size": 224}).note
    assert "resizes nothing" in read(tmp_path, of("ViT", do_resize=False)).note
    half = read(tmp_path, {**HALF, "size": short(256), "crop_size": 224}, side=112)
    assert half.resize_to == 128 and "inputs of 224x224, and the model takes 112x112" in half.note


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (of("Swin2SR"), "cannot follow the type Swin2SRImageProcessor, which is none of beit"),
        (of("ImageGPT"), "which makes tokens.*write --fit, --resize, --mean, --std and --color by hand"),
        (of("TimmWrapper"), "timm's config.json"),
        (of("CLIP", crop_pct=0.9), "the key 'crop_pct' of the type clip"),
        (of("ViT", include_top=True), "the key 'include_top' of the type vit"),
        (of("ViT", do_sharpen=True), "the key 'do_sharpen'.*take it out of a copy"),
        ({**HALF, "size": short(224), "crop_pct": 0.9}, "'crop_pct' of a file that names no type"),
        (of("CLIP", do_resize=False, **CUT_48), "do_resize false beside do_center_crop"),
        (of("Beit", size=both(48)), "the type beit without do_center_crop"),
        (of("ViT", size=both(56), **CUT_48), "do_center_crop: expected false"),
        (of("ConvNext", size=short(56), **CUT_48), "do_center_crop: expected false"),
        (of("CLIP", size={"shortest_edge": 48, "longest_edge": 60}), "shortest_edge alone"),
        (of("CLIP", size={"max_height": 48}), "shortest_edge alone"),
        (of("CLIP", size=[48, 64]), "by their names"),
        (of("CLIP", size={"height": 48, "width": 64}, **CUT_48), "equal height and width"),
        (of("ViT", size=48, default_to_square=False), "default_to_square: expected what the type does"),
        ({**HALF, "size": 56, "crop_size": 48}, "no image_processor_type says which"),
        (of("PoolFormer", crop_pct=None), "crop_pct: expected a share"),
        (of("Perceiver", size=64, crop_size=56), "at least 64"),
        (of("PPLCNet", size_divisor=32), "size_divisor: expected 1"),
        (of("ViT", do_pad=True), "do_pad: expected false"),
        (of("ViT", image_std=[0, 1, 1]), r"image_std\[0\]: expected a number above 0"),
        (of("CLIP", size=short(40), **CUT_48), "at least crop_size"),
        ({"image_mean": MEAN}, "image_std must be in"),
        ({**HALF, "do_resize": True}, "size must be in"),
        ({"processor_class": "AProcessor"}, r"processor_config.json \(with image_processor\)"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(tmp_path, content, expected):
    with pytest.raises(UsageError, match=expected):
        read(tmp_path, content)


def test_a_switch_that_is_off_needs_no_understanding(tmp_path):
    assert read(tmp_path, of("ViT", do_thumbnail=False, crop_pct=None)).fit == "stretch"
