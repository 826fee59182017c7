"""Whatever the code names of TensorRT exists in every version it says it supports."""

import ast
from pathlib import Path

import pytest
from genuine import VERSIONS, Double, fits, parameters

ROOT = Path(__file__).parents[3]
FILES = [
    *sorted((ROOT / "edgeosr/runtime/engines").glob("*.py")),
    *sorted((ROOT / "edgeosr/runtime/backends").glob("*.py")),
]
# Variables by the class of what they hold, in the files that talk to TensorRT.
HOLDS = {
    "build.py": {
        "builder": "Builder",
        "network": "INetworkDefinition",
        "parser": "OnnxParser",
        "config": "IBuilderConfig",
        "profile": "IOptimizationProfile",
        "cache": "ITimingCache",
        "error": "ParserError",
    },
    "engine_io.py": {"engine": "ICudaEngine"},
    "engine_slot.py": {"_context": "IExecutionContext"},
    "contexts.py": {"_engine": "ICudaEngine"},
    "open_engine.py": {"engine": "ICudaEngine", "runtime": "Runtime"},
}
# What only TensorRT-RTX has, behind a check of the builder.
RTX_FILES = {"rtx_contexts.py"}
RTX_NAMES = {"ComputeCapability", "num_compute_capabilities", "set_compute_capability"}


def names_in(path: Path) -> set[tuple[str, str]]:
    """(class, member) or (class, "") for everything the file names of TensorRT."""
    found = set()
    holds = HOLDS.get(path.name, {})
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.Attribute):
            continue
        chain = []
        inner: ast.AST = node
        while isinstance(inner, ast.Attribute):
            chain.insert(0, inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            chain.insert(0, inner.id)
        for position, word in enumerate(chain[:-1]):
            if word in ("trt", "_trt") and chain[position + 1] != "__version__":
                found.add((chain[position + 1], ".".join(chain[position + 2 :])))
            elif word in holds and position in (0, len(chain) - 2):
                found.add((holds[word], chain[position + 1]))
    return found


NAMED = sorted(
    {
        name
        for path in FILES
        if path.name not in RTX_FILES
        for name in names_in(path)
        if not RTX_NAMES & set(name)
    }
)


def test_the_scan_finds_what_it_is_for():
    assert {"Builder", "OnnxParser", "Runtime", "ICudaEngine", "IExecutionContext"} <= {
        cls for cls, _ in NAMED
    }
    assert ("NetworkDefinitionCreationFlag", "STRONGLY_TYPED") in NAMED
    assert ("IExecutionContext", "execute_async_v3") in NAMED
    assert len(NAMED) > 40


@pytest.mark.parametrize(("cls", "member"), NAMED, ids=lambda part: part or "itself")
def test_it_is_in_every_version(cls, member, genuine_apis):
    for version in VERSIONS:
        classes = genuine_apis[version]["classes"]
        assert cls in classes, f"TensorRT {version} has no {cls}"
        assert not member or member in classes[cls], f"{cls} of TensorRT {version} has no {member}"


def test_what_11_took_away_is_seen_to_be_missing(genuine_apis):
    """The scan would catch a precision flag: 10 has it and 11 has not."""
    assert "FP16" in genuine_apis["10.3.0"]["classes"]["BuilderFlag"]
    assert "FP16" not in genuine_apis["11.4.0.106"]["classes"]["BuilderFlag"]
    assert {apis["version"] for apis in genuine_apis.values()} == set(VERSIONS)


def test_signatures_are_read_as_they_are_written():
    text = "(self: trt.A, input: str, min: trt.Dims, flags: int = 0, cb: Callable[[int, str], None] = 0) -> A"
    assert parameters(text) == [("input", False), ("min", False), ("flags", True), ("cb", True)]
    assert fits(text, ("x", 1), {}) and fits(text, ("x",), {"min": 2, "flags": 3})
    assert not fits(text, ("x",), {}), "a required argument is missing"
    assert not fits(text, ("x", 1), {"workspace": 1}), "there is no such argument"
    assert not fits(text, ("x", 1, 2, 3, 4), {}), "too many"
    assert not fits(text, ("x", 1), {"min": 2}), "given twice"


def test_a_double_has_no_other_members_than_the_class(api):
    config = Double(api, "IBuilderConfig", [])
    with pytest.raises(AttributeError, match="no max_workspace_size"):
        config.max_workspace_size = 1
    with pytest.raises(AttributeError, match="no build_engine"):
        config.build_engine  # noqa: B018
    with pytest.raises(AssertionError, match="set_timing_cache takes"):
        config.set_timing_cache(b"")
