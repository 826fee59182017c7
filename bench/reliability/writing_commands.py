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

from edgeosr.bench.reliability.killed_commands import WritingCommand, freely
from edgeosr.bundle.directory import read_bundle, read_manifest
from edgeosr.bundle.engines import EngineRecord
from edgeosr.bundle.manifest import BACKBONE
from edgeosr.cli import app
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
CLASSES = ("blue", "green", "red")
_SIDE, _EACH, _UNKNOWN = 16, 30, 12
_TRAIN = ("--epochs", "2", "--input-size", str(_SIDE), "--batch-size", "16", "--rotation-weight", "0")
_TRAIN = (*_TRAIN, "--folds", "0", "--no-discriminator", "--threads", "1")
_VIDEO_FRAMES = 12
_PLANS = (b"an older plan" * 20_000, b"a newer plan" * 20_000)


def edgeosr(*words: str | Path) -> None:
    """Run a command line in this process; raises SystemExit with its code."""
    sys.argv = ["edgeosr", *map(str, words)]
    app.main()


def load_commands(*, training: bool) -> None:
    """Import what the commands need; nothing of it begins a thread, which would not outlive a fork."""
    for name in (*_LOADED, *(_TRAINING if training else ())):
        importlib.import_module(name)


class Material:
    """Images, a run and a bundle in ``folder``, made in processes of their own.

    Args:
        folder: an empty one.
        bundle: one with a backbone, to be used instead; then there is no run.
    """

    def __init__(self, folder: Path, bundle: Path | None = None) -> None:
        self.images, self.others = folder / "images", folder / "others"
        self.run, self.video = folder / "run", folder / "in.avi"
        self.bundle = bundle or folder / "small.edgeosr"
        for number, name in enumerate(CLASSES):
            _write_images(self.images / name, _EACH, seed=number, tint=number)
        for number, name in enumerate(("first", "second")):
            _write_images(self.others / name, _UNKNOWN, seed=10 + number, tint=None)
        if bundle is None:
            self._make(folder, "train", "--data", self.images, *_TRAIN, "--out", self.run)
            self._make(folder, *self.exporting("0.4", self.bundle, "--engine", "fp32"))
        if _has_opencv():
            _write_video(self.video)

    def exporting(self, rate: str, out: Path | str, *more: str) -> tuple[str | Path, ...]:
        """Return the words of an export."""
        return ("export", self.run, "--false-reject-rate", rate, "--threads", "1", "--out", out, *more)

    def _make(self, folder: Path, *words: str | Path) -> None:
        ended = freely(partial(_ended, words))
        if ended.detail != "0":
            raise AssertionError(f"edgeosr {words[0]} fails in {folder}: {ended.detail}")


def writing_commands(material: Material) -> dict[str, WritingCommand]:
    """Return the commands by name: of a run, where there is one; of a video, where OpenCV is installed."""
    bundle, images = material.bundle, material.images
    train = partial(edgeosr, "train", "--data", images, *_TRAIN, "--out", "run")
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
            look=partial(_judged_state, len(CLASSES) * _EACH),
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
    return {command.name: command for command in ([*own, *found] if material.run.exists() else found)}


def _ended(words: tuple[str | Path, ...]) -> str:
    try:
        edgeosr(*words)
    except SystemExit as end:
        return str(end.code or 0)
    return "0"


def _copied(bundle: Path) -> None:
    shutil.copytree(bundle, "b.edgeosr")


def _stopped(train: Callable[[], None]) -> None:
    """Leave a run that was stopped when its first epoch was finished."""
    from edgeosr.training import loop

    real = loop.train_epoch

    def once(*arguments: object, **named: object) -> object:
        if named["epoch"]:
            raise KeyboardInterrupt
        return real(*arguments, **named)  # type: ignore[arg-type]  # as it was called

    loop.train_epoch = once  # type: ignore[assignment]  # in this process alone
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
        frame=(_SIDE, _SIDE),
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
    return {5: "old", _VIDEO_FRAMES: "new"}[frames]


def _has_opencv() -> bool:
    with contextlib.suppress(ImportError):
        import cv2  # noqa: F401  # to see whether it is there

        return True
    return False


def _write_images(folder: Path, count: int, *, seed: int, tint: int | None) -> None:
    """Write pictures of random squares, in one colour more than in others."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    for number in range(count):
        squares = random.integers(0, 120 if tint is not None else 256, (4, 4, 3))
        if tint is not None:
            squares[..., tint] += 130
        pixels = np.repeat(np.repeat(squares, _SIDE // 4, axis=0), _SIDE // 4, axis=1)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")


def _write_video(path: Path) -> None:
    import cv2

    random = np.random.default_rng(0)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for _ in range(_VIDEO_FRAMES):
        writer.write(random.integers(0, 256, (48, 64, 3), np.uint8))
    writer.release()
