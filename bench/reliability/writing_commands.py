"""The commands that write, on images, a run and a bundle made for them: what ``killed_commands`` kills."""

import contextlib
import importlib
import json
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from edgeosr.bench.reliability.killed_commands import WritingCommand
from edgeosr.bench.reliability.material import (
    CLASSES,
    EACH,
    SIDE,
    TRAIN,
    VIDEO_FRAMES,
    Material,
    command,
    edgeosr,
)
from edgeosr.bundle.directory import read_bundle, read_manifest
from edgeosr.bundle.engines import EngineRecord
from edgeosr.bundle.manifest import BACKBONE
from edgeosr.files import sha256_of
from edgeosr.run import LAST, LOG, RECORD, WEIGHTS, read_run
from edgeosr.runtime.engines.store import add_engine, engine_lock, read_engine
from edgeosr.runtime.runtime import Runtime

# What the commands import when they are called: a process that is forked for a kill has it already.
_LOADED = (
    "edgeosr.bench.latency", "edgeosr.bench.latency_plot", "edgeosr.bench.quality",
    "edgeosr.export.export_run", "edgeosr.runtime.predict", "onnx",
)  # fmt: skip
_TRAINING = ("edgeosr.training.train",)
_PLANS = (b"an older plan" * 20_000, b"a newer plan" * 20_000)


def load_commands(*, training: bool) -> None:
    """Import what the commands need; nothing of it begins a thread, which would not outlive a fork."""
    for name in (*_LOADED, *(_TRAINING if training else ())):
        importlib.import_module(name)
    command()


def writing_commands(material: Material) -> dict[str, WritingCommand]:
    """Return the commands by name: of a run, where there is one; of a video, where OpenCV is installed."""
    bundle, images = material.bundle, material.images
    train = partial(edgeosr, "train", "--data", images, *TRAIN, "--out", "run")
    resume = partial(edgeosr, "train", "--resume", "run", "--folds", "0", "--threads", "1")
    timing = ("--runs", "3", "--warmup", "1", "--duration", "0.1", "--processes", "0", "--no-torch", "--rate")
    bench = partial(edgeosr, "bench", bundle, *timing, "0", "--threads", "1", "--json", "--out", "t.json")
    judge = partial(edgeosr, "predict", bundle, images, "--threads", "1", "--jsonl", "--out", "drawn")
    own = [
        WritingCommand(
            name="train", run=train, look=_run_state, again={"unfinished": resume, "new": resume}, never=()
        ),
        WritingCommand(name="train --resume", run=resume, look=_run_state, before=partial(_stopped, train)),
        WritingCommand(
            name="export",
            run=partial(edgeosr, *material.exporting("0.3", "b.edgeosr")),
            look=partial(_exported_state, material),
            before=partial(_copied, bundle),
        ),
    ]
    found = [
        WritingCommand(
            name="evaluate",
            run=partial(_evaluate, material, "second"),
            look=_evaluation_state,
            before=partial(_evaluate, material, "first"),
        ),
        WritingCommand(
            name="predict --jsonl --out",
            run=partial(_into, "verdicts.jsonl", judge),
            look=partial(_judged_state, len(CLASSES) * EACH),
            never=(),
        ),
        WritingCommand(
            name="bench --out",
            run=partial(bench, "--seed", "2"),
            look=_timed_state,
            before=partial(bench, "--seed", "1"),
        ),
        WritingCommand(
            name="an engine added",
            run=partial(_add_engine, 1),
            look=partial(_engines_state, material),
            before=partial(_with_engine, bundle),
        ),
    ]
    if material.video.exists():
        draw = partial(edgeosr, "predict", bundle, material.video, "--threads", "1", "--out", "drawn.mp4")
        found.append(
            WritingCommand(
                name="predict --out VIDEO",
                run=draw,
                look=_drawn_state,
                before=partial(draw, "--limit", "5"),
            )
        )
    return {one.name: one for one in ([*own, *found] if material.run.exists() else found)}


def _copied(bundle: Path) -> None:
    shutil.copytree(bundle, "b.edgeosr")


def _stopped(train: Callable[[], None]) -> None:
    """Leave a run that was stopped when its first epoch was finished."""
    from edgeosr.training import loop

    real = vars(loop)["train_epoch"]

    def once(*arguments: object, **named: object) -> object:
        if named["epoch"]:
            raise KeyboardInterrupt
        result: object = real(*arguments, **named)
        return result

    vars(loop)["train_epoch"] = once  # in this process alone
    with contextlib.suppress(SystemExit):
        train()
    if not Path("run", LAST).exists():
        raise AssertionError("no epoch was finished")


def _run_state(folder: Path) -> str:
    from edgeosr.model.tensor_file import read_tensors
    from edgeosr.training.checkpoint import read_checkpoint

    run = folder / "run"
    if (run / RECORD).exists():
        epochs = read_run(run).result["epochs"]
        read_tensors(run / WEIGHTS, "")
        lines = [json.loads(line) for line in (run / LOG).read_text("utf-8").splitlines()]
        if len(lines) != epochs:
            raise AssertionError(f"{len(lines)} lines of {epochs} epochs")
        return "new"
    if (run / LAST).exists():
        read_checkpoint(run)
        return "unfinished"
    return "none"


def _exported_state(material: Material, folder: Path) -> str:
    _require_judging(material, folder / "b.edgeosr")
    rate = read_bundle(folder / "b.edgeosr").manifest.threshold.target_false_reject_rate
    return {0.4: "old", 0.3: "new"}[rate]


def _require_judging(material: Material, bundle: Path) -> None:
    picture = next((material.images / CLASSES[0]).iterdir())
    with Runtime(bundle, threads=1) as runtime:
        runtime(np.asarray(Image.open(picture)))


def _evaluate(material: Material, others: str) -> None:
    unknown = material.others / others
    words = ("--known", material.images, "--unknown", unknown, "--threads", "1", "--out", "report")
    edgeosr("evaluate", material.bundle, *words)


def _evaluation_state(folder: Path) -> str:
    for picture in (folder / "report").glob("*.png"):
        _require_whole(picture)
    unknown = json.loads((folder / "report" / "report.json").read_text("utf-8"))["unknown"]
    return "new" if "second" in unknown else "old"


def _require_whole(picture: Path) -> None:
    with Image.open(picture) as opened:
        opened.load()


def _into(name: str, run: Callable[[], None]) -> None:
    # As a shell does for ``> NAME``.
    with open(name, "wb", buffering=0) as file:
        sys.stdout = open(file.fileno(), "w", encoding="utf-8", closefd=False)  # noqa: SIM115  # until the end
        try:
            run()
        finally:
            sys.stdout.flush()


def _judged_state(images: int, folder: Path) -> str:
    written = folder / "verdicts.jsonl"
    if not written.exists():
        return "none"
    *lines, last = written.read_bytes().split(b"\n")
    for line in lines:
        json.loads(line)
    for picture in (folder / "drawn").rglob("[!.]*.png"):
        _require_whole(picture)
    return "new" if len(lines) == images and not last else "a part"


def _timed_state(folder: Path) -> str:
    _require_whole(folder / "t.png")
    return "new" if json.loads((folder / "t.json").read_text("utf-8"))["settings"]["seed"] == 2 else "old"


def _add_engine(number: int) -> None:
    bundle, plan = Path("b.edgeosr"), _PLANS[number]
    record = EngineRecord(
        file=f"made-up-{number}.plan",
        sha256=sha256_of(plan),
        bytes=len(plan),
        builder="tensorrt",
        version="10.3.0",
        device="none",
        targets=("sm_87",),
        precision="fp32",
        batch=(1, 1, 8),
        frame=(SIDE, SIDE),
        backbone=read_manifest(bundle).files[BACKBONE].sha256,
        created="2026-01-01T00:00:00+00:00",
        seconds=1.0,
    )
    with engine_lock(bundle):
        add_engine(bundle, record, plan)


def _with_engine(bundle: Path) -> None:
    _copied(bundle)
    _add_engine(0)


def _engines_state(material: Material, folder: Path) -> str:
    bundle = folder / "b.edgeosr"
    _require_judging(material, bundle)
    engines = read_manifest(bundle).engines
    for record in engines:
        read_engine(bundle, record)
    return {1: "old", 2: "new"}[len(engines)]


def _drawn_state(folder: Path) -> str:
    import cv2

    capture = cv2.VideoCapture(str(folder / "drawn.mp4"))
    frames = 0
    while capture.read()[0]:
        frames += 1
    return {5: "old", VIDEO_FRAMES: "new"}[frames]
