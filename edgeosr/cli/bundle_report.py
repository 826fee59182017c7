"""What ``edgeosr inspect`` says about a bundle."""

import textwrap

from edgeosr.bundle.digest import digest_within
from edgeosr.bundle.directory import Bundle
from edgeosr.bundle.manifest import Manifest
from edgeosr.cli.run_report import listed
from edgeosr.printed import counted, json_text, printable
from edgeosr.scoring.decides import decides
from edgeosr.scoring.parts import part
from edgeosr.scoring.probes import Probes
from edgeosr.scoring.thresholds import Threshold

# Letters of a line, the name of the fact before it left out.
WIDTH = 92
# Classes named one by one; --json has all of them.
LISTED_CLASSES = 20


def document_from_bundle(bundle: Bundle) -> str:
    """Return its path and its manifest as one JSON document."""
    plain = {"path": bundle.path, **bundle.manifest.as_json(), **digest_within(bundle.manifest_data)}
    return json_text(plain, indent=1)


def text_from_bundle(bundle: Bundle) -> str:
    """Return one aligned line for each thing a user may want to know, and for each score part."""
    manifest = bundle.manifest
    facts = {
        "bundle": f"{printable(bundle.path)}, every file as its manifest says; {_of_the_manifest(bundle)}",
        "made": f"{manifest.created} by edgeosr {manifest.edgeosr}",
        "classes": f"{len(manifest.classes)}: {listed(manifest.classes)}",
        "frames": _frames(manifest),
        "network": f"embedding of {manifest.embedding.dimension}, {manifest.head.kind} head",
        "score parts": _parts(manifest),
        "Jacobian": _jacobian(manifest),
        "discriminator": _discriminator(manifest),
        "decides": f"{decides(manifest.fusion)} (share of the score)",
        "score": _score(manifest),
        **_left_out(manifest),
        "threshold": _threshold(manifest),
        "data": _data(manifest),
        **_typed(manifest),
        **_body(manifest),
        "files": ", ".join(f"{name} {record.bytes:,} bytes" for name, record in manifest.files.items()),
    }
    width = max(map(len, facts))
    margin = "\n" + " " * (width + 2)
    return "\n".join(f"{name:<{width}}  {fact.replace(chr(10), margin)}" for name, fact in facts.items())


def _of_the_manifest(bundle: Bundle) -> str:
    if digest_within(bundle.manifest_data):
        return "the manifest itself as its digest says, which is no signature"
    return "the manifest itself has no digest, so not every edit of it is found: export again"


def _typed(manifest: Manifest) -> dict[str, str]:
    if manifest.backbone is None:
        return {}
    own = manifest.backbone.threshold
    built = [
        f"{engine.file} ({engine.builder} {engine.version}, {', '.join(engine.targets)}, batch "
        f"{engine.batch[0]} to {engine.batch[2]}, {engine.bytes:,} bytes)"
        for engine in manifest.engines
    ]
    return {
        "backbone": manifest.backbone.described(),
        "decision gate": manifest.backbone.gate.described(),
        **({} if own is None else {"engines' threshold": _common(own, ", their own")}),
        "engines": "; ".join(built) or "none yet; on the device: edgeosr build BUNDLE",
    }


def _body(manifest: Manifest) -> dict[str, str]:
    body = manifest.body
    if body is None:
        return {}
    own = body.threshold
    return {
        "body": f"{body.described()} ({body.converter}; judged on {body.processor})",
        "body's gate": body.gate.described(),
        **({} if own is None else {"body's threshold": _common(own, ", its own")}),
    }


def _frames(manifest: Manifest) -> str:
    preprocessing = manifest.preprocessing
    size = f"{manifest.frame[0]}x{manifest.frame[1]} only" if manifest.frame else "any size"
    share = f" {preprocessing.crop_fraction:g}" if preprocessing.crop_fraction < 1 else ""
    if preprocessing.resize_to is not None:
        share = f" of {preprocessing.resize_to}"
    network = f"{preprocessing.height}x{preprocessing.width}"
    return f"uint8 RGB or BGR, {size}; {preprocessing.fit}{share} to {network}"


def _parts(manifest: Manifest) -> str:
    width = max(map(len, manifest.parts), default=0)
    lines = (f"{name:<{width}}  {part(name).title}: {part(name).meaning}" for name in manifest.parts)
    return "\n".join(["larger = more unknown:", *lines])


_NORMS = {
    "J_z": "J_z = |dz/dh| / |z|",
    "J_w": "J_w = |sqrt(w) dz/dh| / |z|, w = 1 / variance of each channel within classes",
    "J_u": "J_u = |du/dh|, u = z / |z|",
}


def _jacobian(manifest: Manifest) -> str:
    jacobian = manifest.jacobian
    if jacobian.method == "none":
        return "none"
    norm = _NORMS[jacobian.kind]
    how = {"closed-form": "exact, in closed form", "probes": "probes"}[jacobian.method]
    return f"{norm}, with respect to h = {jacobian.with_respect_to}; {how}{_probes(jacobian.probes)}"


def _probes(probes: Probes | None) -> str:
    if probes is None:
        return ""
    directions = f"{probes.K} {probes.family} direction{'s' * (probes.K > 1)}"
    # What each family's sum estimates: see edgeosr.export.tangents.probes.
    whole = "an unbiased estimate of the whole" if probes.family == "random" else "no estimate of the whole"
    along = f": J_u^2 along {directions} times n/K, {whole} (n = {probes.n:,}, seed {probes.seed})"
    if not probes.errors:
        return along
    tried = ", ".join(f"{error:.2f} with {count}" for count, error in probes.errors)
    return (
        f"{along}, chosen for a standard error of log J_u below {probes.largest_error:g} of its spread over "
        f"known images ({tried})"
    )


def _discriminator(manifest: Manifest) -> str:
    discriminator = manifest.discriminator
    if discriminator is None:
        return "none"
    return f"{'-'.join(map(str, discriminator.layers))}, epoch selected by {discriminator.selected_by}"


def _score(manifest: Manifest) -> str:
    used = " + ".join(f"{weight:.3g} {name}" for name, weight in manifest.fusion.used().items())
    score = f"{used or 'nothing'} (standardised; larger = more unknown)"
    return "\n".join([score, *_wrapped(manifest.fusion.note)])


def _left_out(manifest: Manifest) -> dict[str, str]:
    record = manifest.left_out
    if record is None:
        return {}
    estimate = record.false_accepts_described(
        manifest.threshold.target_false_reject_rate, manifest.threshold.rule
    )
    said = [line for one in record.described() for line in _wrapped(one)]
    return {"left-out classes": "\n".join(said), "false accepts": "\n".join(_wrapped(estimate))}


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def _common(threshold: Threshold, whose: str = "") -> str:
    """Return what one threshold for all classes promises; ``whose``: behind its value."""
    low, high = threshold.interval
    return (
        f"accept if score <= {threshold.value:.4g}{whose}: rejects "
        f"{100 * threshold.target_false_reject_rate:g} % of known images or fewer "
        f"({100 * threshold.confidence:g} % interval {100 * low:.1f} to {100 * high:.1f} %; "
        f"{counted(threshold.images, 'image')}, {counted(threshold.groups, 'group')})"
    )


def _threshold(manifest: Manifest) -> str:
    threshold = manifest.threshold
    target, common = 100 * threshold.target_false_reject_rate, _common(threshold)
    if not threshold.by_class:
        return common
    lines = [
        f"per predicted class (rejects {target:g} % or fewer of the known images predicted as it; "
        f"{100 * threshold.confidence:g} % intervals):"
    ]
    for name, one in list(zip(manifest.classes, threshold.by_class, strict=True))[:LISTED_CLASSES]:
        said = "the common threshold, nothing promised of it alone"
        if one.interval is not None:
            said = f"{100 * one.interval[0]:.1f} to {100 * one.interval[1]:.1f} %"
        made_of = f"{counted(one.images, 'image')}, {counted(one.groups, 'group')}"
        lines.append(f"{name}: {one.value:.4g} ({said}; {made_of})")
    if len(threshold.by_class) > LISTED_CLASSES:
        lines.append(f"and {len(threshold.by_class) - LISTED_CLASSES} more classes; --json has all")
    if threshold.without_own(manifest.classes):
        lines.append(f"common threshold: {common}")
    return "\n".join(lines)


def _data(manifest: Manifest) -> str:
    data = manifest.data
    outliers = f"; outliers: {manifest.outliers.source}" if manifest.outliers else ""
    unknown = f"; never trained on: {listed(data.unknown)}" if data.unknown else ""
    groups = "" if data.groups is None else f"\n{data.groups.described()}"
    return f"{data.title} ({data.source}), seed {data.seed}{unknown}{outliers}{groups}"
