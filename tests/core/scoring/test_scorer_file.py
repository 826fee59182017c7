import dataclasses
import io
import zipfile

import numpy as np
import pytest

from edgeosr.errors import BundleError
from edgeosr.scoring.fusion import Fusion, float32_values
from edgeosr.scoring.probes import Probes
from edgeosr.scoring.scorer import ClosedForm, Head, PartConstants, Scorer
from edgeosr.scoring.scorer_file import CLASS_FORMAT, FORMAT, read_scorer, write_scorer

DIMENSION, CLASSES = 6, 3
PARTS = ("log_jacobian", "movr_loss", "nearest")
RNG = np.random.default_rng(0)


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.fixture
def scorer():
    return Scorer(
        dimension=DIMENSION,
        classes=CLASSES,
        head=Head(kind="linear", weight=floats(CLASSES, DIMENSION), bias=floats(CLASSES), temperature=1.0),
        fusion=Fusion(
            parts=PARTS,
            means=float32_values(floats(3)),
            stds=float32_values(np.abs(floats(3)) + 0.1),
            weights=float32_values(floats(3)),
        ),
        threshold=float(np.float32(1.7)),
        closed_form=ClosedForm(
            activation="leaky_relu",
            parameters=np.array([0.1], np.float32),
            table=floats(DIMENSION, 2),
            offsets=np.array([[0, 0], [1, -1]], np.int32),
        ),
        layers=((floats(4, DIMENSION), floats(4)), (floats(1, 4), floats(1))),
        slope=0.25,
        constants={"nearest": PartConstants(rows=floats(5, DIMENSION), biases=floats(5), numbers=floats(2))},
    )


def flat(value):
    if dataclasses.is_dataclass(value):
        return {field.name: flat(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: flat(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [flat(item) for item in value]
    return (value.dtype.str, value.tolist()) if isinstance(value, np.ndarray) else value


def with_entry(data, name, array, *, compression=zipfile.ZIP_STORED, drop=False):
    """Return the same file with one entry replaced, added or dropped."""
    with np.load(io.BytesIO(data)) as file:
        entries = dict(file)
    entries.pop(name, None)
    if not drop:
        entries[name] = array
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for key, value in entries.items():
            entry = io.BytesIO()
            np.lib.format.write_array(entry, np.asarray(value), allow_pickle=True)
            archive.writestr(f"{key}.npy", entry.getvalue())
    return buffer.getvalue()


def test_a_scorer_comes_back_as_it_was_written(scorer):
    assert flat(read_scorer(write_scorer(scorer))) == flat(scorer)


@pytest.mark.parametrize("kind", ["cosine", "external"])
def test_a_scorer_without_discriminator_and_closed_form_comes_back(scorer, kind):
    head = Head(
        kind=kind, weight=scorer.head.weight, bias=np.zeros(CLASSES, np.float32), temperature=32.0, margin=0.5
    )
    if kind == "external":
        empty = np.zeros(0, np.float32)
        head = Head(kind=kind, weight=np.zeros((0, 0), np.float32), bias=empty, temperature=1.0)
    fusion = dataclasses.replace(scorer.fusion, parts=("max_logit", *PARTS[1:]))
    small = dataclasses.replace(
        scorer, head=head, fusion=fusion, closed_form=None, layers=(), slope=0.2, constants={}
    )
    assert flat(read_scorer(write_scorer(small))) == flat(small)


OF_CLASS = np.array([1, 2, 3, 0.5, 0.6, 0.7], np.float32)  # C means, C deviations


@pytest.mark.parametrize(
    ("part", "rows", "numbers"),
    [
        ("class_jacobian", 0, OF_CLASS[:2]),
        ("class_jacobian", 0, np.append(OF_CLASS, OF_CLASS)),
        ("class_jacobian", 0, OF_CLASS * np.float32([1, 1, 1, 1, 0, 1])),
        ("class_jacobian", 0, OF_CLASS * np.float32([1, 1, 1, 1, -1, 1])),
        ("relative_mahalanobis", CLASSES, OF_CLASS[:0]),
        ("bank", 0, OF_CLASS[:0]),
    ],
)
def test_a_part_without_all_the_numbers_and_rows_it_is_computed_from_is_refused(scorer, part, rows, numbers):
    # The kernel would read past the packed scorer, or divide by zero.
    fusion = dataclasses.replace(scorer.fusion, parts=(*PARTS[:2], part))
    whole = {"class_jacobian": (0, OF_CLASS), "relative_mahalanobis": (CLASSES, OF_CLASS[:1])}

    def constants(count, values):
        return PartConstants(rows=floats(count, DIMENSION), biases=floats(count), numbers=values)

    own = constants(*whole.get(part, (5, OF_CLASS[:0])))
    data = write_scorer(dataclasses.replace(scorer, fusion=fusion, constants={part: own}))
    read_scorer(data)
    spoilt = constants(rows, numbers)
    for entry in ("rows", "biases", "numbers"):
        data = with_entry(data, f"part_{part}_{entry}", getattr(spoilt, entry))
    with pytest.raises(
        BundleError, match=f"what the part {part} is computed from is missing or of the wrong"
    ):
        read_scorer(data)


def test_a_jacobian_part_without_a_jacobian_is_refused(scorer):
    with pytest.raises(BundleError, match="what the part log_jacobian is computed from is missing"):
        write_scorer(dataclasses.replace(scorer, closed_form=None))


@pytest.fixture
def with_probes(scorer):
    return dataclasses.replace(scorer, closed_form=None, probes=Probes(K=4, n=768, gain=0.5))


def test_a_scorer_with_probes_comes_back_and_every_one_of_its_entries_is_needed(with_probes):
    data = write_scorer(with_probes)
    assert flat(read_scorer(data)) == flat(with_probes)
    assert read_scorer(data).probes.scale == 192.0 * 4
    for name in ("probes_K", "probes_n", "probes_gain", "format"):
        with pytest.raises(BundleError, match="not valid"):
            read_scorer(with_entry(data, name, None, drop=True))


def test_every_number_stays_within_its_stated_limit(scorer, with_probes):
    for name, value in (("dimension", 1 << 17), ("classes", 1 << 21)):
        with pytest.raises(BundleError, match=f"{name}, .* must be one int64 from 1 to"):
            read_scorer(with_entry(write_scorer(scorer), name, np.array(value)))
    with pytest.raises(BundleError, match=r"probes_K, .* from 1 to 4096; got int64 .* 4097"):
        read_scorer(with_entry(write_scorer(with_probes), "probes_K", np.array(4097)))


def test_constants_of_a_part_that_is_not_listed_are_not_written(scorer):
    constants = {"another": scorer.constants["nearest"]}
    with pytest.raises(BundleError, match="constants of 'another'"):
        write_scorer(dataclasses.replace(scorer, constants=constants))


@pytest.mark.parametrize(
    ("probes", "said"),
    [
        (Probes(K=0, n=8), "probes_K must be from 1"),
        (Probes(K=9, n=8), "probes_n must be from probes_K = 9"),
        (Probes(K=1, n=1 << 40), "probes_n must be"),
    ],
)
def test_probes_out_of_range_are_neither_written_nor_read(with_probes, probes, said):
    with pytest.raises(BundleError, match=said):
        write_scorer(dataclasses.replace(with_probes, probes=probes))
    data = with_entry(write_scorer(with_probes), "probes_K", np.array(probes.K))
    with pytest.raises(BundleError, match="not valid"):
        read_scorer(with_entry(data, "probes_n", np.array(probes.n)))


def test_a_closed_form_beside_probes_is_refused(scorer):
    with pytest.raises(BundleError, match="closed form and probes"):
        write_scorer(dataclasses.replace(scorer, probes=Probes(K=1, n=8)))


def test_equal_scorers_have_equal_bytes_whatever_their_memory_layout(scorer):
    head = dataclasses.replace(scorer.head, weight=np.asfortranarray(scorer.head.weight))
    data = write_scorer(scorer)
    assert write_scorer(dataclasses.replace(scorer, head=head)) == data == write_scorer(read_scorer(data))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_numpy_reads_the_file_without_pickles(scorer):
    with np.load(io.BytesIO(write_scorer(scorer)), allow_pickle=False) as file:
        assert file["format"] == FORMAT
        np.testing.assert_array_equal(file["table"], scorer.closed_form.table)


def test_a_pickle_is_refused(scorer):
    data = with_entry(write_scorer(scorer), "fusion_means", np.array([{}], object))
    with pytest.raises(BundleError, match="cannot be read"):
        read_scorer(data)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("format", np.array(1.0)),
        ("dimension", np.array(7)),
        ("dimension", np.array(-1)),
        ("dimension", np.array(1 << 40)),
        ("classes", np.array(0)),
        ("classes", np.array([3])),
        ("head_weight", floats(CLASSES, DIMENSION).astype(np.float64)),
        ("head_weight", np.full((CLASSES, DIMENSION), np.nan, np.float32)),
        ("head_bias", floats(CLASSES + 1)),
        ("head_margin", np.array(0.5, np.float32)),  # the head is linear
        ("head_margin", np.array(np.nan, np.float32)),
        ("head_temperature", np.array(0, np.float32)),
        ("head_temperature", np.array(np.inf, np.float32)),
        ("head_kind", np.frombuffer(b"softmax", np.uint8)),
        ("head_kind", np.zeros(1025, np.uint8)),
        ("parts", np.frombuffer(b"log_jacobian", np.uint8)),
        ("parts", np.frombuffer(b"movr_loss\nmovr_loss\nnearest", np.uint8)),
        ("parts", np.frombuffer(b"log_jacobian\nmovr_loss\nfarthest", np.uint8)),
        ("part_nearest_rows", floats(5, DIMENSION + 1)),
        ("part_nearest_rows", floats(4, DIMENSION)),
        ("part_nearest_biases", np.full(5, np.nan, np.float32)),
        ("part_nearest_numbers", floats(2, 1)),
        ("fusion_means", floats(2)),
        ("fusion_stds", np.zeros(3, np.float32)),
        ("fusion_weights", np.array([0, 0, np.inf], np.float32)),
        ("threshold", np.array(np.nan, np.float32)),
        ("activation", np.frombuffer(b"tanh", np.uint8)),
        ("activation_parameters", floats(2)),
        ("table", floats(DIMENSION + 1, 2)),
        ("table", floats(DIMENSION, 0)),
        ("table", floats(DIMENSION)),
        ("offsets", np.zeros((2, 2), np.int64)),
        ("offsets", np.ones((2, 2), np.int32)),
        ("offsets", np.zeros((3, 2), np.int32)),
        ("layer_0_weight", floats(4, DIMENSION + 1)),
        ("layer_0_bias", floats(5)),
        ("layer_1_weight", floats(2, 4)),
        ("layer_1_bias", np.array(1, np.float32)),
        ("slope", np.array(np.nan, np.float32)),
    ],
)
def test_a_field_that_breaks_its_contract_is_refused(scorer, name, array):
    with pytest.raises(BundleError, match=r"scorer\.npz is not valid: .*export the bundle again"):
        read_scorer(with_entry(write_scorer(scorer), name, array))


def test_every_missing_entry_is_refused(scorer):
    data = write_scorer(scorer)
    with np.load(io.BytesIO(data)) as file:
        names = file.files
    for name in names:
        with pytest.raises(BundleError, match="not valid"):
            read_scorer(with_entry(data, name, None, drop=True))


def test_an_entry_that_edgeosr_does_not_know_is_refused(scorer):
    with pytest.raises(BundleError, match="does not know: surprise"):
        read_scorer(with_entry(write_scorer(scorer), "surprise", floats(1)))


def test_a_newer_format_says_so(scorer):
    with pytest.raises(BundleError, match="made by a newer edgeosr"):
        read_scorer(with_entry(write_scorer(scorer), "format", np.array(CLASS_FORMAT + 1)))


def test_thresholds_of_classes_come_back_in_a_format_of_their_own(scorer):
    with_own = dataclasses.replace(scorer, class_thresholds=(0.5, -1.25, 3.0))
    assert read_scorer(write_scorer(with_own)).class_thresholds == (0.5, -1.25, 3.0)
    formats = {}
    for name, one in (("common", scorer), ("per class", with_own)):
        with np.load(io.BytesIO(write_scorer(one))) as file:
            formats[name] = (int(file["format"]), "class_thresholds" in file)
    assert formats == {"common": (FORMAT, False), "per class": (CLASS_FORMAT, True)}
    for wrong in ((0.5, 1.0), (0.5, 1.0, float("nan"))):
        with pytest.raises(BundleError, match=r"class_thresholds must be 3 finite numbers, one a class; got"):
            write_scorer(dataclasses.replace(scorer, class_thresholds=wrong))
    short = with_entry(write_scorer(with_own), "class_thresholds", floats(2))
    with pytest.raises(BundleError, match="class_thresholds must be 3 finite numbers"):
        read_scorer(short)
    with pytest.raises(BundleError, match="does not know: class_thresholds"):
        read_scorer(with_entry(write_scorer(with_own), "format", np.array(FORMAT)))


def test_an_older_format_is_refused_with_what_to_do(scorer):
    with pytest.raises(BundleError, match=r"made by an older edgeosr.*export the bundle again"):
        read_scorer(with_entry(write_scorer(scorer), "format", np.array(FORMAT - 1)))


def test_a_compressed_entry_is_refused_before_it_is_unpacked(scorer):
    data = with_entry(
        write_scorer(scorer), "head_weight", np.zeros((1000, 1000)), compression=zipfile.ZIP_DEFLATED
    )
    with pytest.raises(BundleError, match="compressed"):
        read_scorer(data)


@pytest.mark.parametrize("keep", [0, 3, 100, -1, -30])
def test_a_cut_off_file_is_refused(scorer, keep):
    with pytest.raises(BundleError, match="cannot be read"):
        read_scorer(write_scorer(scorer)[:keep])


def test_bytes_that_are_no_zip_are_refused():
    for data in (b"hello" * 50, b"PK\x03\x04" + bytes(60)):
        with pytest.raises(BundleError):
            read_scorer(data)


def test_random_damage_is_refused_or_harmless_and_never_anything_else(scorer):
    data = write_scorer(scorer)
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(300):
        damaged = bytearray(data)
        for place in rng.integers(0, len(data), 3):
            damaged[place] = rng.integers(0, 256)
        try:
            read_scorer(bytes(damaged))
        except BundleError:
            refused += 1
    assert refused > 200


def test_a_scorer_that_is_not_valid_is_not_written(scorer):
    with pytest.raises(BundleError, match="threshold must be finite"):
        write_scorer(dataclasses.replace(scorer, threshold=float("nan")))
