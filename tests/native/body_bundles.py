"""Small bundles with a body for OpenVINO: the network cut out of ``model.onnx``, with its golden verdicts."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx.utils import Extractor

from edgeosr.bundle.backbone import GateRecord
from edgeosr.bundle.body import BodyRecord
from edgeosr.bundle.directory import read_bundle, write_bundle
from edgeosr.bundle.engines import EngineRecord
from edgeosr.bundle.manifest import BACKBONE, BODY
from edgeosr.files import sha256_of
from edgeosr.runtime.engines.store import add_engine, engine_lock
from edgeosr.runtime.golden import Expected, Rounding, read_golden, runner_up, write_golden
from edgeosr.runtime.openvino_graph import OpenVinoGraph
from edgeosr.runtime.openvino_stages import Body

GATE = GateRecord(
    known=900, unknown=100, ties=0, agreement=1.0, labels=1.0, decisions=1.0, minimum=0.995,
    score_distance=(0.001, 0.004), auroc=None, recalibrated=True,
    known_agreement=1.0, unknown_agreement=1.0, unknown_from="made of known ones",
)  # fmt: skip


def typed_bundles():
    """Return the module of the runtime's small bundles, made by the export's own graph code."""
    path = Path(__file__).parents[1] / "runtime" / "backends" / "typed_bundle.py"
    spec = importlib.util.spec_from_file_location("edgeosr_typed_bundle", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def body_bytes(model, outputs):
    """Cut the network between the ends out of ``model.onnx``; not with the code that is tested."""
    cut = Extractor(onnx.load_model_from_string(model)).extract_model(["pixels"], list(outputs))
    return bytes(cut.SerializeToString())


PLAN = b"no plan at all"


def add_engine_of_no_machine(path):
    """Add an engine to the bundle at ``path`` that no machine runs."""
    manifest = read_bundle(path).manifest
    record = EngineRecord(
        file="none.plan", sha256=sha256_of(PLAN), bytes=len(PLAN), builder="tensorrt", version="10.3.0",
        device="No Such Device", targets=("sm_87",), precision=manifest.backbone.precision, batch=(1, 1, 4),
        frame=(20, 30), backbone=manifest.files[BACKBONE].sha256, created="2026-02-01T00:00:00Z", seconds=1.0,
    )  # fmt: skip
    with engine_lock(path):
        add_engine(path, record, PLAN)


def write_body_bundle(path, plain, *, shift=0.25, precision="bf16"):
    """Write a bundle like ``plain``, with a body whose fusion and threshold are its own.

    Args:
        path: a name that ends in ``.edgeosr``.
        plain: with a backbone, whose end is the body's.
        shift: of the fusion's means, so that the scores are none of the bundle's.
        precision: of the body.
    """
    manifest, backbone = plain.manifest, plain.manifest.backbone
    fusion = replace(manifest.fusion, means=tuple(mean + shift for mean in manifest.fusion.means))
    record = BodyRecord(
        precision=precision, ending=backbone.ending, logits=backbone.logits, converter="none",
        processor="any", fusion=fusion, threshold=replace(manifest.threshold, value=0.0), gate=GATE,
    )  # fmt: skip
    model = plain.files["model.onnx"]
    data = body_bytes(model, record.outputs)
    golden = read_golden(plain.files["golden.npz"], manifest)
    graph = OpenVinoGraph(
        model, parts=len(fusion.parts), fusion=fusion, expose=("logits",),
        body=Body(model=data, precision=precision, outputs=record.outputs),
    )  # fmt: skip
    said = [
        graph.run_exposed(np.ascontiguousarray(frame[None]), bgr=bool(bgr))
        for frame, bgr in zip(golden.frames, golden.bgr, strict=True)
    ]
    label, score, values = (np.concatenate([getattr(rows, name) for rows, _ in said]) for name in
                            ("label", "score", "values"))  # fmt: skip
    record = replace(
        record, threshold=replace(record.threshold, value=float(np.float32(np.median(score) + 1e-4)))
    )
    second, gap = runner_up(np.concatenate([exposed[0] for _, exposed in said]), label)
    apart = np.abs(values - golden.portable.values) / np.array(fusion.stds)
    golden = replace(
        golden, typed=None, rounding=None,
        body=Expected(label=label, second=second, gap=gap, score=score, values=values),
        body_rounding=Rounding(0.0, 0.0, tuple(np.median(apart, axis=0).tolist())),
    )  # fmt: skip
    files = {name: plain.files[name] for name in ("model.onnx", "scorer.npz")}
    files |= {"golden.npz": write_golden(golden), BODY: data}
    write_bundle(path, replace(manifest, backbone=None, engines=(), body=record, frame=None), files)
    return read_bundle(path)
