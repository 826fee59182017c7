"""Runners over the doubles of the driver and of TensorRT, around small bundles with a typed backbone."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HERE = Path(__file__).parent
for folder in (HERE, HERE.parent / "engines", HERE.parents[1] / "kernels"):
    sys.path.insert(0, str(folder))

from cuda_streams import QueuedCudaDouble  # noqa: E402
from engine_double import EngineDouble, TrtDouble  # noqa: E402
from machine import Machine  # noqa: E402
from typed_bundle import sample_frames, write_typed_bundle  # noqa: E402

from edgeosr.bundle.directory import Bundle, read_bundle  # noqa: E402
from edgeosr.bundle.manifest import BACKBONE, Manifest, parse_manifest  # noqa: E402
from edgeosr.cli.app import main  # noqa: E402
from edgeosr.kernels.build.images import Image  # noqa: E402
from edgeosr.kernels.driver.driver import Driver  # noqa: E402
from edgeosr.kernels.fused_score import FusedScorer  # noqa: E402
from edgeosr.runtime.backends.contexts import TensorRTContexts  # noqa: E402
from edgeosr.runtime.backends.engine_io import read_engine_io  # noqa: E402
from edgeosr.runtime.backends.engine_runner import EngineRunner  # noqa: E402
from edgeosr.runtime.backends.rtx_contexts import RtxContexts  # noqa: E402
from edgeosr.scoring.scorer_file import read_scorer  # noqa: E402

IMAGE = Image(b"\x7fELF", "test")


@dataclass
class Rig:
    """A runner and the doubles under it."""

    bundle: Bundle
    cuda: QueuedCudaDouble
    engine: EngineDouble
    runner: EngineRunner

    def run(self, frames: Any, *, bgr: bool = False, threshold: float | None = None) -> Any:
        limit = self.bundle.manifest.threshold.value if threshold is None else threshold
        return self.runner.run(frames, bgr=bgr, threshold=limit)


@pytest.fixture(scope="session")
def sample_manifest() -> Manifest:
    sample = Path(__file__).parents[2] / "core" / "bundle" / "sample_manifest.json"
    return parse_manifest(sample.read_bytes())


@pytest.fixture(scope="session")
def typed_bundle(
    sample_manifest: Manifest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], Bundle]:
    made: dict[tuple[str, str, str], Bundle] = {}

    def bundle(method: str = "closed-form", precision: str = "fp16", head: str = "external") -> Bundle:
        key = (method, precision, head)
        if key not in made:
            path = tmp_path_factory.mktemp("typed") / "tiny.edgeosr"
            made[key] = read_bundle(write_typed_bundle(path, sample_manifest, *key))
        return made[key]

    return bundle


@pytest.fixture
def rig(typed_bundle: Callable[..., Bundle], tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    """Makes rigs; at the end of the test each one still open is closed and must have left nothing behind."""
    made: list[Rig] = []

    def make(
        method: str = "closed-form",
        precision: str = "fp16",
        head: str = "external",
        *,
        integrated: bool = False,
        rtx: bool = False,
        cuda: QueuedCudaDouble | None = None,
        engine_settings: dict[str, Any] | None = None,
        prepare: Callable[[EngineDouble], None] = lambda engine: None,
        **settings: Any,
    ) -> Rig:
        bundle = typed_bundle(method, precision, head)
        cuda = cuda or QueuedCudaDouble(integrated=integrated)
        driver = Driver(cuda)
        scorer = FusedScorer(read_scorer(bundle.files["scorer.npz"]), driver=driver, image=IMAGE)
        engine = EngineDouble(cuda, bundle.files[BACKBONE], **(engine_settings or {}))
        prepare(engine)
        backbone = bundle.manifest.backbone
        assert backbone is not None
        contexts = (
            RtxContexts(TrtDouble, engine, tmp_path / "rtx.cache")
            if rtx
            else TensorRTContexts(TrtDouble, engine)
        )
        runner = EngineRunner(
            "tensorrt_rtx" if rtx else "tensorrt",
            driver=driver, scorer=scorer, engine=engine, contexts=contexts, label="test.plan",
            activation_bytes=engine.device_memory_size_v2,
            io=read_engine_io(TrtDouble, engine, backbone), **settings,
        )  # fmt: skip
        made.append(Rig(bundle, cuda, engine, runner))
        return made[-1]

    yield make
    for each in made:
        each.runner.close()
        if not each.cuda.lost:
            assert each.cuda.leaks() == []
            assert each.cuda.stack == []


@pytest.fixture
def machine(typed_bundle: Callable[..., Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch, tmp_path, typed_bundle())


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["edgeosr", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        captured = capsys.readouterr()
        return int(left.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def frames() -> np.ndarray:
    return sample_frames()
