"""Each ``python -m edgeosr...`` ends as the ``edgeosr`` command does, whatever it meets."""

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Started by programs of ours, which read what they say and how they end; nobody types them.
CHILDREN = {"bench/fresh_process.py"}
# Of the hardware rung; its other programs are its steps, whose ends it minds itself (child.py).
TYPED = ("as_phase_table.py", "pack.py")
NATIVE = "edgeosr/runtime/native"
PROGRAMS = [
    path
    for room in ("bench", NATIVE)
    for path in sorted((ROOT / room).rglob("*.py"))
    if (path.name in TYPED or not path.is_relative_to(ROOT / "bench" / "gpu_rung"))
    and not path.is_relative_to(ROOT / NATIVE / "examples")
    and str(path.relative_to(ROOT)) not in CHILDREN
    and '__name__ == "__main__"' in path.read_text("utf-8")
]


def started(words: list[str], **where: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, *words], stderr=subprocess.PIPE, **where)


def working(words: str) -> list[str]:
    """A program of its own whose work these statements are."""
    needed = "import sys, time\nfrom edgeosr.program.run import run_program"
    return ["-c", f"{needed}\ndef work():\n {words}\nrun_program(work)"]


def module_of(path: Path) -> str:
    inner = path.relative_to(ROOT).with_suffix("")
    parts = inner.parts if inner.parts[0] == "edgeosr" else ("edgeosr", *inner.parts)
    return ".".join(parts).removesuffix(".__main__")


def test_every_program_of_the_bench_and_the_library_is_run_in_the_one_way() -> None:
    assert len(PROGRAMS) > 15
    for path in PROGRAMS:
        guarded = [
            node
            for node in ast.parse(path.read_text("utf-8")).body
            if isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"
        ]
        ends = [ast.unparse(statement) for one in guarded for statement in one.body]
        assert ends == ["run_program(main)"], path


@pytest.mark.parametrize(
    "name", ["bench/native.py", "bench/native_decisions.py", "bench/plan_table.py", f"{NATIVE}/build.py"]
)
def test_a_full_output_is_a_line_and_no_traceback(name: str) -> None:
    assert ROOT / name in PROGRAMS
    # With a buffer: without one argparse keeps to itself that its help was not taken.
    kept = {**os.environ, "PYTHONUNBUFFERED": ""}
    with open("/dev/full", "wb") as full:
        process = started(["-m", module_of(ROOT / name), "--help"], stdout=full, env=kept)
    _, said = process.communicate()
    assert process.returncode == 1
    assert said.startswith(b"error: cannot write to ") and said.count(b"\n") == 1


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_table_that_a_full_disk_takes_no_more_of_is_a_line(unbuffered: str) -> None:
    with open("/dev/full", "wb") as full:
        where = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        process = started(working("print('row')"), stdout=full, env=where)
    _, said = process.communicate()
    assert process.returncode == 1
    assert said.startswith(b"error: cannot write to ") and said.count(b"\n") == 1


def test_a_table_that_nobody_reads_ends_without_a_word() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = started(working("print('x' * 100_000)"), stdout=writing)
    os.close(writing)
    _, said = process.communicate()
    assert (process.returncode, said) == (128 + signal.SIGPIPE, b"")


@pytest.mark.parametrize(
    ("number", "words"), [(signal.SIGINT, b"interrupted\n"), (signal.SIGTERM, b"ended by SIGTERM\n")]
)
def test_who_ends_it_reads_a_line(number: signal.Signals, words: bytes) -> None:
    process = started(working("print('at work', flush=True); time.sleep(60)"), stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"at work\n"
    process.send_signal(number)
    _, said = process.communicate()
    assert (process.returncode, said) == (128 + number, words)


@pytest.mark.parametrize(
    ("words", "code"), [("return 7", 7), ("return None", 0), ("sys.exit(2)", 2), ("return 1", 1)]
)
def test_the_exit_code_is_that_of_the_work(words: str, code: int) -> None:
    process = started(working(words))
    _, said = process.communicate()
    assert (process.returncode, said) == (code, b"")


# Never a real device: a build that does not refuse it would replace it on the machine that runs the tests.
@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("pipe", "pipe: it is a pipe, a device or a socket; choose another place"),
        ("pipe/x", "pipe is no folder; choose another place"),
    ],
)
def test_the_build_of_the_library_refuses_what_is_no_file_before_it_compiles(
    out: str, words: str, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    module = module_of(ROOT / NATIVE / "build.py")
    process = started(["-m", module, "--out", str(tmp_path / out), "--objects", str(tmp_path / "objects")])
    _, said = process.communicate()
    assert process.returncode == 1
    assert said.decode().startswith("error: cannot write ") and said.decode().endswith(f"{words}\n")
    assert (tmp_path / "pipe").is_fifo() and not (tmp_path / "objects").exists()
