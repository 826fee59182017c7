"""libedgeosr as it is built from the sources, and the tiny bundles of the runtime's tests."""

import functools
import importlib.util
import os
import sys
from pathlib import Path

import pytest

from edgeosr.bundle.directory import read_bundle
from edgeosr.runtime.backends import native as python_native
from edgeosr.runtime.native import library
from edgeosr.runtime.native.build import HERE, OBJECTS, PLAIN, build

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).parent))  # for the helpers beside the tests

import body_bundles  # noqa: E402  # the folder comes first
from handle import options  # noqa: E402


def tiny_bundles():
    """Return the module that makes them: another folder's conftest, by its path."""
    path = ROOT / "tests" / "runtime" / "conftest.py"
    spec = importlib.util.spec_from_file_location("edgeosr_tiny_bundles", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TINY = tiny_bundles()
manifest, make_bundle, bundle_path = TINY.manifest, TINY.make_bundle, TINY.bundle_path


@pytest.fixture(scope="session")
def built():
    """The library with the driver of its readers, as a file; objects are kept.

    ``EDGEOSR_TEST_FLAGS`` builds it otherwise, for the sanitizers.
    """
    folder = ROOT / OBJECTS
    flags = tuple(os.environ.get("EDGEOSR_TEST_FLAGS", "").split()) or PLAIN
    drivers = [HERE / "tools" / name for name in ("readers_driver.cpp", "count_allocations.cpp")]
    return build(folder / "tests" / "libedgeosr.so", objects=folder, more=drivers, flags=flags)


@pytest.fixture(scope="session")
def native(built):
    """The library, loaded."""
    return library.load_library(str(built))


@pytest.fixture(scope="session")
def tiny():
    """The module of the tiny bundles: ``sample_frames``, ``oracle`` and the graph."""
    return TINY


@pytest.fixture(scope="session")
def typed_bundle(manifest, tmp_path_factory):
    """Makes bundles of a small network in float32, once each; see ``typed_bundle.py`` of the runtime."""
    module = body_bundles.typed_bundles()

    @functools.cache
    def made(method="closed-form", head="cosine"):
        path = tmp_path_factory.mktemp("plain") / "plain.edgeosr"
        return read_bundle(module.write_typed_bundle(path, manifest, method, "fp32", head))

    return made


@pytest.fixture(scope="session")
def body_bundle(typed_bundle, tmp_path_factory):
    """Makes the same with a body, in the place of the backbone."""

    @functools.cache
    def made(method="closed-form", head="cosine"):
        path = tmp_path_factory.mktemp("body") / "body.edgeosr"
        return body_bundles.write_body_bundle(path, typed_bundle(method, head))

    return made


@pytest.fixture
def as_python_opens_it(native, monkeypatch):
    """``backend="native"`` opens the library that is tested, as with an onnxruntime wheel before 1.20."""
    monkeypatch.setenv(library.ONNXRUNTIME_VARIABLE, options().backend_library.decode())
    monkeypatch.setenv(library.OPENVINO_VARIABLE, library.openvino_library())
    monkeypatch.setattr(python_native, "load_library", lambda: native)
    monkeypatch.setattr(python_native, "onnxruntime_library", lambda: None)
