"""The launcher for C++ plans as Python does, and builds and links where nvcc is."""

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fused_cases import DISCRIMINATORS, Case, random_scorer
from kernel_entries import ENTRIES

from edgeosr.errors import UsageError
from edgeosr.kernels.build.sources import device_source
from edgeosr.kernels.build.toolchain import Nvcc, find_nvcc
from edgeosr.kernels.packed_file import main as packed_file_main
from edgeosr.kernels.packed_file import packed_file
from edgeosr.kernels.packing import PackedScorer, pack_scorer
from edgeosr.kernels.params import FusedScoreParams
from edgeosr.kernels.plan import MapShape, TangentShape, plan_launch
from edgeosr.scoring.scorer import PartConstants, Scorer
from edgeosr.scoring.scorer_file import write_scorer

ROOT = Path(__file__).resolve().parents[2]
KERNELS = ROOT / "kernels"
CACHE = ROOT / "build" / "host"


class HostPlan(ctypes.Structure):
    _fields_ = (
        ("entry", ctypes.c_int32),
        ("blocks", ctypes.c_int32),
        ("tile", ctypes.c_int32),
        ("shared_bytes", ctypes.c_uint64),
        ("workspace_bytes", ctypes.c_uint64),
        ("counter_bytes", ctypes.c_uint64),
        ("params", FusedScoreParams),
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
    )


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """plan.cpp, compiled without nvcc, behind a C interface."""
    folder = tmp_path_factory.mktemp("host")
    glue = folder / "glue.cpp"
    glue.write_text(
        '#include <edgeosr/fused_score.h>\n#include "plan.h"\nusing namespace edgeosr;\n'
        'extern "C" char const* host_plan(PackedScorer const* s, ScoreInput const* i, HostPlan* p) {\n'
        "    return make_plan(*s, *i, p);\n}\n"
        'extern "C" size_t host_read(void const* f, size_t n, PackedScorer* s) {\n'
        "    return read_packed_scorer(f, n, s);\n}\n"
        "static_assert(sizeof(ScoreInput) == " + str(ctypes.sizeof(ScoreInput)) + ");\n"
        "static_assert(sizeof(HostPlan) == " + str(ctypes.sizeof(HostPlan)) + ");\n"
    )
    include = (f"-isystem{find_nvcc().include}", f"-I{KERNELS / 'include'}", f"-I{KERNELS / 'src'}")
    flags = ("-std=c++17", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-shared", "-fPIC")
    run("g++", *flags, *include, str(glue), str(KERNELS / "src/plan.cpp"), "-o", str(folder / "host.so"))
    library = ctypes.CDLL(str(folder / "host.so"))
    library.host_plan.restype = ctypes.c_char_p
    library.host_read.restype = ctypes.c_size_t
    return library


def run(*words: str) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # cmake of the dev extra
    done = subprocess.run(
        words, capture_output=True, encoding="utf-8", errors="replace", env={**os.environ, "PATH": path}
    )
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def cuda_of(nvcc: Nvcc) -> list[str]:
    """Where CMake finds CUDA: NVIDIA's wheels have no libcudart.so without a version, which it looks for."""
    shared = min(nvcc.library.glob("libcudart.so*"))
    return [
        f"-DCUDAToolkit_ROOT={nvcc.include.parent}",
        f"-DCUDA_CUDART={shared}",
        f"-DCUDA_cudart_LIBRARY={shared}",
        f"-DCUDA_cudart_static_LIBRARY={nvcc.library / 'libcudart_static.a'}",
    ]


def layout_of(packed: PackedScorer) -> ctypes.Array[ctypes.c_char]:
    """The bytes of the C++ PackedScorer."""
    return ctypes.create_string_buffer(packed_file(packed)[8:512], 504)


def with_rows(scorer: Scorer) -> Scorer:
    """Rows and numbers of its own for the second part that is listed."""
    rows = np.ones((70, scorer.dimension), np.float32)
    own = PartConstants(rows=rows, biases=np.ones(70, np.float32), numbers=np.ones(3, np.float32))
    return replace(scorer, constants={scorer.fusion.parts[1]: own})


def random_case(rng: np.random.Generator) -> tuple[Case, MapShape | TangentShape, int]:
    closed_form = bool(rng.integers(2))
    batch = int(rng.choice([0, 1, 3, 4, 5, 8, 9, 16, 64, 513, 1024]))
    case = Case(
        dimension=int(rng.choice([1, 7, 16, 127, 128, 129, 509, 512, 1280, 2048])),
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


def c_input(shape: MapShape | TangentShape, batch: int) -> ScoreInput:
    if isinstance(shape, MapShape):
        return ScoreInput(
            batch=batch,
            half=shape.half,
            height=shape.height,
            width=shape.width,
            channels_last=shape.layout == "nhwc",
            position_stride=shape.position_stride,
            sample_stride=shape.sample_stride,
        )
    return ScoreInput(
        batch=batch,
        half=shape.half,
        probes=shape.probes,
        sample_stride=shape.sample_stride,
        tangent_sample_stride=shape.tangent_sample_stride,
        probe_stride=shape.probe_stride,
    )


def test_both_plans_agree_on_random_shapes_or_refuse_in_the_same_words(host: ctypes.CDLL) -> None:
    rng = np.random.default_rng(5)
    refused = 0
    for _ in range(60):
        case, shape, batch = random_case(rng)

        packed = pack_scorer(with_rows(random_scorer(case)), half=case.half_weights)
        found = HostPlan()
        error = host.host_plan(layout_of(packed), ctypes.byref(c_input(shape, batch)), ctypes.byref(found))
        try:
            expected = plan_launch(packed, shape, batch)
        except UsageError as words:
            refused += 1
            assert error is not None and error.decode() == str(words)
            continue
        assert error is None, (case, shape, error)
        assert ENTRIES[found.entry] == expected.entry
        for name in ("blocks", "tile", "shared_bytes", "workspace_bytes", "counter_bytes"):
            assert getattr(found, name) == getattr(expected, name), (name, case, shape, batch)
        for name, *_ in FusedScoreParams._fields_:
            got, want = getattr(found.params, name), getattr(expected.params, name)
            same = bytes(got) == bytes(want) if isinstance(got, ctypes.Array) else got == want
            assert same, (name, case, shape, batch)
    assert refused < 30


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch": 1025}, "the batch must be from 0 to 1024 for the fused kernel; got 1025"),
        (
            {"height": 17, "width": 16},
            "the map's positions must be from 1 to 256 for the fused kernel; got 272",
        ),
        ({"height": 0, "width": 0}, "the scorer has a closed form; the fused kernel needs the map, not z"),
        ({"sample_stride": 5}, "sample_stride must be at least 2048 elements; got 5"),
        ({"channels_last": 1, "position_stride": 64}, "position_stride must be at least D = 128; got 64"),
        ({"sample_stride": 2**30, "batch": 8}, "an input must have fewer than 2^31 elements"),
    ],
)
def test_the_host_refuses_before_a_launch_saying_expected_and_got(
    host: ctypes.CDLL, change: dict[str, int], words: str
) -> None:
    packed = pack_scorer(random_scorer(map_case()), half=True)
    given = {"batch": 1, "half": 1, "height": 4, "width": 4, **change}
    error = host.host_plan(layout_of(packed), ctypes.byref(ScoreInput(**given)), ctypes.byref(HostPlan()))
    assert error is not None and error.decode().startswith(words)


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


def test_a_packed_file_is_read_back_and_a_damaged_one_refused(host: ctypes.CDLL) -> None:
    packed = pack_scorer(random_scorer(map_case()), half=True)
    content = packed_file(packed)
    layout = ctypes.create_string_buffer(504)
    assert host.host_read(content, ctypes.c_size_t(len(content)), layout) == 512
    assert layout.raw[:412] == content[8:420]
    for damaged in (content[:-1], content[:100], b"EDGEOSR1" + content[8:], content + b"\0"):
        assert host.host_read(damaged, ctypes.c_size_t(len(damaged)), layout) == 0
    # Words of PackedScorer: D, layers, C, parts, then of the first part row, rows and where its numbers lie.
    words = (
        (1, 0),
        (1, 4096),
        (9, 7),
        (9, -1),
        (2, 5000),
        (37, 0),
        (37, 17),
        (39, 5000),
        (40, -1),
        (41, 1 << 30),
    )
    for word, value in words:
        broken = bytearray(content)
        broken[8 + 4 * word : 12 + 4 * word] = value.to_bytes(4, "little", signed=True)
        assert host.host_read(bytes(broken), ctypes.c_size_t(len(broken)), layout) == 0


def test_the_packing_command_writes_the_file_and_words_its_errors(tmp_path: Path, capsys) -> None:
    (tmp_path / "scorer.npz").write_bytes(write_scorer(random_scorer(map_case())))
    words = [str(tmp_path / "scorer.npz"), str(tmp_path / "scorer.bin")]
    assert packed_file_main(words) == 0
    assert (tmp_path / "scorer.bin").read_bytes()[:8] == b"EDGEOSR2"
    (tmp_path / "scorer.npz").write_bytes(b"damaged")
    assert packed_file_main(words) == 1
    assert "scorer.npz cannot be read" in capsys.readouterr().err


def test_the_launcher_header_includes_only_cuda_runtime_and_the_standard() -> None:
    text = (KERNELS / "include/edgeosr/fused_score.h").read_text("utf-8")
    assert set(re.findall(r"#include <(.*)>", text)) == {"cuda_runtime.h", "cstddef", "cstdint"}
    assert '#include "' not in text


@pytest.fixture(scope="module")
def built() -> Path:
    """The CMake project, built and installed for sm_87 as its users do; kept by the digest of its sources."""
    inputs = [ROOT / "CMakeLists.txt", *sorted(KERNELS.rglob("*.[ch]*")), *sorted(KERNELS.glob("CMake*"))]
    digest = hashlib.sha256(device_source().digest.encode())
    for path in inputs:
        if "simt" not in path.parts and path.is_file() and path.suffix != ".cubin":
            digest.update(path.read_bytes())
    folder = CACHE / digest.hexdigest()[:16]
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        nvcc = find_nvcc()
        run(
            "cmake",
            f"-S{ROOT}",
            f"-B{folder / 'build'}",
            f"-DCMAKE_CUDA_COMPILER={nvcc.path}",
            "-DCMAKE_CUDA_ARCHITECTURES=87-real",
            f"-DCMAKE_CUDA_FLAGS=-L{nvcc.library}",
            *cuda_of(nvcc),
            f"-DCMAKE_INSTALL_PREFIX={folder / 'installed'}",
        )
        run("cmake", "--build", str(folder / "build"), "-j2")
        run("cmake", "--install", str(folder / "build"))
        (folder / "done").touch()
    return folder


def test_cmake_builds_and_installs_both_libraries_the_header_and_a_package(built: Path) -> None:
    names = {path.name for path in (built / "installed").rglob("*") if path.is_file()}
    assert {"libedgeosr_kernels.a", "libedgeosr_kernels.so", "fused_score.h", "edgeosr-config.cmake"} <= names


def test_an_application_finds_the_package_and_the_example_says_that_there_is_no_driver(
    built: Path, tmp_path: Path
) -> None:
    nvcc = find_nvcc()
    (tmp_path / "scorer.bin").write_bytes(packed_file(pack_scorer(random_scorer(map_case()), half=True)))
    (tmp_path / "map.f16").write_bytes(np.zeros((2, 128, 4, 4), np.float16).tobytes())
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.22)\nproject(app LANGUAGES CXX)\n"
        "find_package(edgeosr REQUIRED)\n"
        f"add_executable(app {KERNELS / 'examples/score_map.cpp'})\n"
        "target_link_libraries(app PRIVATE edgeosr::kernels)\n"
    )
    run(
        "cmake",
        f"-S{tmp_path}",
        f"-B{tmp_path / 'b'}",
        f"-Dedgeosr_DIR={built / 'installed/lib/cmake/edgeosr'}",
        *cuda_of(nvcc),
    )
    run("cmake", "--build", str(tmp_path / "b"))
    words = [str(tmp_path / "b/app"), str(tmp_path / "scorer.bin"), str(tmp_path / "map.f16"), "4", "4"]
    done = subprocess.run(words, capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode == 0:  # a machine with a device
        assert "score" in done.stdout
    else:
        assert re.search(
            r"cuda\w+\(.*\): (CUDA driver version is insufficient|no CUDA-capable device)", done.stderr
        )


def test_the_example_is_about_sixty_lines() -> None:
    assert len((KERNELS / "examples/score_map.cpp").read_text("utf-8").splitlines()) <= 80
