"""The operators that a bundle's graphs may have, the attributes of each, and what those may say.

Not among them: control flow (If, Loop, Scan: subgraphs), sequences, optionals, strings, decoders of files,
random numbers, everything of other domains, which an onnxruntime may have been built with, and what no image
classifier that can be exported has: every operator more is code that a hostile graph may reach.
"""

from dataclasses import dataclass

from edgeosr.bundle.onnx.tensors import TYPE_NAMES

# AttributeProto.AttributeType, by number.
FLOAT, INT, STRING, TENSOR, FLOATS, INTS, STRINGS = 1, 2, 3, 4, 6, 7, 8
_MOST_AXES = 16
_WINDOW = "auto_pad kernel_shape pads strides dilations"
_REDUCTION = "axes keepdims noop_with_empty_axes"
_RECURRENT = "activation_alpha activation_beta activations clip direction hidden_size layout"
# https://onnx.ai/onnx/operators/, opsets 13 to 20.
_WITH_ATTRIBUTES = {
    **dict.fromkeys(("ArgMax", "ArgMin"), "axis keepdims select_last_index"),
    "AveragePool": f"{_WINDOW} ceil_mode count_include_pad",
    "BatchNormalization": "epsilon momentum training_mode",
    "Cast": "to saturate",
    "CastLike": "saturate",
    "Celu": "alpha",
    "Concat": "axis",
    "Constant": "value value_float value_floats value_int value_ints",
    "ConstantOfShape": "value",
    "Conv": f"{_WINDOW} group",
    "ConvTranspose": f"{_WINDOW} group output_padding output_shape",
    "CumSum": "exclusive reverse",
    "DepthToSpace": "blocksize mode",
    "DequantizeLinear": "axis",
    "Dropout": "seed",
    "Einsum": "equation",
    "Elu": "alpha",
    "Flatten": "axis",
    "GRU": f"{_RECURRENT} linear_before_reset",
    "Gather": "axis",
    "GatherElements": "axis",
    "GatherND": "batch_dims",
    "Gelu": "approximate",
    "Gemm": "alpha beta transA transB",
    "GlobalLpPool": "p",
    "GridSample": "align_corners mode padding_mode",
    "GroupNormalization": "epsilon num_groups",
    "HardSigmoid": "alpha beta",
    "InstanceNormalization": "epsilon",
    "IsInf": "detect_negative detect_positive",
    "LRN": "alpha beta bias size",
    "LSTM": f"{_RECURRENT} input_forget",
    "LayerNormalization": "axis epsilon stash_type",
    "LeakyRelu": "alpha",
    "LogSoftmax": "axis",
    "LpNormalization": "axis p",
    "LpPool": f"{_WINDOW} ceil_mode p",
    "MaxPool": f"{_WINDOW} ceil_mode storage_order",
    "MeanVarianceNormalization": "axes",
    "Pad": "mode",
    "QuantizeLinear": "axis saturate",
    **dict.fromkeys(("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax"), _REDUCTION),
    **dict.fromkeys(("ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare"), _REDUCTION),
    "Reshape": "allowzero",
    "Resize": "antialias axes coordinate_transformation_mode cubic_coeff_a exclude_outside"
    " extrapolation_value keep_aspect_ratio_policy mode nearest_mode",
    "ScatterElements": "axis reduction",
    "ScatterND": "reduction",
    "Selu": "alpha gamma",
    "Shape": "start end",
    "Shrink": "bias lambd",
    "Softmax": "axis",
    "SpaceToDepth": "blocksize",
    "Split": "axis num_outputs",
    "ThresholdedRelu": "alpha",
    "TopK": "axis largest sorted",
    "Transpose": "perm",
    "Trilu": "upper",
}
_WITHOUT = (
    *("Abs", "Acos", "Acosh", "Add", "And", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Clip", "Cos", "Cosh"),
    *("Div", "Equal", "Erf", "Exp", "Expand", "Floor", "GlobalAveragePool", "GlobalMaxPool", "Greater"),
    *("GreaterOrEqual", "HardSwish", "Identity", "IsNaN", "Less", "LessOrEqual", "Log", "MatMul", "Max"),
    *("Mean", "Min", "Mish", "Mul", "Neg", "Not", "Or", "PRelu", "Pow", "Range", "Reciprocal", "Relu"),
    *("Round", "Sigmoid", "Sign", "Sin", "Sinh", "Size", "Slice", "Softplus", "Softsign", "Sqrt", "Squeeze"),
    *("Sub", "Sum", "Tan", "Tanh", "Tile", "Unsqueeze", "Where", "Xor"),
)
# The names of each operator's attributes.
OPERATORS: dict[str, frozenset[str]] = {
    **dict.fromkeys(_WITHOUT, frozenset()),
    **{op: frozenset(names.split()) for op, names in _WITH_ATTRIBUTES.items()},
}
# Inputs that may be left out though others follow, or by an empty name.
LEFT_OUT: dict[str, tuple[int, ...]] = {
    "Clip": (1, 2),
    **dict.fromkeys(("Conv", "ConvTranspose", "Gemm", "LayerNormalization"), (2,)),
    **dict.fromkeys(("DequantizeLinear", "QuantizeLinear"), (2,)),
    "GRU": (3, 4, 5),
    "LSTM": (3, 4, 5, 6, 7),
    "Pad": (2, 3),
    "Resize": (1, 2, 3),
    "Slice": (3, 4),
}
# The least number of inputs, where it is not 1; Einsum's are counted by its equation.
LEAST_INPUTS: dict[str, int] = {
    **dict.fromkeys(("Constant", "Einsum"), 0),
    **dict.fromkeys(
        ("Add", "And", "CastLike", "Conv", "ConvTranspose", "CumSum", "DequantizeLinear", "Div"), 2
    ),
    **dict.fromkeys(("Equal", "Expand", "Gather", "GatherElements", "GatherND", "Gemm", "Greater"), 2),
    **dict.fromkeys(("GreaterOrEqual", "GridSample", "LayerNormalization", "Less", "LessOrEqual"), 2),
    **dict.fromkeys(("MatMul", "Mul", "Or", "PRelu", "Pad", "Pow", "QuantizeLinear", "Reshape", "Sub"), 2),
    **dict.fromkeys(("Tile", "TopK", "Unsqueeze", "Xor"), 2),
    **dict.fromkeys(("GRU", "GroupNormalization", "InstanceNormalization", "LSTM", "Range"), 3),
    **dict.fromkeys(("ScatterElements", "ScatterND", "Slice", "Where"), 3),
    "BatchNormalization": 5,
}
# Outputs that may be without a name.
UNNAMED_OUTPUTS = ("GRU", "LSTM")


@dataclass(frozen=True)
class AttributeRule:
    """``kind``: an AttributeProto.AttributeType.

    ``least``, ``most``: of whole numbers; ``words``: what one of text may say, if not anything.
    """

    kind: int
    least: int = 0
    most: int = 0
    words: frozenset[str] = frozenset()


_FLAGS = (
    *("align_corners", "allowzero", "antialias", "ceil_mode", "count_include_pad", "detect_negative"),
    *("detect_positive", "exclude_outside", "exclusive", "input_forget", "keepdims", "largest", "layout"),
    *("linear_before_reset", "noop_with_empty_axes", "reverse", "saturate", "select_last_index", "sorted"),
    *("storage_order", "training_mode", "transA", "transB", "upper"),
)
_FLOATS = (
    *("alpha", "beta", "bias", "clip", "cubic_coeff_a", "epsilon", "extrapolation_value", "gamma", "lambd"),
    *("momentum", "value_float"),
)
_WORDS = {
    "approximate": "none tanh",
    "auto_pad": "NOTSET SAME_LOWER SAME_UPPER VALID",
    "coordinate_transformation_mode": "align_corners asymmetric half_pixel half_pixel_symmetric"
    " pytorch_half_pixel tf_crop_and_resize",
    "direction": "bidirectional forward reverse",
    "keep_aspect_ratio_policy": "not_larger not_smaller stretch",
    "mode": "CRD DCR bicubic bilinear constant cubic edge linear nearest reflect wrap",
    "nearest_mode": "ceil floor round_prefer_ceil round_prefer_floor",
    "padding_mode": "border reflection zeros",
    "reduction": "add max min mul none",
}
_ANY = (-(1 << 63), (1 << 63) - 1)
_AXIS = (-_MOST_AXES, _MOST_AXES)
_SIZE = (1, 65_536)
ATTRIBUTES: dict[str, AttributeRule] = {
    **dict.fromkeys(_FLAGS, AttributeRule(INT, 0, 1)),
    **dict.fromkeys(_FLOATS, AttributeRule(FLOAT)),
    **{name: AttributeRule(STRING, words=frozenset(words.split())) for name, words in _WORDS.items()},
    **dict.fromkeys(("activation_alpha", "activation_beta", "value_floats"), AttributeRule(FLOATS)),
    **dict.fromkeys(("axis", "start", "end"), AttributeRule(INT, *_AXIS)),
    **dict.fromkeys(("axes", "perm"), AttributeRule(INTS, *_AXIS)),
    **dict.fromkeys(("dilations", "kernel_shape", "output_shape", "strides"), AttributeRule(INTS, *_SIZE)),
    **dict.fromkeys(
        ("group", "hidden_size", "num_groups", "num_outputs", "size"), AttributeRule(INT, *_SIZE)
    ),
    **dict.fromkeys(("output_padding", "pads"), AttributeRule(INTS, 0, 65_536)),
    "activations": AttributeRule(STRINGS),
    # Others end some releases of onnxruntime.
    "batch_dims": AttributeRule(INT, 0, 0),
    "blocksize": AttributeRule(INT, 1, 256),
    "equation": AttributeRule(STRING),
    "p": AttributeRule(INT, 1, 16),
    "seed": AttributeRule(INT, *_ANY),
    "stash_type": AttributeRule(INT, 1, 1),
    "to": AttributeRule(INT, min(TYPE_NAMES), max(TYPE_NAMES)),
    "value": AttributeRule(TENSOR),
    "value_int": AttributeRule(INT, *_ANY),
    "value_ints": AttributeRule(INTS, *_ANY),
}
