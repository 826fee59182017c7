"""Options of ``edgeosr export MODEL.onnx``: what preprocessing the model needs."""

from typing import Annotated

import typer

Triple = tuple[float, float, float]
Preprocessing = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE.json",
        help="MODEL.onnx: imagenet, inception (-1..1), clip, 0..1, 0..255, caffe, or the JSON of timm, "
        "Hugging Face or Ultralytics. Default: imagenet. The options below come before it.",
    ),
]
Mean = Annotated[
    Triple | None,
    typer.Option(
        help="MODEL.onnx: its input's mean, in the model's own channel order: blue first with --color bgr. "
        "Of values in 0..1, or with --std in 0..255."
    ),
]
Std = Annotated[
    Triple | None,
    typer.Option(help="MODEL.onnx: its input's standard deviation, in the same order and unit as --mean."),
]
Color = Annotated[
    str | None,
    typer.Option(help="MODEL.onnx: rgb or bgr, the order in which it takes channels. Default: rgb."),
]
Resize = Annotated[
    int | None,
    typer.Option(
        metavar="PIXELS",
        help="MODEL.onnx: its shorter side before the centre crop, such as 256 for an input of 224.",
    ),
]
CropFraction = Annotated[
    float | None,
    typer.Option(
        "--crop-fraction",
        "--crop-pct",
        help="MODEL.onnx: the same as a share of the side, such as 0.875 (timm's crop_pct).",
    ),
]
Resampling = Annotated[
    str | None,
    typer.Option(
        help="MODEL.onnx: the filter it was deployed with: bilinear, bicubic, lanczos, box, hamming, "
        "nearest or no-antialias (OpenCV's). The bundle has bilinear; what that changes is measured."
    ),
]
UnknownOutputs = Annotated[
    str | None,
    typer.Option(
        metavar="A,B|rest",
        help="MODEL.onnx: outputs that are no known class, such as background: what the model names so is "
        "unknown. rest: all without images.",
    ),
]
AcceptWeakClasses = Annotated[
    bool,
    typer.Option(
        "--accept-weak-classes",
        help="MODEL.onnx: only warn where classes are not clearly recognised, or their order seems wrong.",
    ),
]
