"""Lets the tests of this folder import its helper modules (simt_build, simt_run, ...)."""

import ctypes
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The launcher's planner for C++, see ``host_planner.py``."""
    from host_planner import host_library

    return host_library(tmp_path_factory.mktemp("host"))
