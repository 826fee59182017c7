"""The device layout, read back element by element as the kernel reads it."""

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeosr.errors import UsageError
from edgeosr.kernels.fused_score import FusedScorer
from edgeosr.kernels.matrices import pack_matrix
from edgeosr.kernels.packing import (
    CONSTANTS_BYTES,
    PackedPart,
    constants_bytes,
    pack_scorer,
    require_supported,
    unpacked_weights,
)
from edgeosr.kernels.parts import kernel_parts
from edgeosr.scoring.fusion import Fusion, float32_values, unfitted_fusion
from edgeosr.scoring.parts import part, part_names
from edgeosr.scoring.probes import Probes
from edgeosr.scoring.scorer import ClosedForm, Head, PartConstants, Scorer

Float32 = NDArray[np.float32]
PARTS = ("log_norm", "movr_loss", "log_jacobian")


def a_scorer(
    *,
    dimension: int = 37,
    classes: int = 6,
    widths: tuple[int, ...] = (20, 33, 1),
    kind: str = "cosine",
    activation: str | None = "relu",
    taps: int = 3,
    probes: int = 0,
    parts: tuple[str, ...] = PARTS,
    constants: dict[str, PartConstants] | None = None,
    seed: int = 0,
) -> Scorer:
    """A scorer of random constants."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> Float32:
        return rng.standard_normal(shape).astype(np.float32)

    external = kind == "external"
    layers = []
    inputs = dimension
    for outputs in widths:
        layers.append((normal(outputs, inputs), normal(outputs)))
        inputs = outputs
    parameters = {"leaky_relu": 1, "clip": 2}.get(activation or "", 0)
    closed_form = None
    if activation is not None:
        offsets = np.stack([np.arange(taps), np.zeros(taps)], 1).astype(np.int32)
        closed_form = ClosedForm(
            activation=activation,
            parameters=normal(parameters),
            table=normal(dimension, taps),
            offsets=offsets,
        )
    return Scorer(
        dimension=dimension,
        classes=classes,
        head=Head(
            kind=kind,
            weight=normal(0, 0) if external else normal(classes, dimension),
            bias=normal(0) if external else normal(classes),
            temperature=16.0,
            margin=0.25 if kind == "cosine" else 0.0,
        ),
        fusion=Fusion(
            parts=parts,
            means=float32_values(normal(len(parts))),
            stds=float32_values(np.abs(normal(len(parts))) + 0.5),
            weights=float32_values(normal(len(parts))),
        ),
        threshold=1.25,
        closed_form=closed_form,
        probes=Probes(K=probes, n=1000) if probes else None,
        layers=tuple(layers),
        slope=0.125,
        constants=constants or {},
    )


def own(rows: int, numbers: int, dimension: int = 37) -> PartConstants:
    """Constants of a part."""
    rng = np.random.default_rng(rows)
    sizes = ((rows, dimension), (rows,), (numbers,))
    matrix, biases, few = (rng.standard_normal(size).astype(np.float32) for size in sizes)
    return PartConstants(rows=matrix, biases=biases, numbers=few)


def fragment_product(packed: bytes, outputs: int, inputs: int, column: Float32) -> Float32:
    """What a warp computes: m16n8k16 with the lanes' registers of A, per PTX ISA, for one column."""
    registers = np.frombuffer(packed, np.float16).reshape(inputs // 16, outputs // 16, 32, 4, 2)
    result = np.zeros(outputs)
    for step, tile, lane, register, high in np.ndindex(*registers.shape):
        group, thread = divmod(lane, 4)
        row = group + 8 * (register % 2)
        k = thread * 2 + high + 8 * (register // 2)
        result[tile * 16 + row] += float(registers[step, tile, lane, register, high]) * column[step * 16 + k]
    return result.astype(np.float32)


def test_fragments_are_the_a_operand_of_m16n8k16() -> None:
    rng = np.random.default_rng(1)
    matrix = rng.standard_normal((48, 32)).astype(np.float32)
    column = rng.standard_normal(32).astype(np.float32)
    expected = matrix.astype(np.float16).astype(np.float64) @ column
    got = fragment_product(pack_matrix(matrix, half=True), 48, 32, column)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_rows_of_a_hidden_layer_are_one_piece_in_fp16_and_lie_as_others_in_fp32() -> None:
    matrix = np.random.default_rng(2).standard_normal((48, 32)).astype(np.float32)
    tiles = np.frombuffer(pack_matrix(matrix, half=True), np.uint8).reshape(2, 3, 512)
    hidden = np.frombuffer(pack_matrix(matrix, half=True, hidden=True), np.uint8).reshape(3, 2, 512)
    np.testing.assert_array_equal(hidden, tiles.transpose(1, 0, 2))
    assert pack_matrix(matrix, half=False, hidden=True) == pack_matrix(matrix, half=False)


def test_fp32_rows_lie_in_quads_along_the_inputs() -> None:
    matrix = np.arange(32 * 16, dtype=np.float32).reshape(32, 16)
    packed = np.frombuffer(pack_matrix(matrix, half=False), np.float32).reshape(4, 32, 4)
    for quad, row, i in np.ndindex(4, 32, 4):
        assert packed[quad, row, i] == matrix[row, quad * 4 + i]


@pytest.mark.parametrize("half", [False, True])
def test_every_part_is_found_where_the_offsets_say(half: bool) -> None:
    scorer = a_scorer()
    packed = pack_scorer(scorer, half=half)
    assert (packed.widths, packed.hidden_rows, packed.rows) == ((20, 33, 1), 32, 48)
    element = np.float16 if half else np.float32

    def floats(at: int, count: int) -> Float32:
        assert at % 16 == 0
        return np.frombuffer(packed.data, np.float32, count, at)

    split = np.zeros((48, 48), np.float32)
    split[:20, :37] = scorer.layers[0][0]
    split[32:38, :37] = scorer.head.weight
    expected = pack_matrix(split, half=half)
    assert packed.data[packed.split_at : packed.split_at + len(expected)] == expected
    biases = floats(packed.split_bias_at, 48)
    np.testing.assert_array_equal(biases[:20], scorer.layers[0][1])
    np.testing.assert_array_equal(biases[32:38], scorer.head.bias)
    assert not biases[20:32].any() and not biases[38:].any()
    second = np.zeros((48, 32), np.float32)
    second[:33, :20] = scorer.layers[1][0]
    expected = pack_matrix(second, half=half, hidden=True)
    assert len(expected) == second.size * np.dtype(element).itemsize
    assert packed.data[packed.layer_at[1] : packed.layer_at[1] + len(expected)] == expected
    np.testing.assert_array_equal(floats(packed.bias_at[1], 33), scorer.layers[1][1])
    np.testing.assert_array_equal(floats(packed.layer_at[2], 33), scorer.layers[2][0][0])
    assert packed.later_at == packed.layer_at[1]
    assert packed.later_at + packed.later_bytes == packed.table_at
    assert scorer.closed_form is not None
    np.testing.assert_array_equal(floats(packed.table_at, 37 * 3).reshape(37, 3), scorer.closed_form.table)
    offsets = np.frombuffer(packed.data, np.int32, 6, packed.offsets_at).reshape(3, 2)
    np.testing.assert_array_equal(offsets, scorer.closed_form.offsets)


def test_the_rows_of_parts_lie_behind_the_head_in_the_parts_order_and_their_numbers_last() -> None:
    constants = {"max_logit": own(5, 2), "log_jacobian": own(17, 0), "log_norm": own(0, 1)}
    scorer = a_scorer(parts=("log_jacobian", "log_norm", "movr_loss", "max_logit"), constants=constants)
    packed = pack_scorer(scorer, half=False)
    assert (packed.hidden_rows, packed.rows) == (32, 32 + 16 + 32 + 16)
    places = [(place.code, place.row, place.rows) for place in packed.parts]
    assert places == [(part("log_jacobian").code, 48, 17), (4, 0, 0), (2, 0, 0), (3, 80, 5)]
    bare = pack_scorer(replace(scorer, constants={}), half=False)
    matrix = np.frombuffer(packed.data, np.float32, 48 * 96, packed.split_at).reshape(12, 96, 4)
    head = np.frombuffer(bare.data, np.float32, 48 * 48, bare.split_at).reshape(12, 48, 4)
    np.testing.assert_array_equal(matrix[:, :48], head)
    biases = np.frombuffer(packed.data, np.float32, 96, packed.split_bias_at)
    for place, name in ((packed.parts[0], "log_jacobian"), (packed.parts[3], "max_logit")):
        rows = matrix[:, place.row : place.row + place.rows].transpose(1, 0, 2).reshape(place.rows, 48)
        np.testing.assert_array_equal(rows[:, :37], constants[name].rows)
        np.testing.assert_array_equal(biases[place.row : place.row + place.rows], constants[name].biases)
    for place, name in ((packed.parts[1], "log_norm"), (packed.parts[3], "max_logit")):
        numbers = constants[name].numbers
        assert place.numbers_at % 16 == 0 and place.numbers_at >= packed.offsets_at
        np.testing.assert_array_equal(
            np.frombuffer(packed.data, np.float32, numbers.size, place.numbers_at), numbers
        )
    assert packed.parts[2] == PackedPart(code=2, row=0, rows=0, numbers_at=0)


def test_constants_come_first_and_in_the_order_of_the_struct() -> None:
    scorer = a_scorer(activation="clip")
    data = pack_scorer(scorer, half=True).data
    assert data[:CONSTANTS_BYTES] == constants_bytes(scorer)
    constants = np.frombuffer(data, np.float32, CONSTANTS_BYTES // 4)
    np.testing.assert_allclose(constants[:6], [1.25, 16, np.cos(0.25), np.sin(0.25), 0.125, 1], rtol=1e-6)
    assert scorer.closed_form is not None
    np.testing.assert_array_equal(constants[6:8], scorer.closed_form.parameters)
    assert constants[8] == scorer.layers[-1][1][0]
    gain = np.array(scorer.fusion.weights) / scorer.fusion.stds
    np.testing.assert_allclose(constants[16:19], gain, rtol=1e-6)
    np.testing.assert_array_equal(constants[32:35], np.array(scorer.fusion.means, np.float32))
    assert not constants[9:16].any() and not constants[19:32].any() and not constants[35:].any()


def test_probe_scale_is_n_over_k_and_the_squared_gain() -> None:
    scorer = a_scorer(activation=None, probes=8)
    packed = pack_scorer(scorer, half=True)
    assert np.frombuffer(packed.data, np.float32, 16)[5] == 125.0
    assert (packed.probes, packed.closed_form, packed.taps) == (8, False, 1)
    gained = replace(scorer, probes=Probes(K=8, n=1000, gain=0.25))
    assert np.frombuffer(pack_scorer(gained, half=True).data, np.float32, 16)[5] == 2000.0


def test_the_kernel_has_a_function_for_every_part_of_the_registry_under_its_name() -> None:
    assert {code: name for code, name in kernel_parts().items()} == {
        part(name).code: name for name in part_names()
    }


@pytest.mark.parametrize(
    ("kind", "widths", "rows"), [("external", (), 0), ("external", (1,), 16), ("linear", (), 16)]
)
def test_parts_that_are_missing_take_no_rows(kind: str, widths: tuple[int, ...], rows: int) -> None:
    packed = pack_scorer(a_scorer(kind=kind, widths=widths), half=True)
    assert (packed.rows, packed.hidden_rows, packed.later_bytes) == (rows, 16 if widths else 0, 0)


def test_equal_scorers_give_equal_bytes() -> None:
    assert pack_scorer(a_scorer(), half=True) == pack_scorer(a_scorer(), half=True)


def test_the_weights_to_compare_with_are_those_that_were_packed() -> None:
    scorer = a_scorer(constants={"log_norm": own(5, 2)})
    rounded = unpacked_weights(scorer, half=True)
    brought, kept = rounded.constants["log_norm"], scorer.constants["log_norm"]
    np.testing.assert_array_equal(brought.rows, kept.rows.astype(np.float16))
    np.testing.assert_array_equal(brought.biases, kept.biases)
    np.testing.assert_array_equal(rounded.layers[0][0], scorer.layers[0][0].astype(np.float16))
    np.testing.assert_array_equal(rounded.head.weight, scorer.head.weight.astype(np.float16))
    np.testing.assert_array_equal(rounded.layers[2][0], scorer.layers[2][0])  # the last layer stays fp32
    assert unpacked_weights(scorer, half=False) is scorer


@pytest.mark.parametrize("value", [7e4, -7e4, 65520.0])
@pytest.mark.parametrize(
    ("place", "name"),
    [
        (lambda scorer: scorer.layers[0][0], "the discriminator's layer 0"),
        (lambda scorer: scorer.layers[1][0], "the discriminator's layer 1"),
        (lambda scorer: scorer.head.weight, "the head"),
        (lambda scorer: scorer.constants["log_norm"].rows, "the rows of log_norm"),
    ],
)
def test_a_weight_beyond_fp16_is_refused_by_name(
    place: Callable[[Scorer], Float32], name: str, value: float
) -> None:
    scorer = a_scorer(constants={"log_norm": own(5, 2)})
    place(scorer)[0, 0] = value
    words = f"weights of {name} must be within 65504 .*; got one of {re.escape(f'{abs(value):.4g}')}; "
    with pytest.raises(UsageError, match=words + "pack it with fp32 weights"):
        pack_scorer(scorer, half=True)
    with pytest.raises(UsageError, match=words + "score with model.onnx"):
        require_supported(scorer, half=True)
    require_supported(scorer)
    pack_scorer(scorer, half=False)


def test_what_stays_fp32_may_be_beyond_fp16() -> None:
    scorer = a_scorer(constants={"log_norm": own(5, 2)})
    assert scorer.closed_form is not None
    brought = scorer.constants["log_norm"]
    for array in (
        scorer.layers[-1][0],
        scorer.layers[0][1],
        scorer.closed_form.table,
        brought.biases,
        brought.numbers,
    ):
        array.flat[0] = 7e4
    require_supported(scorer, half=True)
    data = pack_scorer(scorer, half=True).data
    assert np.isfinite(np.frombuffer(data[:CONSTANTS_BYTES], np.float32)).all()


def test_the_only_layer_is_a_row_of_the_split_matrix_and_is_fp16() -> None:
    alone = a_scorer(widths=(1,))
    alone.layers[0][0][0, 0] = 7e4
    with pytest.raises(UsageError, match="layer 0 must be within 65504"):
        pack_scorer(alone, half=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dimension": 2049}, "length D must be from 1 to 2048 .*; got 2049; score with model.onnx"),
        ({"classes": 4097}, "number of classes C must be from 1 to 4096 .*; got 4097; score with model.onnx"),
        ({"widths": (1025, 1)}, "width of the discriminator's layer 0 must be .* 1024 .*; got 1025"),
        ({"widths": (4, 4, 4, 4, 4, 4, 1)}, "discriminator's layers must be from 0 to 6 .*; got 7"),
        ({"taps": 129}, "taps of the autocorrelation table must be .* 128 .*; got 129; .*--jacobian probes"),
        (
            {"activation": None, "probes": 33},
            "probes K must be .* 32 .*; got 33; export with --probes 32 or fewer, or",
        ),
        ({"activation": "mish"}, "one of identity, .*; got mish; .*--jacobian probes, .*--engine onnx"),
        ({"activation": "prelu"}, "got prelu; export with --jacobian probes"),
        ({"activation": "elu"}, "got elu; export with --jacobian probes"),
        (
            {"constants": {"log_norm": own(4097, 0)}},
            "matrix rows of log_norm must be from 0 to 4096 .*; got 4097",
        ),
        (
            {"constants": {"log_norm": own(0, 8193)}},
            "numbers of log_norm must be from 0 to 8192 .*; got 8193",
        ),
        ({"parts": ()}, "number of score parts must be from 1 to 16 .*; got 0"),
    ],
)
def test_a_scorer_beyond_a_limit_is_refused_by_name_with_what_to_do(
    change: dict[str, object], words: str
) -> None:
    scorer = a_scorer(**change)  # type: ignore[arg-type]
    for refused in (lambda: require_supported(scorer), lambda: pack_scorer(scorer, half=True)):
        with pytest.raises(UsageError, match=f"{words}"):
            refused()


def test_a_map_that_is_too_large_is_refused_where_its_size_is_known() -> None:
    scorer = a_scorer()
    require_supported(scorer)
    require_supported(scorer, map_size=(16, 16))
    words = "map's positions must be from 1 to 256 .*; got 272; export with --jacobian probes"
    with pytest.raises(UsageError, match=words):
        require_supported(scorer, map_size=(17, 16))
    require_supported(a_scorer(activation=None, probes=8), map_size=(17, 16))  # takes no map


def test_everything_at_its_limit_is_taken() -> None:
    require_supported(a_scorer(dimension=2048, widths=(1024, 1), taps=128))
    require_supported(a_scorer(constants={"log_norm": own(4096, 8192)}))
    full = replace(a_scorer(), fusion=unfitted_fusion(part_names()))
    require_supported(full)


def test_a_scorer_with_a_threshold_a_class_is_refused_before_a_driver_is_looked_for() -> None:
    scorer = replace(a_scorer(), class_thresholds=(0.0,) * 6)
    words = (
        "compares with one threshold for all classes; got 6, one a class; export with --threshold-rule common"
    )
    for refused in (lambda: pack_scorer(scorer, half=True), lambda: FusedScorer(scorer)):
        with pytest.raises(UsageError, match=words):
            refused()
