"""What `edgeosr` offers is what `__all__` says."""

import importlib
import types

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


def test_the_lazy_names_are_the_objects_of_their_modules() -> None:
    assert edgeosr.Verdict is importlib.import_module("edgeosr.verdict").Verdict
    assert edgeosr.Runtime is importlib.import_module("edgeosr.runtime.runtime").Runtime


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    assert not hasattr(edgeosr, "Ranger")
