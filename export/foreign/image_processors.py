"""What the image processors of Hugging Face's classifiers do, by the type that a file names.

A file lists numbers, not what is done with them: one number as size, or a share to cut off, means something
else in each processor. Where a file leaves a number out, that of the type holds.
"""

from dataclasses import dataclass
from typing import Literal

from edgeosr.export.foreign.presets import CLIP, IMAGENET, INCEPTION, Preset

# convnext: a share is cut off, but nothing from 384 pixels on. levit: the shorter side times 256 / 224.
# poolformer: by a share of its own. perceiver: cut first, then resized. short: to resize_short.
Way = Literal["plain", "convnext", "levit", "poolformer", "perceiver", "short"]
# Whether do_center_crop holds where it is left out. never: there is no such switch; with size: beside a
# crop_size; stated: the file must say, for versions of transformers differ.
Crops = Literal["never", "no", "yes", "with size", "stated"]


@dataclass(frozen=True, kw_only=True)
class Processor:
    """One type of image processor.

    Attributes:
        way: how it resizes.
        shorter: True if one number as size is the shorter side; False if both sides get it.
        side: the size that it has without one; None if the file must say.
        crops: whether it cuts something out where the file does not say.
        cut: the side of what it cuts out where the file does not say; None for the size itself.
        values: mean and std that it takes without any; None if the file must have them.
        normalises: False if it never does, whatever the file says.
        resampling: the filter without one.
        bgr: True if it turns the channels round, after all else and if its switch does not say otherwise.
        own: keys that only it reads.
    """

    way: Way = "plain"
    shorter: bool = False
    side: int | None = 224
    crops: Crops = "never"
    cut: int | None = None
    values: Preset | None = INCEPTION
    normalises: bool = True
    resampling: str = "bilinear"
    bgr: bool = False
    own: tuple[str, ...] = ()


_OF_CLIP = Processor(shorter=True, crops="yes", cut=224, values=CLIP, resampling="bicubic")
_MOBILENET = Processor(shorter=True, side=256, crops="yes", cut=224)
# By the name before "ImageProcessor" or "FeatureExtractor", in small letters. Some stand for many networks:
# ConvNext for ResNet, RegNet, VAN and CvT; ViT for Swin; Bit for DINOv2, FocalNet and Hiera.
PROCESSORS = {
    "beit": Processor(side=None, crops="stated", cut=224, resampling="bicubic"),
    "bit": _OF_CLIP,
    "clip": _OF_CLIP,
    "convnext": Processor(way="convnext", shorter=True, side=384, own=("crop_pct",)),
    "deit": Processor(side=256, crops="yes", cut=224, resampling="bicubic"),
    "dinov3vit": Processor(values=IMAGENET),
    "efficientformer": Processor(crops="yes", cut=224, values=IMAGENET, resampling="bicubic"),
    "efficientnet": Processor(
        side=346, crops="no", cut=289, resampling="nearest", own=("include_top", "rescale_offset")
    ),
    "levit": Processor(way="levit", shorter=True, crops="yes", values=IMAGENET, resampling="bicubic"),
    "mobilenetv1": _MOBILENET,
    "mobilenetv2": _MOBILENET,
    "mobilevit": Processor(
        shorter=True, crops="yes", cut=256, normalises=False, bgr=True, own=("do_flip_channel_order",)
    ),
    "perceiver": Processor(way="perceiver", crops="yes", cut=256, values=IMAGENET, resampling="bicubic"),
    "poolformer": Processor(
        way="poolformer",
        shorter=True,
        crops="yes",
        values=IMAGENET,
        resampling="bicubic",
        own=("crop_pct", "do_resize_and_center_crop"),
    ),
    # Its numbers belong to the channels of the picture, which are turned round afterwards.
    "pplcnet": Processor(
        way="short",
        crops="yes",
        cut=224,
        values=Preset((0.406, 0.456, 0.485), (0.225, 0.224, 0.229)),
        bgr=True,
        own=("resize_short", "size_divisor"),
    ),
    "pvt": Processor(values=IMAGENET),
    "segformer": Processor(side=512, values=IMAGENET),
    "siglip": Processor(resampling="bicubic"),
    "vit": Processor(),
    "vithybrid": _OF_CLIP,
}
# Of a file that names no type, as ViT's first ones: what it says, and nothing by default.
UNNAMED = Processor(side=None, crops="with size", values=None)
# What a classifier may come with, and a frame cannot be made into.
UNFIT = {
    "donut": "turns and pads pages",
    "imagegpt": "makes tokens of colours",
    "siglip2": "makes patches of any number",
    "textnet": "makes pictures of any size",
    "timmwrapper": "does what timm's config.json says: give that one",
    "videomae": "takes videos",
    "vivit": "takes videos",
}
# What all of them read; and what changes no pixel of an RGB frame.
COMMON = (
    *("do_resize", "size", "resample", "do_center_crop", "crop_size", "do_rescale", "rescale_factor"),
    *("do_normalize", "image_mean", "image_std", "do_pad"),
)
WITHOUT_EFFECT = (
    *("image_processor_type", "feature_extractor_type", "processor_class", "auto_map", "do_convert_rgb"),
    *("data_format", "input_data_format", "return_tensors", "device", "disable_grouping", "pad_size"),
    *("default_to_square", "do_reduce_labels", "reduce_labels", "_valid_processor_keys", "num_labels"),
    *("id2label", "label2id", "model_input_names", "transformers_version", "_commit_hash", "backend"),
    *("image_seq_length", "_name_or_path", "name_or_path"),
)


def named(text: str) -> tuple[str, Processor | None]:
    """Return a type's short name in small letters, and the processor; None if it is not known."""
    name = text
    for ending in ("Fast", "Pil", "ImageProcessor", "FeatureExtractor"):
        name = name.removesuffix(ending)
    return name.lower(), PROCESSORS.get(name.lower())
