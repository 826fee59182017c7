"""A machine with a GPU, out of doubles: what ``Runtime`` finds when it looks for one."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cuda_streams import QueuedCudaDouble
from engine_double import EngineDouble, trt_module

from edgeosr.bundle.directory import Bundle, read_bundle
from edgeosr.bundle.engines import EngineRecord
from edgeosr.bundle.manifest import BACKBONE
from edgeosr.files import sha256_of
from edgeosr.kernels import fused_score
from edgeosr.kernels.build.images import Image
from edgeosr.kernels.driver.driver import Driver
from edgeosr.runtime.backends import open_engine
from edgeosr.runtime.engines.gpu import Gpu, GpuProbe
from edgeosr.runtime.engines.store import add_engine, engine_lock

VERSIONS = {"tensorrt": "10.3.0", "tensorrt_rtx": "1.7.1.116"}


class Machine:
    """An Orin (or an RTX 4090) with TensorRT; ``builds`` counts builds that were asked for."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path, bundle: Bundle, *, rtx: bool = False):
        self.folder, self.patch = folder, patch
        self.builder = "tensorrt_rtx" if rtx else "tensorrt"
        shutil.copytree(bundle.path, folder / "tiny.edgeosr")
        self.path = folder / "tiny.edgeosr"
        self.cuda = QueuedCudaDouble(integrated=not rtx, architecture=(8, 9) if rtx else (8, 7))
        self.gpu = Gpu(
            ordinal=0,
            name="RTX 4090" if rtx else "Orin",
            architecture="sm_89" if rtx else "sm_87",
            memory=8 << 30,
            integrated=not rtx,
        )
        self.engine = EngineDouble(self.cuda, bundle.files[BACKBONE])
        self.plans: dict[bytes, EngineDouble] = {}
        self.trt: ModuleType = trt_module(self.builder, VERSIONS[self.builder], self.plans)
        self.builds = 0
        probe = GpuProbe(gpus=(self.gpu,), driver=(13, 0), reason="")
        patch.setenv("EDGEOSR_CACHE", str(folder / "cache"))
        patch.setattr(open_engine, "probe_gpus", lambda: probe)
        patch.setattr(open_engine, "open_driver", lambda purpose: Driver(self.cuda))
        patch.setattr(fused_score, "image_for", lambda device: Image(b"\x7fELF", "test"))
        patch.setattr(open_engine, "build_bundle", self._build)
        patch.setitem(sys.modules, self.builder, self.trt)
        patch.setitem(sys.modules, "tensorrt" if rtx else "tensorrt_rtx", None)

    def add(self, plan: bytes = b"plan", **changes: Any) -> EngineRecord:
        """Put an engine into the bundle."""
        bundle = read_bundle(self.path)
        assert bundle.manifest.backbone is not None
        record = replace(
            EngineRecord(
                file=f"{plan.decode()}.plan",
                sha256=sha256_of(plan),
                bytes=len(plan),
                builder=self.builder,
                version=VERSIONS[self.builder],
                device="" if self.builder == "tensorrt_rtx" else self.gpu.name,
                targets=(self.gpu.architecture,),
                precision=bundle.manifest.backbone.precision,
                batch=(1, 1, 4),
                frame=self.engine.least[1:3],
                backbone=bundle.manifest.files[BACKBONE].sha256,
                created="2026-02-01T00:00:00Z",
                seconds=1.0,
            ),
            **changes,
        )
        with engine_lock(self.path):
            add_engine(self.path, record, plan)
        self.plans[plan] = self.engine
        return record

    def _build(self, path: Path, options: Any, *, probe: GpuProbe) -> Any:
        assert path == self.path and probe.gpus
        assert options.targets == (() if self.builder == "tensorrt" else (self.gpu.architecture,))
        self.builds += 1
        return self.add(b"built"), read_bundle(path).manifest
