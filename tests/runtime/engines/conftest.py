"""Genuine TensorRT APIs, and a bundle with a typed backbone."""

import shutil
import sys
from pathlib import Path

import pytest

for folder in (Path(__file__).parent, Path(__file__).parents[1] / "backends"):
    sys.path.insert(0, str(folder))

from genuine import VERSIONS, api_of  # noqa: E402
from typed_bundle import write_typed_bundle  # noqa: E402

from edgeosr.bundle.manifest import parse_manifest  # noqa: E402


@pytest.fixture(scope="session")
def genuine_apis(tmp_path_factory):
    """The description of every version, by its name."""
    root = tmp_path_factory.mktemp("genuine")
    return {version: api_of(version, root) for version in VERSIONS}


@pytest.fixture(params=VERSIONS)
def api(request, genuine_apis):
    return genuine_apis[request.param]


@pytest.fixture(scope="session")
def written_bundle(tmp_path_factory):
    sample = parse_manifest(
        (Path(__file__).parents[2] / "core" / "bundle" / "sample_manifest.json").read_bytes()
    )
    return write_typed_bundle(tmp_path_factory.mktemp("written") / "small.edgeosr", sample)


@pytest.fixture
def bundle_path(written_bundle, tmp_path):
    """A small bundle with an fp16 backbone, each test's own."""
    return Path(shutil.copytree(written_bundle, tmp_path / "small.edgeosr"))
