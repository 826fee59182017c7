"""The header is C99 and C++17, the package is found by CMake and pkg-config, and the examples run."""

import os
import re
import select
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from handle import opened

import edgeosr
from edgeosr.runtime.native import library
from edgeosr.runtime.native.build import HERE, SONAME

STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]
# Of the extra "dev", where it is installed; a system's own otherwise.
BESIDE = Path(sys.executable).with_name("cmake")
CMAKE = str(BESIDE) if BESIDE.exists() else "cmake"
USE = '#include "{header}"\nint main(void) {{ return edgeosr_abi() == EDGEOSR_ABI ? 0 : 1; }}\n'


def run(command, **more):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **more)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize(
    ("compiler", "standard", "name"),
    [("cc", "c99", "edgeosr.h"), ("c++", "c++17", "edgeosr.h"), ("c++", "c++17", "edgeosr.hpp")],
)
def test_the_header_compiles_by_itself_without_a_warning(compiler, standard, name):
    language = "c" if compiler == "cc" else "c++"
    command = [compiler, f"-std={standard}", *STRICT, "-fsyntax-only", "-x", language, "-"]
    run([*command, "-I", HERE / "include"], input=USE.format(header=name))


def test_the_structures_are_as_large_as_python_takes_them(tmp_path):
    import ctypes

    sizes = {
        "edgeosr_options": ctypes.sizeof(library.Options),
        "edgeosr_frame": library.FRAME.itemsize,
        "edgeosr_verdict": library.VERDICT.itemsize,
        "edgeosr_verification": ctypes.sizeof(library.Verification),
    }
    offsets = {
        "edgeosr_frame, plane": library.FRAME.fields["plane"][1],
        "edgeosr_frame, stride_bytes": library.FRAME.fields["stride_bytes"][1],
        "edgeosr_verdict, label": library.VERDICT.fields["label"][1],
        "edgeosr_verdict, score": library.VERDICT.fields["score"][1],
        "edgeosr_verdict, latency_ns": library.VERDICT.fields["latency_ns"][1],
        "edgeosr_verdict, parts": library.VERDICT.fields["parts"][1],
        "edgeosr_options, warmup_limit_s": library.Options.warmup_limit_s.offset,
    }
    checks = [f"sizeof({name}) == {size}" for name, size in sizes.items()]
    checks += [f"offsetof({place}) == {offset}" for place, offset in offsets.items()]
    checks += [
        "EDGEOSR_GRAY8 == 4",
        "EDGEOSR_NOT_VERIFIED == 6",
        "EDGEOSR_MOST_PARTS == 16",
        f"EDGEOSR_ABI == {library.ABI}",
    ]
    text = '#include "edgeosr.h"\n' + "\n".join(f"char a{i}[{c} ? 1 : -1];" for i, c in enumerate(checks))
    command = ["cc", "-std=c99", "-fsyntax-only", "-x", "c", "-", "-I", str(HERE / "include")]
    run(command, input=text)


def test_every_status_of_the_header_is_an_error_of_python_and_a_row_of_the_page():
    header = (HERE / "include" / "edgeosr.h").read_text("utf-8")
    (listed,) = re.findall(r"enum edgeosr_status \{(.*?)\}", header, re.DOTALL)
    statuses = {name: int(number) for name, number in re.findall(r"(EDGEOSR_\w+) = (\d+)", listed)}
    assert statuses.pop("EDGEOSR_OK") == library.OK and len(statuses) == listed.count("=") - 1
    assert sorted(statuses.values()) == sorted(library.ERRORS)
    assert [name for name in statuses if f"| `{name}` |" not in PAGE] == []


def test_version_and_name_for_programs_are_those_of_header_and_package(native, built):
    assert native.edgeosr_version().decode() == edgeosr.__version__
    assert f"libedgeosr.so.{library.ABI}" == SONAME and SONAME.encode() + b"\0" in built.read_bytes()


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """The package as ``cmake --install`` lays it, with the library that is built already in its place."""
    place, work = tmp_path_factory.mktemp("installed"), tmp_path_factory.mktemp("cmake")
    stub = work / "source"
    shutil.copytree(HERE, stub, ignore=shutil.ignore_patterns("*.so", "__pycache__", "src"))
    (stub / "src").mkdir()
    shutil.copy(HERE / "src" / "libedgeosr.map", stub / "src")
    (stub / "src" / "empty.cpp").write_text('extern "C" int edgeosr_abi(void) { return 1; }\n', "utf-8")
    run([CMAKE, "-S", stub, "-B", work / "b", "-DEDGEOSR_EXAMPLES=OFF", f"-DCMAKE_INSTALL_PREFIX={place}"])
    run([CMAKE, "--build", work / "b"])
    run([CMAKE, "--install", work / "b"])
    (library_file,) = (path for path in place.rglob("libedgeosr.so.*.*") if not path.is_symlink())
    assert library_file.name == f"libedgeosr.so.{edgeosr.__version__}"
    assert library_file.with_name(SONAME).is_symlink()
    shutil.copy(built, library_file)
    return place


@pytest.fixture(scope="module")
def environment(installed):
    (folder,) = {path.parent for path in installed.rglob("libedgeosr.so")}
    return {
        **os.environ,
        "LD_LIBRARY_PATH": str(folder),
        "PKG_CONFIG_PATH": str(folder / "pkgconfig"),
        library.ONNXRUNTIME_VARIABLE: library.onnxruntime_library(),
    }


@pytest.fixture(scope="module")
def programs(installed, environment, tmp_path_factory):
    """The examples, built by an application's own CMake project that finds the package."""
    work = tmp_path_factory.mktemp("application")
    lines = [
        "cmake_minimum_required(VERSION 3.22)",
        "project(application C CXX)",
        "find_package(libedgeosr REQUIRED)",
    ]
    for name in ("judge_file.c", "judge_rows.cpp", "camera_v4l2.cpp"):
        shutil.copy(HERE / "examples" / name, work)
        program = Path(name).stem
        lines.append(f"add_executable({program} {name})")
        lines.append(f"target_compile_features({program} PRIVATE c_std_99 cxx_std_17)")
        lines.append(f"target_compile_options({program} PRIVATE {' '.join(STRICT)})")
        lines.append(f"target_link_libraries({program} PRIVATE edgeosr::edgeosr)")
    (work / "CMakeLists.txt").write_text("\n".join(lines) + "\n", "utf-8")
    run([CMAKE, "-S", work, "-B", work / "b", f"-DCMAKE_PREFIX_PATH={installed}"])
    run([CMAKE, "--build", work / "b"])
    return work / "b"


def test_pkg_config_tells_how_to_link(installed, environment):
    text = next(installed.rglob("edgeosr.pc")).read_text("utf-8")
    assert "-ledgeosr" in text and f"Version: {edgeosr.__version__}" in text
    (up,) = re.findall(r"^prefix=\$\{pcfiledir\}/(\S+)$", text, re.MULTILINE)
    (folder,) = {path.parent for path in installed.rglob("edgeosr.pc")}
    assert (folder / up).resolve() == installed.resolve()
    if shutil.which("pkg-config"):
        flags = run(["pkg-config", "--cflags", "--libs", "edgeosr"], env=environment).split()
        assert Path(flags[0][2:]).resolve() == installed / "include" and "-ledgeosr" in flags


def test_a_picture_is_judged_in_c_as_in_python(programs, environment, bundle_path, tiny, tmp_path):
    (pixels,) = tiny.sample_frames(1)
    picture = tmp_path / "a.ppm"
    picture.write_bytes(b"P6\n30 20\n255\n" + pixels.tobytes())
    said = run([programs / "judge_file", bundle_path, picture], env=environment)
    # With comments, as GIMP writes.
    picture.write_bytes(b"P6\n# made by # nobody\n30 # wide\n20\n255\n" + pixels.tobytes())
    assert run([programs / "judge_file", bundle_path, picture], env=environment) == said
    with edgeosr.Runtime(bundle_path, backend="onnxruntime", threads=1) as runtime:
        verdict = runtime(pixels)
    assert said == (
        f"{verdict.label} (nearest {verdict.nearest}, score {verdict.score:.3f}, "
        f"threshold {verdict.threshold:.3f})\n"
    )
    done = subprocess.run(
        [programs / "judge_file", tmp_path, picture], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 1 and "it has no manifest.json" in done.stderr
    picture.write_bytes(picture.read_bytes()[:-1])
    done = subprocess.run(
        [programs / "judge_file", bundle_path, picture], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 2 and done.stderr == f"{picture} is no binary PPM of 8 bits\n"
    picture.unlink()
    done = subprocess.run(
        [programs / "judge_file", bundle_path, picture], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 2 and done.stderr == f"{picture}: No such file or directory\n"


def test_frames_are_judged_from_cpp_and_from_ctypes(programs, built, environment, bundle_path, tiny):
    frames = tiny.sample_frames(3)
    with edgeosr.Runtime(bundle_path, backend="onnxruntime", threads=1) as runtime:
        expected = [runtime(np.ascontiguousarray(one[..., ::-1])) for one in frames]
        first = runtime(frames[0])
    command = [str(programs / "judge_rows"), str(bundle_path), "20", "30"]
    done = subprocess.run(command, input=frames.tobytes(), capture_output=True, env=environment)
    lines = done.stdout.decode().splitlines()
    assert [line.split()[:-2] for line in lines] == [
        [*one.label.split(), f"{one.score:.3f}"] for one in expected
    ]
    assert (done.returncode, done.stderr) == (0, b"")
    for cut, said in (
        (b"", "0 came after 0 frames"),
        (frames[:2].tobytes()[:-1], "1799 came after 1 frames"),
    ):
        done = subprocess.run(command, input=cut, capture_output=True, env=environment)
        assert done.returncode == 2 and done.stderr.decode() == f"a frame has 1800 bytes; {said}\n"
        assert len(done.stdout.splitlines()) == len(cut) // 1800
    command[2:] = ["2147483647"] * 2  # no vector is as long as such a frame
    done = subprocess.run(command, input=b"", capture_output=True, env=environment)
    assert done.returncode == 1 and b"vector" in done.stderr
    command = [
        sys.executable,
        str(HERE / "examples" / "judge_ctypes.py"),
        str(built),
        str(bundle_path),
        "20",
        "30",
    ]
    done = subprocess.run(command, input=frames[0].tobytes(), capture_output=True, env=environment)
    assert done.stdout.decode() == f"{first.label} {first.score:.3f}\n"
    done = subprocess.run(command, input=frames[0].tobytes()[:100], capture_output=True, env=environment)
    assert (done.returncode, done.stdout) == (2, b"") and b"must have 1800 bytes; got 100" in done.stderr


def test_who_reads_the_lines_over_a_pipe_gets_each_before_the_next_frame(
    programs, environment, bundle_path, tiny
):
    command = [str(programs / "judge_rows"), str(bundle_path), "20", "30"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment) as running:
        try:
            for one in tiny.sample_frames(2):
                running.stdin.write(one.tobytes())
                running.stdin.flush()
                assert select.select([running.stdout], [], [], 60)[0], (
                    "no line came while it waits for frames"
                )
                assert os.read(running.stdout.fileno(), 4096).endswith(b" ms\n")
        finally:
            running.stdin.close()
    assert running.returncode == 0


def test_the_loop_for_gstreamer_ends_with_a_file_and_tells_what_fails():
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("gstreamer_example.py")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if done.stdout.startswith("not run: "):
        pytest.skip(done.stdout)


def test_a_camera_that_is_not_there_is_told(programs, environment, bundle_path, tmp_path):
    command = [str(programs / "camera_v4l2"), str(bundle_path), str(tmp_path / "video9")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 1 and "cannot open" in done.stderr and "video9" in done.stderr
    done = subprocess.run([command[0], "--help"], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout) == (0, "camera_v4l2 BUNDLE.edgeosr [/dev/video0]\n")


PAGE = (HERE.parents[2] / "docs" / "embed-c.md").read_text("utf-8")
BLOCKS = re.findall(r"^```c\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_block_of_c_on_the_page_compiles(number):
    lines = BLOCKS[number].splitlines()
    given = "pixels" if "*runtime" in BLOCKS[number] else "pixels, edgeosr_runtime *runtime"
    text = [line for line in lines if line.startswith("#")]
    text += ["#include <edgeosr.h>", "#include <stdio.h>", f"int example(const void *{given});"]
    text += [f"int example(const void *{given}) {{", "(void)pixels;"]
    text += [line for line in lines if not line.startswith("#")]
    command = ["cc", "-std=c99", *STRICT, "-fsyntax-only", "-x", "c", "-", "-I", HERE / "include"]
    run(command, input="\n".join([*text, "return 0;", "}"]) + "\n")


def test_what_cmake_builds_has_pythons_version():
    # A plug-in of another version is refused, and either may have been built by the other way.
    for path in (HERE / "CMakeLists.txt", HERE.parents[2] / "CMakeLists.txt"):
        (version,) = re.findall(r"^project\(\w+ VERSION (\S+)", path.read_text("utf-8"), re.MULTILINE)
        assert version == edgeosr.__version__


def test_the_page_has_blocks_of_c():
    assert len(BLOCKS) >= 2


def test_the_block_of_cpp_on_the_page_compiles():
    (block,) = re.findall(r"^```cpp\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    include, body = block.split("\n", 1)
    text = f"{include}\n#include <cstdio>\nvoid example(void const* pixels);\n"
    text += f"void example(void const* pixels) {{\n{body}}}\n"
    command = ["c++", "-std=c++17", *STRICT, "-fsyntax-only", "-x", "c++", "-", "-I", HERE / "include"]
    run(command, input=text)


def test_the_page_lists_what_a_runtime_says_of_itself(native, bundle_path):
    with opened(native, bundle_path) as handle:
        said = list(handle.info())
    (table,) = re.findall(r"^\| key \| value \|\n(.*?)\n\n", PAGE, re.MULTILINE | re.DOTALL)
    rows = [line.split("|")[1] for line in table.splitlines()[1:]]
    assert re.findall(r"`(\w+)`", "".join(rows)) == said


EXAMPLES = sorted(path for path in (HERE / "examples").iterdir() if path.suffix in (".c", ".cpp"))


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.name for path in EXAMPLES])
def test_an_example_compiles_without_a_warning_and_fits_the_page(path):
    more = []
    if "gst/" in path.read_text("utf-8"):
        modules = ("gstreamer-app-1.0", "gstreamer-video-1.0")
        found = subprocess.run(["pkg-config", "--cflags", *modules], capture_output=True, text=True)
        if found.returncode != 0:
            pytest.skip(f"needs {' and '.join(modules)}")
        more = found.stdout.replace("-I", "-isystem").split()  # its own headers are not pedantic
    command = ["cc", "-std=c99"] if path.suffix == ".c" else ["c++", "-std=c++17"]
    run([*command, *STRICT, "-O2", "-c", path, "-o", os.devnull, "-I", HERE / "include", *more])
    assert [line for line in path.read_text("utf-8").splitlines() if len(line) > 110] == []


def test_the_example_is_as_short_as_the_page_says():
    lines = (HERE / "examples" / "judge_file.c").read_text("utf-8").splitlines()
    assert len(lines) <= 60 and "in one page of C" in PAGE


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({0: "/nowhere/libedgeosr.so"}, "cannot load /nowhere/libedgeosr.so: "),
        ({0: "libm.so.6"}, "cannot load libm.so.6: "),
        ({2: "x"}, "HEIGHT and WIDTH must be whole numbers from 1; got x 20"),
        ({3: "y"}, "HEIGHT and WIDTH must be whole numbers from 1; got 30 y"),
        ({2: "0"}, "HEIGHT and WIDTH must be whole numbers from 1; got 0 20"),
        ({2: "-1", 3: "-1"}, "HEIGHT and WIDTH must be whole numbers from 1; got -1 -1"),
    ],
)
def test_the_example_in_python_tells_a_wrong_argument_in_a_line(built, bundle_path, changed, words):
    given = [str(built), str(bundle_path), "30", "20"]
    for place, value in changed.items():
        given[place] = value
    command = [sys.executable, str(HERE / "examples" / "judge_ctypes.py"), *given]
    done = subprocess.run(command, input="", capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(words) and done.stderr.count("\n") == 1


def test_the_class_for_cpp_has_the_functions_of_the_header(tmp_path, built, environment, bundle_path):
    source = """
    #include <edgeosr.hpp>
    int main(int, char** argv) {
        edgeosr::Runtime runtime(argv[1]);
        runtime.warm_up(1, 60);
        runtime.set_class_thresholds({1, 2, 3, 4});
        std::vector<unsigned char> y(20 * 30, 90), uv(10 * 30, 130);
        auto const said = runtime.judge(edgeosr::nv12_frame(20, 30, y.data(), uv.data()));
        bool const good = runtime.thresholds() == std::vector<double>{1, 2, 3, 4} &&
                          runtime.class_name(static_cast<std::size_t>(said.index)) == said.nearest &&
                          runtime.class_name(4).empty() && !runtime.part_name(0).empty();
        return good ? 0 : 1;
    }
    """
    header = (HERE / "include" / "edgeosr.h").read_text("utf-8")
    wrapped = (HERE / "include" / "edgeosr.hpp").read_text("utf-8")
    functions = set(re.findall(r"(edgeosr_\w+)\(", header)) - {"edgeosr_version", "edgeosr_abi"}
    assert len(functions) > 12 and {name for name in functions if f"{name}(" not in wrapped} == set()
    (tmp_path / SONAME).symlink_to(built)
    command = ["c++", "-std=c++17", *STRICT, "-x", "c++", "-", "-x", "none", tmp_path / SONAME]
    run([*command, "-I", HERE / "include", "-o", tmp_path / "program"], input=source)
    run([tmp_path / "program", bundle_path], env={**environment, "LD_LIBRARY_PATH": str(tmp_path)})
