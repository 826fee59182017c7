"""``edgeosr demo``: the whole way from images to verdicts on the digits that scikit-learn bundles.

Six digits are known (list 0 of the ARPL splits), four are never seen in training or calibration. The figures
show that the parts fit together; 1,797 scans of 8 x 8 pixels are too few for a claim about the method.
"""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeosr.arguments import keep_paths
from edgeosr.bench.demo_picture import Shown, draw_grid
from edgeosr.bench.latency import measure_latency
from edgeosr.bench.latency_report import LatencyReport
from edgeosr.bench.quality import evaluate_bundle
from edgeosr.bench.quality_report import QualityReport
from edgeosr.bench.quality_settings import QualitySettings
from edgeosr.bench.settings import LatencySettings
from edgeosr.bundle.made_of import DEMO
from edgeosr.data.catalogue import open_image_set
from edgeosr.data.labelled_images import LabelledImages
from edgeosr.data.parts import Parts, four_parts
from edgeosr.errors import UsageError, require_seed, require_threads, require_whole
from edgeosr.export.export_run import export_run
from edgeosr.export.settings import ExportSettings
from edgeosr.files import storage_errors, write_text
from edgeosr.printed import brief, json_text
from edgeosr.runtime.runtime import Runtime
from edgeosr.training.settings import TrainSettings
from edgeosr.training.train_run import train_run

DATA = "digits"
SPLIT = 0
SIDE = 16  # pixels; the scans have 8, and a quarter of the arithmetic gives four times the epochs
# 688 training images: small batches give enough steps; the rotation auxiliary would halve the speed.
BATCH = 32
# Networks without some of the digits, which weigh the score parts: with the run's epochs and not its steps,
# for time. Nor is the weight of generated features chosen there: it would train three more discriminators.
FOLDS = 2
# Written before anything else, so that an interrupted demo is known as one too.
MARK = (
    json.dumps({"kind": "demo", "note": "edgeosr demo made this folder and removes it when it runs again"})
    + "\n"
)


@dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """Settings of the demo.

    Attributes:
        out: the run; it takes the bundle and the pictures too. Under ``runs/`` the other commands find it.
            It must be missing, empty, or made by an earlier demo, which is removed.
        max_minutes: cap of the training time, above 0.
        epochs: passes over the train part, if time allows.
        seed: everything random follows from it, the choice of pictured digits included.
        threads: processor threads of each step; None: what the step's own command takes.
        say: takes a line for the user before each step.
    """

    out: Path = Path("runs/demo")
    max_minutes: float = 1.2
    epochs: int = 40
    seed: int = 0
    threads: int | None = None
    say: Callable[[str], None] = lambda line: None

    def __post_init__(self) -> None:
        keep_paths(self, "out")
        if not self.max_minutes > 0:
            raise UsageError(f"--max-minutes must be above 0; got {brief(self.max_minutes)}; try 1.2")
        require_whole("epochs", self.epochs, 1)
        require_seed("--seed", self.seed)
        require_threads("--threads", self.threads)


@dataclass(frozen=True, kw_only=True)
class DemoReport:
    """What the demo made and found.

    Attributes:
        run, bundle, picture: what it wrote.
        quality, latency: of the bundle.
        known, unknown: test images by verdict.
        seconds: of the whole demo.
    """

    run: Path
    bundle: Path
    picture: Path
    quality: QualityReport
    latency: LatencyReport
    known: tuple[Shown, ...]
    unknown: tuple[Shown, ...]
    seconds: float

    def as_json(self) -> str:
        """Return one JSON document: paths, counts, and both reports."""
        plain: dict[str, Any] = {
            "kind": "demo",
            "run": str(self.run),
            "bundle": str(self.bundle),
            "picture": str(self.picture),
            "seconds": round(self.seconds, 1),
            "known": {
                "images": len(self.known),
                "accepted": accepted(self.known),
                "correct": correct(self.known),
            },
            "unknown": {"images": len(self.unknown), "rejected": correct(self.unknown)},
            "quality": json.loads(self.quality.as_json()),
            "latency": json.loads(self.latency.as_json()),
        }
        return json_text(plain, indent=1)

    def as_text(self) -> str:
        """Return the figures and how to do the same with one's own images."""
        training = self.quality.manifest.training
        assert training is not None, "the demo wraps no classifier, it trains one"
        return "\n".join(
            [
                self.quality.as_text().rstrip("\n"),
                "",
                self.latency.as_text().rstrip("\n"),
                "",
                headline(self.known, self.unknown),
                trained(training),
                f"All of it took {self.seconds:.0f} s. So few images show that the parts fit, no more.",
                "",
                "The same with your own images, one folder a class:",
                "    edgeosr train --data photos/ --known cat,dog   # the other folders are the unknown ones",
                "    edgeosr export",
                "    edgeosr evaluate",
                "    edgeosr predict picture.jpg",
            ]
        )


def run_demo(settings: DemoSettings) -> DemoReport:
    """Train, export, evaluate and time a digits classifier, and draw what it accepts and rejects.

    Raises:
        UsageError: ``out`` holds what no demo made; it is left as it is.
        EdgeosrError: a step failed; what earlier steps wrote stays.
    """
    started = time.monotonic()
    out, say = settings.out, settings.say
    claim_folder(out)
    say(
        f"1/5  training on scans of six digits, at most {settings.max_minutes:g} minutes, and then {FOLDS} "
        f"times on three of them; how many epochs that is depends on this machine and its load"
    )
    run = train_run(
        TrainSettings(
            data=DATA,
            split=SPLIT,
            epochs=settings.epochs,
            input_size=SIDE,
            batch_size=BATCH,
            rotation_weight=0.0,
            folds=FOLDS,
            fold_epochs=settings.epochs,
            lambda_g=1.0,
            max_minutes=settings.max_minutes,
            seed=settings.seed,
            out=out,
            threads=settings.threads,
        )
    )
    say("2/5  calibrating and exporting")
    bundle = export_run(run, ExportSettings(out=out / "digits.edgeosr", threads=settings.threads)).path
    say("3/5  evaluating on digits it has never seen")
    quality = evaluate_bundle(bundle, QualitySettings(out=out / "evaluation", threads=settings.threads))
    say("4/5  timing")
    latency = measure_latency(
        bundle,
        LatencySettings(runs=100, duration_s=4, torch_s=2, processes=1, run=run, threads=settings.threads),
    )
    say("5/5  drawing")
    parts = four_parts(open_image_set(DATA), split=SPLIT, seed=settings.seed)
    known, unknown = shown_from_bundle(bundle, parts, settings.threads)
    picture = out / "digits.png"
    draw_grid(picture, known, unknown, title=headline(known, unknown), seed=settings.seed)
    return DemoReport(
        run=run,
        bundle=bundle,
        picture=picture,
        quality=quality,
        latency=latency,
        known=known,
        unknown=unknown,
        seconds=time.monotonic() - started,
    )


def claim_folder(folder: Path) -> None:
    """Remove an earlier demo from ``folder``, and mark it as this demo's.

    Raises:
        UsageError: it exists, is not empty and no demo made it; nothing is touched.
        StorageError: it cannot be read, removed or written.
    """
    with storage_errors("replace", folder):
        if folder.exists() and not (folder.is_dir() and (_is_marked(folder) or not any(folder.iterdir()))):
            raise UsageError(f"{folder} exists and is not a demo's folder; choose another --out")
        if folder.exists():
            shutil.rmtree(folder)
    write_text(folder / DEMO, MARK)


def _is_marked(folder: Path) -> bool:
    mark = folder / DEMO
    # The text too: a file of this name can be anybody's.
    return mark.is_file() and mark.stat().st_size == len(MARK) and mark.read_text("utf-8") == MARK


def shown_from_bundle(
    bundle: Path, parts: Parts, threads: int | None = None
) -> tuple[tuple[Shown, ...], tuple[Shown, ...]]:
    """Return the verdicts on all known test images and all images of the other classes."""
    if parts.unknown_test is None:
        raise ValueError("the demo needs classes that are not known")
    with Runtime(bundle, threads=threads) as runtime:
        known = tuple(_shown(runtime, parts.test, truth_known=True))
        return known, tuple(_shown(runtime, parts.unknown_test, truth_known=False))


def _shown(runtime: Runtime, images: LabelledImages, *, truth_known: bool) -> list[Shown]:
    frames = [images.read(i) for i in range(len(images))]
    truths = [images.class_names[label] for label in images.labels.tolist()]
    verdicts = runtime(frames)
    return [
        Shown(frame, truth, truth_known, verdict)
        for frame, truth, verdict in zip(frames, truths, verdicts, strict=True)
    ]


def accepted(shown: tuple[Shown, ...]) -> int:
    """Return how many were accepted as a known class, the right one or not."""
    return sum(one.verdict.accepted for one in shown)


def correct(shown: tuple[Shown, ...]) -> int:
    """Return how many verdicts are right: the true class for a known image, "unknown" for another."""
    return sum(one.correct for one in shown)


def headline(known: tuple[Shown, ...], unknown: tuple[Shown, ...]) -> str:
    """Return the counts over all test images, in one line."""
    return (
        f"Known digits: {accepted(known)} of {len(known)} accepted, {correct(known)} named right. "
        f"Digits never seen: {correct(unknown)} of {len(unknown)} "
        f"({correct(unknown) / max(len(unknown), 1):.0%}) called unknown."
    )


def trained(training: Mapping[str, Any]) -> str:
    """Return in one line how many epochs were trained, and what that depends on.

    Args:
        training: the run's settings and its result, as a bundle's manifest keeps them.
    """
    done, asked, seconds = training["result"]["epochs"], training["epochs"], training["result"]["seconds"]
    line = f"Trained {done} of {asked} epochs in {seconds:.0f} s."
    if done == asked:
        return line
    return f"{line} Time allowed no more: a faster or slower machine shows other figures."
