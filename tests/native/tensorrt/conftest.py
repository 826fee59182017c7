"""Small bundles with engines, and a machine with a GPU out of doubles; see ``on_doubles.py``."""

import ctypes
import functools
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent))

import body_bundles  # noqa: E402  # the folders come first
import doubles  # noqa: E402
from cuda_streams import QueuedCudaDouble  # noqa: E402
from engine_double import EngineDouble, TrtDouble  # noqa: E402
from handle import Handle, options  # noqa: E402
from plugin_table import Engine  # noqa: E402

from edgeosr.bundle.directory import read_bundle  # noqa: E402
from edgeosr.bundle.engines import EngineRecord  # noqa: E402
from edgeosr.bundle.manifest import BACKBONE  # noqa: E402
from edgeosr.files import sha256_of  # noqa: E402
from edgeosr.kernels.build.ahead import SOURCE_FILE  # noqa: E402
from edgeosr.kernels.build.images import Image  # noqa: E402
from edgeosr.kernels.build.sources import device_source  # noqa: E402
from edgeosr.kernels.driver.driver import Driver  # noqa: E402
from edgeosr.kernels.fused_score import FusedScorer  # noqa: E402
from edgeosr.runtime.backends.contexts import TensorRTContexts  # noqa: E402
from edgeosr.runtime.backends.engine_io import read_engine_io  # noqa: E402
from edgeosr.runtime.backends.engine_runner import EngineRunner  # noqa: E402
from edgeosr.runtime.engines.store import add_engine, engine_lock  # noqa: E402
from edgeosr.runtime.native.build import OBJECTS, PLAIN  # noqa: E402
from edgeosr.runtime.native.tensorrt_build import build_plugin  # noqa: E402
from edgeosr.scoring.scorer_file import read_scorer  # noqa: E402

ROOT = HERE.parents[2]
CUBIN = "fused_score-sm_87-cuda12.6.cubin"
# Of an engine whose frames the golden ones are not: they are then not judged, which takes seconds here.
OTHER = (24, 32)
CHANNELS = 12  # of the network before its classes
BUILD = 9  # the fourth number of TensorRT's version


@pytest.fixture(scope="session")
def libraries(tmp_path_factory):
    """libcuda.so.1, libnvinfer and the plug-in, loaded or named to libedgeosr."""
    folder, include = tmp_path_factory.mktemp("doubles"), doubles.include_folder()
    cuda = ctypes.CDLL(str(doubles.cuda_library(folder)))
    nvinfer = ctypes.CDLL(str(doubles.nvinfer_library(folder, include)))
    flags = tuple(os.environ.get("EDGEOSR_TEST_FLAGS", "").split())
    # With the library's own flags its objects are taken; of the plug-in's own sources none is timed.
    how = {"flags": flags} if flags else {"flags": PLAIN, "extra": ("-O0",)}
    plugin = build_plugin(
        folder / "libedgeosr_tensorrt.so", include, objects=ROOT / OBJECTS, **how,
        more=[HERE / "plugin_driver.cpp"],
    )  # fmt: skip
    os.environ["EDGEOSR_TENSORRT_PLUGIN"] = str(plugin)
    return folder, cuda, nvinfer, ctypes.CDLL(str(plugin))


@pytest.fixture(scope="session")
def engine_bundle(manifest, tmp_path_factory):
    """Makes bundles with a typed backbone and no engine, once each."""
    module = body_bundles.typed_bundles()

    @functools.cache
    def made(method="closed-form", precision="fp16", head="external", **more):
        path = tmp_path_factory.mktemp("typed") / "tiny.edgeosr"
        return read_bundle(module.write_typed_bundle(path, manifest, method, precision, head, **more))

    return made


class Machine:
    """An Orin with TensorRT, and a bundle with the engines that were added."""

    def __init__(self, libraries: Any, native: Any, folder: Path, bundle: Any, **settings: Any):
        self.native, self.bundle = native, bundle
        self.path = folder / "tiny.edgeosr"
        shutil.copytree(bundle.path, self.path)
        home, cuda, nvinfer, self.plugin = libraries
        self.faults = doubles.Faults()
        self.cuda = QueuedCudaDouble(**settings)
        self.card = doubles.Card(cuda, self.cuda, self.faults)
        self.version = doubles.headers_version(doubles.include_folder())
        self.trt = doubles.TensorRT(nvinfer, self.faults, version=self.version, build=BUILD)
        self.library = str(home / "libnvinfer_double.so").encode()
        self.cubins = folder / "cubins"
        self.cubins.mkdir()
        (self.cubins / SOURCE_FILE).write_text(device_source().digest + "\n", "utf-8")
        (self.cubins / CUBIN).write_bytes(b"\x7fELF")
        self.handles: list[Handle] = []
        self.by_table: list[Engine] = []

    def spelled(self) -> str:
        return f"{self.version // 10000}.{self.version // 100 % 100}.{self.version % 100}"

    def add(
        self, plan: bytes = b"plan", *, frame: tuple[int, int] = OTHER, most: int = 4, **changes: Any
    ) -> EngineDouble:
        """Put an engine into the bundle; return the double that runs it."""
        manifest = read_bundle(self.path).manifest
        record = EngineRecord(
            file=f"{plan.decode()}.plan", sha256=sha256_of(plan), bytes=len(plan), builder="tensorrt",
            version=self.spelled(), device="Orin", targets=("sm_87",), precision=manifest.backbone.precision,
            batch=(1, 1, most), frame=frame, backbone=manifest.files[BACKBONE].sha256,
            created="2026-02-01T00:00:00Z", seconds=1.0,
        )  # fmt: skip
        with engine_lock(self.path):
            add_engine(self.path, replace(record, **changes), plan)
        shapes = {"least": (1, *frame, 3), "most": (most, *frame, 3)}
        self.trt.engines[plan] = EngineDouble(self.cuda, self.bundle.files[BACKBONE], **shapes)
        return self.trt.engines[plan]

    def open(self, **changes: Any) -> Handle:
        given = {"backend": b"tensorrt", "backend_library": self.library, "warmup_frames": -1, **changes}
        self.handles.append(Handle(self.native, self.path, options(**given)))
        return self.handles[-1]

    def table(self, **changes: Any) -> Engine:
        """Open the engine by the plug-in's table alone."""
        self.by_table.append(Engine(self.plugin, self.path, self.library, **changes))
        return self.by_table[-1]

    def python(self, engine: EngineDouble, cuda: QueuedCudaDouble) -> EngineRunner:
        """The runner of Python over doubles of its own, around the same engine."""
        scorer = FusedScorer(
            read_scorer(self.bundle.files["scorer.npz"]), driver=Driver(cuda), image=Image(b"\x7fELF", "test")
        )
        twin = EngineDouble(cuda, self.bundle.files[BACKBONE], least=engine.least, most=engine.most)
        return EngineRunner(
            "tensorrt", driver=Driver(cuda), scorer=scorer, engine=twin, label="test.plan",
            activation_bytes=twin.device_memory_size_v2, contexts=TensorRTContexts(TrtDouble, twin),
            io=read_engine_io(TrtDouble, twin, self.bundle.manifest.backbone),
        )  # fmt: skip

    def close(self) -> None:
        """Close what is open; nothing may be left, and nothing may have gone wrong in a call from C."""
        for opened in (*self.handles, *self.by_table):
            opened.close()
        self.handles.clear()
        self.by_table.clear()
        assert self.faults == []
        assert self.trt.alive == []
        if not self.cuda.lost:
            # The weights, the scorer and whatever else is the process's primary context's is freed with it.
            assert self.cuda.leaks() == [] and self.cuda.stack == [] and self.card.modules == []


@pytest.fixture
def machine(libraries, native, engine_bundle, tmp_path, monkeypatch):
    """Makes machines; what is still open at the end is closed, and must have left nothing behind."""
    made = []

    def make(method="closed-form", precision="fp16", head="external", *, channels=CHANNELS, **settings):
        folder = tmp_path / f"machine{len(made)}"
        folder.mkdir()
        bundle = engine_bundle(method, precision, head, channels=channels)
        made.append(Machine(libraries, native, folder, bundle, **settings))
        monkeypatch.setenv("EDGEOSR_CUBINS", str(made[-1].cubins))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def frames():
    """Frames of the size that engines here take; of different contrast and colour."""
    rng = np.random.default_rng(5)
    cast = rng.uniform(0.1, 1, (6, 1, 1, 3))
    return (rng.integers(0, 256, (6, *OTHER, 3)) * cast).astype(np.uint8)
