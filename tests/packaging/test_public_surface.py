"""What `edgeosr` offers is what `__all__` says."""

import importlib
import types
from pathlib import Path

import pytest

import edgeosr


def test_every_name_in_all_can_be_had() -> None:
    for name in edgeosr.__all__:
        assert getattr(edgeosr, name) is not None


def test_everything_of_ours_that_is_visible_is_in_all() -> None:
    visible = {
        name
        for name, value in vars(edgeosr).items()
        if not name.startswith("_")
        and not isinstance(value, types.ModuleType)
        and str(getattr(value, "__module__", "")).startswith("edgeosr")
    }
    assert visible <= set(edgeosr.__all__)
    assert sorted(edgeosr.__all__) == edgeosr.__all__


@pytest.mark.parametrize(
    ("name", "home"),
    [
        ("Runtime", "runtime.runtime"),
        ("Verdict", "verdict"),
        ("TrainSettings", "training.settings"),
        ("train_run", "training.train_run"),
        ("resumed_settings", "training.train_run"),
        ("ExportSettings", "export.settings"),
        ("ExportReport", "export.bundling"),
        ("export_run", "export.export_run"),
        ("export_model", "export.foreign.export_model"),
        ("QualitySettings", "bench.quality"),
        ("QualityReport", "bench.quality_report"),
        ("evaluate_bundle", "bench.quality"),
    ],
)
def test_a_lazy_name_is_the_object_of_its_module(name: str, home: str) -> None:
    offered = getattr(edgeosr, name)
    assert offered is getattr(importlib.import_module(f"edgeosr.{home}"), name)
    assert offered.__doc__
    assert name in dir(edgeosr)


def test_the_list_above_is_complete_and_no_name_is_a_room_s() -> None:
    lazy = set(edgeosr.__all__) - {"EdgeosrError", "__version__"}
    tested = {row[0] for row in test_a_lazy_name_is_the_object_of_its_module.pytestmark[0].args[1]}
    assert tested == lazy
    folder = Path(edgeosr.__file__).parent
    rooms = {"export", "kernels", "bench"} | {
        path.stem for path in folder.iterdir() if path.suffix != ".typed"
    }
    assert not lazy & rooms


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    assert not hasattr(edgeosr, "Ranger")
