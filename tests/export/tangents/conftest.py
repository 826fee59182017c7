"""The oracles of ``oracle.py`` as fixtures: test files cannot import each other."""

import importlib.util
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location("tangents_oracle", Path(__file__).with_name("oracle.py"))
_ORACLE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_ORACLE)


@pytest.fixture
def check_rule():
    """``oracle.check_rule``: a one-node graph against central differences in float64."""
    return _ORACLE.check_rule


@pytest.fixture
def rule_tangents():
    """``oracle.rule_tangents``: what a rule gives for a graph of ``one_node``."""
    return _ORACLE.rule_tangents


@pytest.fixture
def one_node():
    """``oracle.one_node``: a graph of one node."""
    return _ORACLE.one_node


@pytest.fixture
def check_against_torch():
    """``oracle.check_against_torch``: a one-node graph against ``torch.func.jvp``."""
    return _ORACLE.check_against_torch


@pytest.fixture
def torch_tangent():
    """``oracle.torch_tangent``: ``torch.func.jvp``."""
    return _ORACLE.torch_tangent
