"""Run the package with the lowest versions that it declares: ``make test-oldest``, or a part: ``--quick``.

Each set is an environment of its own under build/oldest/, into which a wheel of this tree is installed as a
user would install it. What it runs is listed here, by file or test: only what needs no other package.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from floors import ROOT, constraints

HOME = ROOT / "build" / "oldest"
RUNTIME = (
    "tests/oldest/test_runtime.py",
    "tests/core/test_files.py",
    "tests/core/test_run.py",
    "tests/packaging/test_light_import.py",
    "tests/packaging/test_public_surface.py",
)
# What pyproject.toml names beside the rooms.
TOP_FILES = ("pyproject.toml", "README.md", "LICENSE", "NOTICE")
FOREIGN = "tests/export/test_export_foreign.py"


@dataclass(frozen=True, kw_only=True)
class OldestSet:
    """One environment.

    Attributes:
        name: of its folder.
        python: the interpreter's version.
        extras: what is installed beside the base.
        tests: what pytest runs.
        quick: part of CI's run.
    """

    name: str
    python: str
    extras: tuple[str, ...] = ()
    tests: tuple[str, ...]
    quick: bool


SETS = (
    OldestSet(name="runtime-3.10", python="3.10", tests=RUNTIME, quick=True),
    OldestSet(name="runtime-3.13", python="3.13", tests=RUNTIME, quick=True),
    OldestSet(
        name="foreign-3.11",
        python="3.11",
        extras=("export",),
        tests=(
            *RUNTIME,
            *(
                f"{FOREIGN}::test_{name}"
                for name in (
                    "its_bundle_can_be_evaluated_on_the_classes_it_does_not_know",
                    "classes_in_the_wrong_order_are_noticed",
                    "no_torch_is_needed_and_then_there_is_no_discriminator",
                    "a_network_without_a_closed_form_names_the_node_and_the_way_out",
                )
            ),
        ),
        quick=True,
    ),
    OldestSet(
        name="training-3.11",
        python="3.11",
        extras=("train",),
        tests=(
            *RUNTIME,
            "tests/core/test_cli.py",
            "tests/core/test_cli_end_to_end.py",
            "tests/core/training/test_losses.py",
            "tests/core/training/test_settings.py",
            FOREIGN,
        ),
        quick=False,
    ),
)


def find_python(version: str) -> str | None:
    """Return an interpreter of this version that runs and can make environments, found by its name."""
    name = f"python{version}"
    candidates = [str(Path(folder) / name) for folder in os.get_exec_path()]
    if shutil.which("pyenv"):
        # Its shims are on the path, but run only the version that is switched on.
        named = subprocess.run(
            ["pyenv", "whence", "--path", name], capture_output=True, text=True, check=False
        )
        candidates += named.stdout.split()
    question = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    for candidate in candidates:
        if Path(candidate).is_file():
            said = subprocess.run([candidate, "-c", question], capture_output=True, text=True, check=False)
            if said.stdout.strip() == version:
                return candidate
    return None


def tool(environment: Path, name: str) -> str:
    """Return the path of a command of an environment."""
    return str(environment / ("Scripts" if os.name == "nt" else "bin") / name)


def step(*command: str | Path, cwd: Path = ROOT, **variables: str) -> None:
    """Run a command; its failure is ours."""
    subprocess.run([str(word) for word in command], cwd=cwd, env={**os.environ, **variables}, check=True)


def make_wheel() -> Path:
    """Build a wheel from a copy of the tree, where no older build lies."""
    tree, out = HOME / "tree", HOME / "wheel"
    for folder in (tree, out):
        shutil.rmtree(folder, ignore_errors=True)
    for room in ("edgeosr", "export", "kernels", "bench"):
        shutil.copytree(
            ROOT / room, tree / room, ignore=shutil.ignore_patterns("__pycache__", "*.so", "cubins")
        )
    for name in TOP_FILES:
        shutil.copy(ROOT / name, tree / name)
    made = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(tree)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise SystemExit(made.stdout + made.stderr)
    (wheel,) = out.glob("*.whl")
    return wheel


def make_bundle() -> Path:
    """Train and export with the newest versions: what a device with the oldest ones has to run."""
    shutil.rmtree(HOME / "runs", ignore_errors=True)
    edgeosr = str(Path(sys.executable).with_name("edgeosr"))
    step(
        edgeosr, "train", "--data", "digits", "--known", "2,4,5", "--input-size", "16", "--epochs", "4",
        "--batch", "32", "--rotation-weight", "0", "--threads", "1", "--folds", "0", "--out",
        "runs/newest", cwd=HOME,
    )  # fmt: skip
    step(edgeosr, "export", "runs/newest", "--threads", "1", cwd=HOME)
    return HOME / "runs" / "newest" / "newest.edgeosr"


def make_environment(chosen: OldestSet, python: str, wheel: Path) -> Path:
    """Return an environment with the lowest versions and the wheel; what is installed already stays."""
    pins = constraints(chosen.extras, chosen.python)
    folder = HOME / chosen.name
    state = folder / f"made-{hashlib.sha256(' '.join([python, *pins]).encode()).hexdigest()[:16]}"
    pip = (tool(folder, "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    if not state.exists():
        shutil.rmtree(folder, ignore_errors=True)
        step(python, "-m", "venv", folder)
        listed = folder / "constraints.txt"
        listed.write_text("\n".join(pins) + "\n", encoding="utf-8")
        wanted = f"{wheel}[{','.join(chosen.extras)}]" if chosen.extras else str(wheel)
        # Never without the constraints: pip would look for a newer torch, gigabytes of it.
        step(*pip, "--only-binary", ":all:", "--constraint", listed, wanted, "pytest")
        state.touch()
    step(*pip, "--no-deps", "--force-reinstall", wheel)
    return folder


def main() -> int:
    """Run the sets; returns 0 if every test of every set passed."""
    parser = argparse.ArgumentParser(description="Run the package with the lowest versions it declares.")
    parser.add_argument("--quick", action="store_true", help="leave out training, which needs torch")
    parser.add_argument("--set", action="append", choices=[one.name for one in SETS], help="only this one")
    asked = parser.parse_args()
    chosen = [one for one in SETS if one.name in (asked.set or [one.name]) and (one.quick or not asked.quick)]
    found = {one.python: find_python(one.python) for one in chosen}
    pythons = {version: path for version, path in found.items() if path is not None}
    missing = sorted(set(found) - set(pythons))
    if missing:
        names = ", ".join(f"python{version}" for version in missing)
        print(f"no {names} on this machine; install it, then run this again", file=sys.stderr)
        return 1
    HOME.mkdir(parents=True, exist_ok=True)
    wheel = make_wheel()
    started = time.monotonic()
    # Installing waits for the network more than it computes.
    with ThreadPoolExecutor(max_workers=len(chosen) + 1) as pool:
        making = pool.submit(make_bundle)
        folders = list(pool.map(lambda one: make_environment(one, pythons[one.python], wheel), chosen))
        bundle = making.result()
    print(f"{time.monotonic() - started:.0f} s to install and to make a bundle", flush=True)
    failed = []
    for one, folder in zip(chosen, folders, strict=True):
        started = time.monotonic()
        print(f"{one.name}: {', '.join(constraints(one.extras, one.python))}", flush=True)
        # Warnings of old versions are no failures of ours.
        pytest = (tool(folder, "pytest"), "-q", "-p", "no:cacheprovider", "-o", "filterwarnings=default")
        variables = {**os.environ, "EDGEOSR_OLDEST_BUNDLE": str(bundle)}
        done = subprocess.run([*pytest, *one.tests], cwd=ROOT, env=variables, check=False)
        print(f"{one.name}: exit code {done.returncode}, {time.monotonic() - started:.0f} s", flush=True)
        failed += [one.name] if done.returncode else []
    print(f"oldest versions: {len(chosen) - len(failed)} passed, {len(failed)} failed {' '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
