"""Limits stand in one place, and each of them is enforced by somebody."""

import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from edgeosr.bundle.checked_json import parse_json
from edgeosr.bundle.network import (
    discriminator_from_json,
    embedding_from_json,
    jacobian_from_json,
    probes_from_json,
)
from edgeosr.errors import BundleError
from edgeosr.scoring.fusion import unfitted_fusion
from edgeosr.scoring.limits import FILE_LIMITS, KERNEL_LIMITS, Limits
from edgeosr.scoring.scorer import Head, Scorer
from edgeosr.scoring.scorer_file import write_scorer

ROOT = Path(__file__).resolve().parents[3]
SOURCES = [path.read_text("utf-8") for room in ("edgeosr", "kernels") for path in (ROOT / room).rglob("*.py")]
SPACE, PROBES = FILE_LIMITS.space, FILE_LIMITS.probes


@pytest.mark.parametrize("name", asdict(FILE_LIMITS))
def test_every_limit_of_the_files_has_a_reader(name):
    assert any(f"FILE_LIMITS.{name}" in text for text in SOURCES)


@pytest.mark.parametrize("name", asdict(KERNEL_LIMITS))
def test_every_limit_of_the_kernel_has_a_reader(name):
    assert any(re.search(rf"(KERNEL_LIMITS|limits)\.{name}\b", text) for text in SOURCES)


@pytest.mark.parametrize("name", Limits.__dataclass_fields__)
def test_what_the_kernel_takes_the_files_can_hold(name):
    assert getattr(KERNEL_LIMITS, name) <= getattr(FILE_LIMITS, name)


def scorer_with_layers(*widths):
    """Zeros of these sizes: one input, so that a wide layer is small."""
    layers, inputs = [], 1
    for outputs in widths:
        layers.append((np.zeros((outputs, inputs), np.float32), np.zeros(outputs, np.float32)))
        inputs = outputs
    head = Head(
        kind="linear", weight=np.ones((1, 1), np.float32), bias=np.zeros(1, np.float32), temperature=1.0
    )
    return Scorer(
        dimension=1,
        classes=1,
        head=head,
        fusion=unfitted_fusion(("max_logit",)),
        threshold=0.0,
        layers=tuple(layers),
    )


def test_a_hidden_layer_as_wide_as_the_limit_is_written_and_one_wider_is_not():
    write_scorer(scorer_with_layers(FILE_LIMITS.width, 1))
    with pytest.raises(BundleError, match="layer_0 must have at most 65536 outputs; got 65537"):
        write_scorer(scorer_with_layers(FILE_LIMITS.width + 1, 1))


def test_as_many_layers_as_the_limit_are_written_and_one_more_is_not():
    write_scorer(scorer_with_layers(*[1] * FILE_LIMITS.layers))
    with pytest.raises(BundleError, match="at most 64 layers; got 65"):
        write_scorer(scorer_with_layers(*[1] * (FILE_LIMITS.layers + 1)))


def node(text):
    return parse_json(text.encode(), "manifest.json", BundleError, then="")


def probes(**changes):
    values = {"K": "4", "n": "768", "gain": "1.0", "errors": "[]", **changes}
    numbers = ", ".join(f'"{name}": {value}' for name, value in values.items())
    words = '"cut": "input", "tensor": "pixels", "family": "random", "seed": 0, "largest_error": null'
    return f"{{{numbers}, {words}}}"


AT_THE_LIMIT = [
    (embedding_from_json, f'{{"dimension": {FILE_LIMITS.dimension}}}'),
    (discriminator_from_json, f'{{"layers": [{FILE_LIMITS.dimension}, 65536, 1], "selected_by": "x"}}'),
    (discriminator_from_json, f'{{"layers": {[1] * (FILE_LIMITS.layers + 1)}, "selected_by": "x"}}'),
    (lambda found: probes_from_json(found, "x"), probes(n=SPACE, K=PROBES, errors=f"[[{PROBES}, 0.1]]")),
]
BEYOND = [
    (embedding_from_json, '{"dimension": 65537}', "dimension: expected a whole number from 1 to 65536"),
    (discriminator_from_json, '{"layers": [65537, 1], "selected_by": "x"}', "layers[0]: expected a whole"),
    (discriminator_from_json, '{"layers": [1, 65537, 1], "selected_by": "x"}', "layers[1]: expected a whole"),
    (discriminator_from_json, f'{{"layers": {[1] * 66}, "selected_by": "x"}}', "a list of 2 to 65 items"),
]
BEYOND_PROBES = [
    (probes(n=SPACE + 1), f"n: expected a whole number from 1 to {SPACE}"),
    (probes(n=SPACE, K=PROBES + 1), f"K: expected a whole number from 1 to {PROBES}"),
    (
        probes(n=SPACE, errors=f"[[{PROBES + 1}, 0.1]]"),
        "errors[0][0]: expected a whole number from 1 to 4096",
    ),
    (probes(gain="0"), "gain: expected a number above 0"),
    (probes(gain="-1"), "gain: expected a number above 0"),
]


@pytest.mark.parametrize(("read", "text"), AT_THE_LIMIT)
def test_a_manifest_may_say_what_scorer_npz_may_hold(read, text):
    read(node(text))


@pytest.mark.parametrize(("read", "text", "said"), BEYOND)
def test_a_manifest_may_not_say_more_than_scorer_npz_may_hold(read, text, said):
    with pytest.raises(BundleError, match=re.escape(said)):
        read(node(text))


@pytest.mark.parametrize(("text", "said"), BEYOND_PROBES)
def test_probes_in_a_manifest_have_the_limits_of_scorer_npz(text, said):
    with pytest.raises(BundleError, match=re.escape(said)):
        probes_from_json(node(text), "x")
    whole = f'{{"method": "probes", "kind": "J_u", "with_respect_to": "x", "probes": {text}}}'
    with pytest.raises(BundleError, match=re.escape(said)):
        jacobian_from_json(node(whole))


def test_a_long_list_of_names_is_read_in_a_moment():
    import time

    names = [f"class {i}" for i in range(FILE_LIMITS.classes)]
    started = time.perf_counter()
    assert node(str(names).replace("'", '"')).texts() == tuple(names)
    assert time.perf_counter() - started < 20  # looking each up in those before takes minutes
    with pytest.raises(BundleError, match="'class 1' is in the list twice"):
        node(str([*names[1:], "class 1"]).replace("'", '"')).texts()


def test_a_scorer_of_more_classes_than_a_manifest_can_name_is_not_written():
    with pytest.raises(BundleError, match="classes must be from 1 to 65536; got 65537"):
        write_scorer(replace(scorer_with_layers(), classes=FILE_LIMITS.classes + 1))
