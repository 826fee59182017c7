"""The plug-in for TensorRT with the sanitizers, over doubles in C++: what ``sanitizers.py`` runs of it.

NVIDIA's headers are not needed (``tensorrt/stand_in``), nor is a GPU: ``tensorrt/exercise_engine.cpp`` runs
the plug-in, libedgeosr and both doubles, all of them built with the sanitizer.
"""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
DOUBLES = HERE / "tensorrt"
sys.path[:0] = [str(HERE), str(DOUBLES)]

import body_bundles  # noqa: E402  # the folders come first
import doubles  # noqa: E402

from edgeosr.bundle.directory import read_bundle, write_bundle  # noqa: E402
from edgeosr.bundle.engines import EngineRecord  # noqa: E402
from edgeosr.bundle.manifest import BACKBONE, parse_manifest  # noqa: E402
from edgeosr.files import sha256_of  # noqa: E402
from edgeosr.kernels.build.ahead import SOURCE_FILE  # noqa: E402
from edgeosr.kernels.build.sources import FOLDER as KERNEL  # noqa: E402
from edgeosr.kernels.build.sources import device_source  # noqa: E402
from edgeosr.kernels.build.toolchain import find_nvcc  # noqa: E402
from edgeosr.runtime.engines.store import add_engine, engine_lock  # noqa: E402
from edgeosr.runtime.golden import Expected, Rounding, enlarged, read_golden, write_golden  # noqa: E402
from edgeosr.runtime.native.build import HERE as LIBRARY  # noqa: E402
from edgeosr.runtime.native.build import OBJECTS, WARNINGS  # noqa: E402
from edgeosr.runtime.native.tensorrt_build import OWN, build_plugin  # noqa: E402

PLUGIN = "libedgeosr_tensorrt.so"
NVINFER = "libnvinfer_double.so"
CUBINS = "cubins"


def verdicts_of(frames: np.ndarray, bgr: np.ndarray, plan: str, parts: int, classes: int) -> Expected:
    """What ``engine_double.cpp`` says of frames ``[n, height, width, 3]``."""
    rgb = np.where(bgr[:, None, None, None], frames[..., ::-1], frames).reshape(len(frames), -1)
    sums = (rgb.astype(np.int64) * (np.arange(rgb.shape[1]) % 251 + 1)).sum(axis=1) % 65521
    score = ((sums % 4096) / 512 - 4 + (0.25 if plan[0] == "t" else 0.0)).astype(np.float32)
    label = (sums % classes).astype(np.int64)
    return Expected(
        label=label,
        second=(label + 1) % classes,
        gap=np.ones(len(label), np.float32),
        score=score,
        values=score[:, None] + np.arange(parts, dtype=np.float32),
    )


def bundles(folder: Path) -> list[Path]:
    """Write two bundles whose engines, and so whose golden verdicts, are the double's."""
    folder.mkdir()
    sample = ROOT / "tests" / "core" / "bundle" / "sample_manifest.json"
    module = body_bundles.typed_bundles()
    plain = module.write_typed_bundle(folder / "plain.edgeosr", parse_manifest(sample.read_bytes()))
    bundle = read_bundle(plain)
    manifest = bundle.manifest
    golden = read_golden(bundle.files["golden.npz"], manifest)
    frames, parts = enlarged(golden.frames, golden.size), len(manifest.parts)
    paths = []
    for plan in ("one", "two"):
        said = verdicts_of(frames, golden.bgr, plan, parts, len(manifest.classes))
        rounding = Rounding(0.0, 0.0, (0.0,) * parts)
        own = write_golden(replace(golden, typed=said, rounding=rounding))
        paths.append(folder / f"{plan}.edgeosr")
        write_bundle(paths[-1], manifest, {**bundle.files, "golden.npz": own})
        record = EngineRecord(
            file=f"{plan}.plan", sha256=sha256_of(plan.encode()), bytes=len(plan), builder="tensorrt",
            version="10.3.0", device="Orin", targets=("sm_87",), precision="fp16", batch=(1, 1, 12),
            frame=golden.size, backbone=manifest.files[BACKBONE].sha256, created="2026-02-01T00:00:00Z",
            seconds=1.0,
        )  # fmt: skip
        with engine_lock(paths[-1]):
            add_engine(paths[-1], record, plan.encode())
    return paths


def lay_cubins(folder: Path) -> None:
    """Lay a build of the kernel into the folder ``CUBINS``; nothing runs it."""
    made = folder / CUBINS
    made.mkdir()
    (made / SOURCE_FILE).write_text(device_source().digest + "\n", "utf-8")
    (made / "fused_score-sm_87-cuda12.6.cubin").write_bytes(b"\x7fELF")


def exercise(out: Path, flags: Sequence[str], library: Path) -> tuple[Path, dict[str, str]]:
    """Build the plug-in, its doubles and the program.

    Args:
        out: a folder for them.
        flags: of the sanitizer.
        library: libedgeosr, built with it.

    Returns:
        The program, and the variables that it needs beside ``EDGEOSR_CUBINS``.
    """
    include, cuda = doubles.include_folder(), str(find_nvcc().include)
    plugin = build_plugin(out / PLUGIN, include, objects=ROOT / OBJECTS, flags=flags)
    shared = (*flags, f"-I{LIBRARY / 'src'}", f"-I{LIBRARY / 'include'}", f"-I{OWN}", f"-I{KERNEL}")
    shared += (f"-I{KERNEL.parent / 'include'}", "-isystem", str(include), "-isystem", cuda)
    card = doubles.compiled(
        out / "libcuda.so.1", str(DOUBLES / "card_double.cpp"), *shared, "-Wl,-soname,libcuda.so.1"
    )
    nvinfer = doubles.nvinfer_library(out, include, flags)
    program = out / "exercise_engine"
    sources = [str(DOUBLES / name) for name in ("exercise_engine.cpp", "engine_double.cpp")]
    linked = [str(library), str(card), str(nvinfer), f"-Wl,-rpath,{out}", f"-Wl,-rpath,{library.parent}"]
    subprocess.run(
        ["c++", "-std=c++17", *WARNINGS, *shared, *sources, *linked, "-pthread", "-ldl", "-o", str(program)],
        check=True,
    )
    return program, {"EDGEOSR_TENSORRT_PLUGIN": str(plugin)}
