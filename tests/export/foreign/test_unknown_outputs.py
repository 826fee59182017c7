"""Outputs without images, such as a background class: what the model names so is unknown."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from edgeosr import Runtime
from edgeosr.bench.quality import evaluate_bundle
from edgeosr.bench.quality_settings import QualitySettings
from edgeosr.bundle.directory import read_bundle
from edgeosr.cli.bundle_report import text_from_bundle
from edgeosr.data.catalogue import open_image_set
from edgeosr.errors import DataError, UsageError
from edgeosr.export.foreign.export_model import export_model
from edgeosr.export.measure import GraphRunner
from edgeosr.export.settings import ExportSettings

NAMES = ("1", "2", "3", "10", "20", "30")
KNOWN = ("2", "10", "20", "30")
OWN = {"mean": (0.2, 0.45, 0.7), "std": (0.15, 0.25, 0.35), "threads": 1}


@pytest.fixture(scope="module")
def partly(known, tmp_path_factory):
    """Images of four of the model's six outputs; the first and a middle one have none."""
    folder = tmp_path_factory.mktemp("partly")
    for name in KNOWN:
        shutil.copytree(known / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def bundle(deployed, partly, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundle") / "partly.edgeosr"
    settings = ExportSettings(
        data=str(partly), known=NAMES, unknown_outputs=("3", "1"), false_reject_rate=0.1, out=out, **OWN
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgeosr.export.foreign.export_model.torch_is_there", lambda: False)
        return export_model(deployed(), settings)


def test_what_the_model_names_so_is_unknown_and_the_rest_keeps_its_name(bundle, known):
    assert bundle.manifest.classes == KNOWN
    with Runtime(bundle.path) as runtime:
        runtime.threshold = 1e30  # above every finite score
        for name in NAMES:
            frames = [np.asarray(Image.open(known / name / f"{i}.png")) for i in range(8)]
            verdicts = runtime(frames)
            if name in KNOWN:
                assert [verdict.label for verdict in verdicts].count(name) >= 7
            else:
                assert [verdict.label for verdict in verdicts].count("unknown") >= 7
                assert sum(verdict.score == np.inf for verdict in verdicts) >= 7


def test_export_inspect_and_evaluate_say_so(bundle, known, tmp_path):
    said = "what the model itself names '1' or '3' is unknown, whatever its score"
    assert said in bundle.as_text().replace("\n" + " " * 17, " ")
    assert said in text_from_bundle(read_bundle(bundle.path))
    for name in ("1", "3"):
        shutil.copytree(known / name, tmp_path / "other" / name)
    report = evaluate_bundle(
        bundle.path, QualitySettings(unknown=str(tmp_path / "other"), out=tmp_path / "o")
    )
    assert report.fused.closed_accuracy > 0.9


def test_what_the_model_names_so_is_not_named_right(bundle, known, tmp_path):
    """Known folders that hold images of an unknown output too, which look like no class of their own."""
    for name in KNOWN:
        shutil.copytree(known / name, tmp_path / "known" / name)
    for i in range(20):
        shutil.copy(known / "1" / f"{i}.png", tmp_path / "known" / KNOWN[i % 4] / f"other{i}.png")
    images = open_image_set(str(tmp_path / "known"), None).train
    measured = GraphRunner(read_bundle(bundle.path).files["model.onnx"], threads=1).measure(images, "test")
    unknown = np.isposinf(measured.scores)
    assert unknown.sum() >= 18 and (measured.answers[unknown] == -1).all()
    assert measured.accuracy == np.mean((measured.predictions == measured.labels) & ~unknown)
    labels = np.array([KNOWN.index(name) for name in images.class_names])[measured.labels]
    right = measured.predictions == labels
    images = {"known": str(tmp_path / "known"), "unknown": str(known / "3")}
    report = evaluate_bundle(bundle.path, QualitySettings(**images, out=tmp_path / "o"))
    assert report.fused.closed_accuracy == pytest.approx(np.mean(right & ~unknown))
    assert (right & unknown).any()


def test_rest_are_all_outputs_without_images(deployed, partly, tmp_path, monkeypatch):
    def stop(path, own, stated, parts, settings):
        raise DataError(f"stopped with {parts.known}, {parts.train.class_names}")

    monkeypatch.setattr("edgeosr.export.foreign.export_model.check_on_known_images", stop)
    (partly / "empty").mkdir()
    settings = ExportSettings(
        data=str(partly), known=NAMES, unknown_outputs=("rest",), false_reject_rate=0.1, **OWN
    )
    with pytest.raises(DataError, match=r"stopped with .'1', '2', '3', '10', '20', '30'.*'1', '2', '3'"):
        export_model(deployed(), settings)


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"known": NAMES}, DataError, r"has no images of '1' and '3'; .* add --unknown-outputs 1,3: what"),
        ({"known": None}, UsageError, r"6 outputs, but .* --unknown-outputs rest beside it"),
        ({"unknown_outputs": ("4",)}, UsageError, r"names '4', which is none of the model's outputs"),
        (
            {"unknown_outputs": ("1", "2", "3", "10", "20")},
            UsageError,
            "at least 2 known classes; got 1 of 6",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_type(deployed, partly, changes, error, said):
    with pytest.raises(error, match=said):
        export_model(deployed(), ExportSettings(**{"data": str(partly), "known": NAMES, **OWN, **changes}))


def test_engines_do_not_take_it():
    with pytest.raises(UsageError, match=r"decided in model\.onnx.*got --engine fp16; leave one of them out"):
        ExportSettings(unknown_outputs=("background",), precision="fp16")


def test_names_of_which_none_is_a_folder_are_listed_beside_the_folders(deployed, partly):
    numbered = tuple(f"{i} {name}" for i, name in enumerate(NAMES))
    settings = ExportSettings(data=str(partly), known=numbered, unknown_outputs=("rest",), **OWN)
    with pytest.raises(
        UsageError, match=r"no name of an output is a folder: .*'0 1', '1 2'.*'10', '2', '20'"
    ):
        export_model(deployed(), settings)


def test_the_warnings_of_json_are_those_of_the_model_and_those_of_its_classes(bundle):
    check = replace(bundle.known_check, warnings=("the order is in doubt",))
    plain = json.loads(replace(bundle, known_check=check).as_json())
    assert plain["warnings"] == ["the order is in doubt", *bundle.by_class.warnings]
    assert plain["known_check"]["warnings"] == ["the order is in doubt"]
