"""The launcher's C++ for the host, compiled without nvcc, behind a C interface; and scorers to plan for."""

import ctypes
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from fused_cases import DISCRIMINATORS, Case

from edgeosr.kernels.build.toolchain import find_nvcc
from edgeosr.kernels.params import FusedScoreParams
from edgeosr.kernels.plan import MapShape, TangentShape
from edgeosr.scoring.scorer import PartConstants, Scorer

KERNELS = Path(__file__).resolve().parents[2] / "kernels"


class HostPlan(ctypes.Structure):
    _fields_ = (
        ("entry", ctypes.c_int32),
        ("blocks", ctypes.c_int32),
        ("tile", ctypes.c_int32),
        ("shared_bytes", ctypes.c_uint64),
        ("workspace_bytes", ctypes.c_uint64),
        ("counter_bytes", ctypes.c_uint64),
        ("params", FusedScoreParams),
        ("origin", ctypes.c_char_p),
        ("cluster", ctypes.c_int32),
    )


class CPlanRow(ctypes.Structure):
    """PlanRow of plan.h."""

    _fields_ = (
        ("architecture", ctypes.c_int32),
        ("multiprocessors", ctypes.c_int32),
        ("half", ctypes.c_int32),
        ("dimension", ctypes.c_int32 * 2),
        ("positions", ctypes.c_int32 * 2),
        ("batch", ctypes.c_int32 * 2),
        ("slabs", ctypes.c_int32),
        ("samples", ctypes.c_int32),
        ("class_warps", ctypes.c_int32),
        ("origin", ctypes.c_char_p),
    )


class ScoreInput(ctypes.Structure):
    """ScoreInput of edgeosr/fused_score.h."""

    _fields_ = (
        ("batch", ctypes.c_int32),
        ("half", ctypes.c_int32),
        ("data", ctypes.c_void_p),
        ("height", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("channels_last", ctypes.c_int32),
        ("position_stride", ctypes.c_int32),
        ("sample_stride", ctypes.c_int64),
        ("tangents", ctypes.c_void_p),
        ("probes", ctypes.c_int32),
        ("tangent_sample_stride", ctypes.c_int64),
        ("probe_stride", ctypes.c_int64),
        ("logits", ctypes.c_void_p),
        ("logits_half", ctypes.c_int32),
        ("logits_stride", ctypes.c_int64),
        ("multiprocessors", ctypes.c_int32),
        ("architecture", ctypes.c_int32),
        ("numbered", ctypes.c_int32),
    )


def host_library(folder: Path) -> ctypes.CDLL:
    """Compile it into ``folder``."""
    glue = folder / "glue.cpp"
    glue.write_text(
        '#include <edgeosr/fused_score.h>\n#include "plan.h"\nusing namespace edgeosr;\n'
        'extern "C" char const* host_plan(PackedScorer const* s, ScoreInput const* i, HostPlan* p) {\n'
        "    return make_plan(*s, *i, p);\n}\n"
        'extern "C" char const* host_plan_by(PackedScorer const* s, ScoreInput const* i, HostPlan* p,\n'
        "                                    PlanRow const* rows, int size) {\n"
        "    return make_plan(*s, *i, p, {rows, size});\n}\n"
        'extern "C" int host_plan_rows() { return built_in_plans().size; }\n'
        'extern "C" size_t host_read(void const* f, size_t n, PackedScorer* s) {\n'
        "    return read_packed_scorer(f, n, s);\n}\n"
        "static_assert(sizeof(ScoreInput) == " + str(ctypes.sizeof(ScoreInput)) + ");\n"
        "static_assert(sizeof(HostPlan) == " + str(ctypes.sizeof(HostPlan)) + ");\n"
        "static_assert(sizeof(PlanRow) == " + str(ctypes.sizeof(CPlanRow)) + ");\n"
    )
    include = (f"-isystem{find_nvcc().include}", f"-I{KERNELS / 'include'}", f"-I{KERNELS / 'src'}")
    names = ("packed_file.cpp", "plan.cpp", "plan_table.cpp", "sharing.cpp")
    sources = [str(KERNELS / "src" / name) for name in names]
    flags = ("-std=c++17", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-shared", "-fPIC")
    run("g++", *flags, *include, str(glue), *sources, "-o", str(folder / "host.so"))
    library = ctypes.CDLL(str(folder / "host.so"))
    library.host_plan.restype = library.host_plan_by.restype = ctypes.c_char_p
    library.host_read.restype = ctypes.c_size_t
    return library


def run(*words: str) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # cmake of the dev extra
    done = subprocess.run(
        words, capture_output=True, encoding="utf-8", errors="replace", env={**os.environ, "PATH": path}
    )
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def with_rows(scorer: Scorer) -> Scorer:
    """Rows and numbers of its own for the second part that is listed."""
    rows = np.ones((70, scorer.dimension), np.float32)
    own = PartConstants(rows=rows, biases=np.ones(70, np.float32), numbers=np.ones(3, np.float32))
    return replace(scorer, constants={scorer.fusion.parts[1]: own})


def random_case(rng: np.random.Generator) -> tuple[Case, MapShape | TangentShape, int]:
    closed_form = bool(rng.integers(2))
    batch = int(rng.choice([0, 1, 3, 4, 5, 8, 9, 16, 64, 513, 1024]))
    case = Case(
        dimension=int(rng.choice([1, 7, 16, 127, 128, 129, 360, 509, 512, 1280, 2048])),
        batch=1,
        classes=int(rng.choice([1, 2, 6, 16, 17, 100])),
        head=str(rng.choice(["cosine", "linear", "external"])),
        discriminator=str(rng.choice(list(DISCRIMINATORS))),
        half_weights=bool(rng.integers(2)),
        half_input=bool(rng.integers(2)),
        positions=16 if closed_form else 0,
        filter=int(rng.choice([1, 3, 5])),
        activation=str(rng.choice(["relu", "silu", "clip"])),
        probes=0 if closed_form else int(rng.choice([0, 1, 5, 8, 32])),
        seed=int(rng.integers(1000)),
    )
    extra = int(rng.choice([0, 0, 8, 24]))
    if not closed_form:
        return (
            case,
            TangentShape(
                probes=case.probes,
                half=case.half_input,
                sample_stride=extra and case.dimension + extra,
                tangent_sample_stride=extra and case.dimension + 2 * extra,
                probe_stride=0 if extra < 9 else case.dimension + extra,
            ),
            batch,
        )
    height, width = int(rng.integers(1, 17)), int(rng.integers(1, 17))
    last = bool(rng.integers(2))
    step = case.dimension + extra
    return (
        case,
        MapShape(
            height=height,
            width=width,
            layout="nhwc" if last else "nchw",
            half=case.half_input,
            position_stride=step if last and extra else 0,
            sample_stride=extra and step * height * width + extra,
        ),
        batch,
    )


def map_case(**changes: object) -> Case:
    settings = {
        "dimension": 128,
        "batch": 1,
        "classes": 6,
        "head": "cosine",
        "discriminator": "four",
        "half_weights": True,
        "half_input": True,
        "positions": 16,
        "filter": 3,
    }
    return Case(**{**settings, **changes})  # type: ignore[arg-type]
