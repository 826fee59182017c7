"""The lowest versions are read out of pyproject.toml, for any Python and any extra."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import tomllib


def module(name: str) -> ModuleType:
    """Load a file beside this one; tests are no package."""
    specification = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert specification is not None and specification.loader is not None
    loaded = importlib.util.module_from_spec(specification)
    sys.modules[name] = loaded
    specification.loader.exec_module(loaded)
    return loaded


floors = module("floors")
run = module("run")


def test_the_highest_of_the_lower_bounds_that_apply_is_the_floor() -> None:
    lines = ["a>=1.2", "a>=1.10; python_version >= '3.12'", "b==3", "c>=2,<4; python_version < '3.11'"]
    assert floors.floors_from_requirements(lines, "3.10") == {"a": "1.2", "b": "3", "c": "2"}
    assert floors.floors_from_requirements(lines, "3.13") == {"a": "1.10", "b": "3"}


def test_a_requirement_without_a_lower_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="write a>="):
        floors.floors_from_requirements(["a<3"], "3.11")


def test_an_extra_brings_the_extras_of_ours_that_it_names() -> None:
    project = {
        "dependencies": ["a>=1"],
        "optional-dependencies": {"x": ["b>=2"], "y": ["edgeosr[x]", "c>=3"]},
    }
    assert sorted(floors.declared(["y"], project)) == ["a>=1", "b>=2", "c>=3"]
    assert floors.declared([], project) == ["a>=1"]


def test_every_set_pins_all_that_it_installs_and_only_training_has_torch() -> None:
    for chosen in run.SETS:
        pins = dict(line.split("==") for line in floors.constraints(chosen.extras, chosen.python))
        assert {"numpy", "onnxruntime", "pillow", "rich", "typer"} <= set(pins)
        assert ("torch" in pins) == (chosen.extras == ("train",))
        assert ("onnx" in pins) == bool(chosen.extras)


def test_what_a_set_runs_is_there() -> None:
    for chosen in run.SETS:
        for test in chosen.tests:
            path, _, name = test.partition("::")
            text = (floors.ROOT / path).read_text("utf-8")
            assert f"def {name}" in text


def test_an_interpreter_is_found_by_its_version_or_said_to_be_missing() -> None:
    here = "{}.{}".format(*sys.version_info)
    assert run.find_python(here)
    assert run.find_python("2.99") is None


def test_the_wheel_is_built_with_every_file_that_the_project_names() -> None:
    project = tomllib.loads((floors.ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert {project["readme"], *project["license-files"]} <= set(run.TOP_FILES)
