"""A deployed model is held against its known images before anything is made of it."""

import json
import re
import shutil

import numpy as np
import pytest

from edgeosr.errors import DataError, ExportError
from edgeosr.export.foreign.export_model import export_model
from edgeosr.export.settings import ExportSettings

NAMES = ("1", "2", "3", "10", "20", "30")
MEAN, STD = (0.2, 0.45, 0.7), (0.15, 0.25, 0.35)
OWN = {"mean": MEAN, "std": STD}


def test_a_model_stated_rightly_passes_and_agrees_with_its_bundle(deployed, known, checked):
    check = checked(deployed(), known, **OWN)
    assert check.accuracy > 0.9 and check.images > 60
    assert check.agreement.equal_labels == 1 and check.agreement.largest_difference < 1e-4
    assert check.agreement.of_the_file and not check.agreement.other_filters
    assert check.better is None and not check.warnings


def test_mean_and_std_of_a_bgr_model_are_typed_in_its_own_order(deployed, known, checked):
    model = deployed(bgr=True)
    assert checked(model, known, color="bgr", **OWN).agreement.largest_difference < 1e-4
    with pytest.raises(
        DataError, match=r"another preprocessing.*write .*in place of --mean .*, --std .*, --color"
    ):
        checked(model, known, color="bgr", mean=MEAN[::-1], std=STD[::-1])


def test_mean_and_std_in_0_255_are_those_in_0_1(deployed, known, checked):
    big = {name: tuple(255 * value for value in values) for name, values in OWN.items()}
    assert checked(deployed(), known, **big).agreement.largest_difference < 1e-4


@pytest.mark.parametrize(
    ("model", "stated", "expected"),
    [
        (
            {"mean": (0,) * 3, "std": (1 / 255,) * 3},
            {"preprocessing": "inception", "fit": "stretch"},
            "--preprocessing 0..255 in place of --preprocessing inception; --accept",
        ),
        (
            {"mean": (0.408, 0.458, 0.485), "std": (1 / 255,) * 3, "bgr": True},
            {"preprocessing": "0..1"},
            "--preprocessing caffe in place of --preprocessing 0..1",
        ),
        ({}, {"color": "bgr", **OWN}, "--color rgb --mean 0.2 0.45 0.7 --std 0.15 0.25 0.35 in place of"),
    ],
)
def test_the_preprocessing_that_is_right_is_named(deployed, known, checked, model, stated, expected):
    with pytest.raises(DataError, match=re.escape(f"write {expected}")):
        checked(deployed(**model), known, **stated)


def test_what_is_named_for_a_grey_model_is_what_a_grey_model_takes(deployed, known, checked):
    with pytest.raises(
        DataError, match=r"write --preprocessing 0\.\.255 in place of --preprocessing inception;"
    ):
        checked(deployed((0,) * 3, (1 / 255,) * 3, grey=True), known, preprocessing="inception")
    # The values of caffe would do, but it has a mean for each colour.
    model = deployed((0.45,) * 3, (1 / 255,) * 3, grey=True)
    with pytest.raises(DataError, match=r"by chance with 6 classes.*\(--preprocessing, --mean, --std\)"):
        checked(model, known, preprocessing="inception")


def test_classes_in_the_order_of_folders_are_refused_with_their_natural_order(deployed, known, checked):
    with pytest.raises(DataError) as refused:
        checked(deployed(), known, known=None, **OWN)
    assert "4 names moved (their natural order, numbers by value)" in str(refused.value)
    assert "write --known 1,2,3,10,20,30;" in str(refused.value)


@pytest.mark.parametrize(
    "given",
    [
        ("2", "1", "3", "10", "20", "30"),
        ("30", "1", "2", "3", "10", "20"),
        ("1", "10", "2", "3", "20", "30"),
        tuple(reversed(NAMES)),
    ],
)
def test_any_order_that_is_right_is_named(deployed, known, checked, given):
    with pytest.raises(DataError, match="write --known 1,2,3,10,20,30;"):
        checked(deployed(), known, known=given, **OWN)


def test_two_classes_turned_round_in_a_model_of_two_are_named(deployed, known, checked, tmp_path):
    for name, kind in (("a", "1"), ("b", "2")):
        shutil.copytree(known / kind, tmp_path / name)
    two = _first_outputs(deployed(), tmp_path.parent / "two.onnx", 2)
    assert checked(two, tmp_path, known=("a", "b"), **OWN).accuracy > 0.9
    with pytest.raises(DataError, match="write --known a,b;"):
        checked(two, tmp_path, known=("b", "a"), **OWN)


@pytest.mark.parametrize("images", [5, 6])
def test_two_of_five_images_a_class_turned_round_are_found(deployed, known, checked, tmp_path, images):
    for name in NAMES:
        count = images if name in ("1", "3") else 30
        (tmp_path / name).mkdir()
        for number in range(count):
            shutil.copy(known / name / f"{number}.png", tmp_path / name)
    assert not checked(deployed(), tmp_path, **OWN).warnings
    with pytest.raises(DataError, match=r"2 names moved.*write --known 1,2,3,10,20,30;"):
        checked(deployed(), tmp_path, known=("3", "2", "1", "10", "20", "30"), **OWN)


def test_names_that_a_weak_model_may_have_exchanged_are_refused_or_at_least_told(
    deployed, known, another, checked, tmp_path, capsys
):
    # Of two classes, each folder holds images that the model takes for the other: a weak model.
    folder = tmp_path / "known"
    shutil.copytree(known, folder)
    for name, other in (("1", "3"), ("3", "1")):
        another(tmp_path / "new", other, other)
        for number in range(14):
            shutil.move(tmp_path / "new" / other / f"{number}.png", folder / name / f"new-{number}.png")
        for number in range(24, 30):
            (folder / name / f"{number}.png").unlink()
    exchanged = ("3", "2", "1", "10", "20", "30")
    with pytest.raises(
        DataError, match=r"not proven: with '3', '1' exchanged it names .*--known 1,2,3,10,20,30;"
    ):
        checked(deployed(), folder, known=exchanged, **OWN)
    assert checked(deployed(), folder, known=exchanged, accept_weak_classes=True, **OWN).warnings
    assert not checked(deployed(), folder, **OWN).warnings
    for name in ("1", "3"):
        for number in range(18, 24):
            (folder / name / f"{number}.png").unlink()
    capsys.readouterr()
    assert len(checked(deployed(), folder, known=exchanged, **OWN).warnings) == 1
    assert "with '3', '1' exchanged it names" in capsys.readouterr().err


def test_order_and_preprocessing_that_are_both_wrong_are_both_named(deployed, known, checked):
    model = deployed((0.408, 0.458, 0.485), (1 / 255,) * 3, bgr=True)
    with pytest.raises(DataError, match=r"--preprocessing caffe.*--known 1,2,3,10,20,30|--known.*caffe"):
        checked(model, known, known=None, preprocessing="inception")


@pytest.mark.parametrize("given", [("2", "1", "3", "10", "20", "30"), ("30", "3", "2", "1", "20", "10")])
def test_a_preprocessing_that_an_order_hides_is_named_with_the_right_order(deployed, known, checked, given):
    # Colours turned round look like another order of hues: of these, the one that people use comes first.
    model = deployed(bgr=True)
    with pytest.raises(DataError) as refused:
        checked(model, known, known=given, mean=MEAN[::-1], std=STD[::-1])
    assert re.search(r"write .*--color bgr.* and --known 1,2,3,10,20,30", str(refused.value))


def test_a_class_whose_folder_holds_something_else_is_named_and_taken_on_request(
    deployed, known, another, checked, tmp_path, capsys
):
    folder = tmp_path / "known"
    shutil.copytree(known, folder)
    shutil.rmtree(folder / "20")
    # New pictures: copies of those in 3 would be one with them.
    another(folder, "20", "3")
    with pytest.raises(DataError, match=r"1 of 6 classes clearly more often than by chance: '20' \(0 of \d+"):
        checked(deployed(), folder, **OWN)
    check = checked(deployed(), folder, accept_weak_classes=True, **OWN)
    assert len(check.warnings) == 1
    assert "warning: the model does not name 1 of 6 classes" in capsys.readouterr().err


def test_a_model_that_gives_one_answer_is_refused(deployed, known, checked, tmp_path):
    import onnx
    from onnx import numpy_helper

    proto = onnx.load(deployed())
    bias = next(tensor for tensor in proto.graph.initializer if tensor.name == "bias")
    bias.CopyFrom(numpy_helper.from_array(np.array([0, 0, 1e4, 0, 0, 0], np.float32), "bias"))
    onnx.save(proto, tmp_path / "stuck.onnx")
    with pytest.raises(DataError, match=r"hardly more than by chance with 6 classes; check the class order"):
        checked(tmp_path / "stuck.onnx", known, **OWN)


def test_a_file_that_runs_one_image_at_a_time_is_compared_too(deployed, known, checked, tmp_path):
    import onnx

    proto = onnx.load(deployed())
    for value in (proto.graph.input[0], proto.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(proto, tmp_path / "one.onnx")
    assert checked(tmp_path / "one.onnx", known, **OWN).agreement.of_the_file


def test_a_graph_that_answers_like_another_model_is_refused_and_taken_on_request(deployed, known, checked):
    other = deployed((0.408, 0.458, 0.485), (1 / 255,) * 3, bgr=True)
    with pytest.raises(ExportError, match=r"is not this model: at least 90% of 84 known images .* got \d"):
        checked(deployed(), known, graph_of=other, **OWN)
    check = checked(deployed(), known, graph_of=other, accept_weak_classes=True, **OWN)
    assert check.agreement.another_model and "is not this model" in check.warnings[0]
    # Another filter than edgeosr's explains a difference.
    assert checked(deployed(), known, graph_of=other, resampling="bicubic", **OWN).warnings


def _first_outputs(path, to, count):
    """Write the model with its first outputs alone."""
    import onnx
    from onnx import numpy_helper

    proto = onnx.load(path)
    for tensor in proto.graph.initializer:
        if tensor.name in ("weight", "bias"):
            tensor.CopyFrom(
                numpy_helper.from_array(numpy_helper.to_array(tensor)[:count].copy(), tensor.name)
            )
    proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value = count
    onnx.save(proto, to)
    return to


def test_the_report_tells_the_agreement_in_text_and_json(deployed, known, tmp_path, monkeypatch):
    monkeypatch.setattr("edgeosr.export.foreign.export_model.torch_is_there", lambda: False)
    settings = ExportSettings(data=str(known), known=NAMES, out=tmp_path / "o.edgeosr", threads=1, **OWN)
    report = export_model(deployed(), settings)
    assert re.search(
        r"preprocessing +crop to 32x32, mean 0.2 0.45 0.7, std 0.15 0.25 0.35 of values in 0..1, RGB\n"
        r" +against the model itself on 84 known images preprocessed by Pillow and NumPy "
        r"\(bilinear\):\n +100.0% equal labels, largest logit difference \d",
        report.as_text(),
    )
    found = json.loads(report.as_json())["known_check"]
    assert found["agreement"]["equal_labels"] == 1 and found["agreement"]["largest_difference"] < 1e-4
    assert found["better_preprocessing"] is None and found["warnings"] == []
