"""What a manifest says of the network: embedding, Jacobian norm, head, discriminator; and their readers."""

import math
from dataclasses import dataclass
from typing import Any

from edgeosr.bundle.checked_json import JsonNode
from edgeosr.scoring.limits import FILE_LIMITS
from edgeosr.scoring.probes import PROBE_FAMILIES, Probes
from edgeosr.scoring.scorer import HEADS

# By method, the kind of norm.
JACOBIAN_KINDS = {"closed-form": ("J_z", "J_w"), "none": ("J_z",), "probes": ("J_u",)}


@dataclass(frozen=True)
class EmbeddingRecord:
    """``dimension``: length D of the embedding z."""

    dimension: int


@dataclass(frozen=True)
class JacobianRecord:
    """Which Jacobian norm the graph computes.

    Attributes:
        method: ``closed-form``, ``probes``, or ``none`` (there is then no such part).
        kind: ``J_z`` = |dz/dh|_F / |z|, ``J_w`` = |diag(w)^(1/2) dz/dh|_F / |z| with w 1 / the variance of
            each channel within classes, mean 1, or ``J_u`` = |du/dh|_F with u = z / |z|.
        with_respect_to: what h is, in words; may be empty for ``none``.
        probes: for the method ``probes`` only.
    """

    method: str
    kind: str
    with_respect_to: str
    probes: Probes | None = None

    def as_json(self) -> dict[str, Any]:
        """Return plain values, as ``jacobian_from_json`` reads them."""
        probes = None if self.probes is None else self.probes.as_json()
        return {
            "method": self.method,
            "kind": self.kind,
            "with_respect_to": self.with_respect_to,
            "probes": probes,
        }


@dataclass(frozen=True)
class HeadRecord:
    """The head.

    Attributes:
        kind: cosine, linear or external (the graph's own).
        temperature: T of the m-OvR loss.
        margin: m of the m-OvR loss, radians.
    """

    kind: str
    temperature: float
    margin: float


@dataclass(frozen=True)
class DiscriminatorRecord:
    """``layers``: sizes from input to output; ``selected_by``: what chose its epoch, in words."""

    layers: tuple[int, ...]
    selected_by: str


def embedding_from_json(node: JsonNode) -> EmbeddingRecord:
    """Check the object of ``embedding``."""
    return EmbeddingRecord(node.fields(("dimension",))["dimension"].integer(1, FILE_LIMITS.dimension))


def jacobian_from_json(node: JsonNode) -> JacobianRecord:
    """Check the object of ``jacobian``."""
    field = node.fields(JacobianRecord.__dataclass_fields__)
    method = field["method"].choice(JACOBIAN_KINDS)
    kind = field["kind"].choice(JACOBIAN_KINDS[method])
    text = field["with_respect_to"].text(empty=method == "none")
    if method == "probes":
        return JacobianRecord(method, kind, text, probes_from_json(field["probes"], text))
    if not field["probes"].is_null:
        field["probes"].fail(f"null for the method {method}")
    return JacobianRecord(method, kind, text)


def probes_from_json(node: JsonNode, with_respect_to: str) -> Probes:
    """Check the object of ``jacobian.probes``; ``with_respect_to`` stands beside it."""
    field = node.fields(Probes.WRITTEN)
    size = field["n"].integer(1, FILE_LIMITS.space)
    most = min(size, FILE_LIMITS.probes)
    pairs = [pair.items(2, 2) for pair in field["errors"].items(0, 64)]
    largest = field["largest_error"]
    return Probes(
        K=field["K"].integer(1, most),
        n=size,
        gain=field["gain"].above_zero(),
        cut=field["cut"].text(),
        tensor=field["tensor"].text(),
        family=field["family"].choice(PROBE_FAMILIES),
        seed=field["seed"].integer(0, 2**64),
        errors=tuple((count.integer(1, most), error.number(0)) for count, error in pairs),
        largest_error=None if largest.is_null else largest.number(0),
        with_respect_to=with_respect_to,
    )


def head_from_json(node: JsonNode) -> HeadRecord:
    """Check the object of ``head``."""
    field = node.fields(HeadRecord.__dataclass_fields__)
    return HeadRecord(
        field["kind"].choice(HEADS),
        field["temperature"].above_zero(),
        field["margin"].number(0, math.pi / 2),
    )


def discriminator_from_json(node: JsonNode) -> DiscriminatorRecord:
    """Check the object of ``discriminator``."""
    field = node.fields(DiscriminatorRecord.__dataclass_fields__)
    first, *others = field["layers"].items(2, FILE_LIMITS.layers + 1)
    layers = (
        first.integer(1, FILE_LIMITS.dimension),
        *(item.integer(1, FILE_LIMITS.width) for item in others),
    )
    return DiscriminatorRecord(layers, field["selected_by"].text())
