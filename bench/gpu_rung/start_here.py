"""Unpacked on a machine with a card: ``python3 start_here.py``; options are those of the rung (--help).

Standard library only. The wheels beside this file are unzipped into ``site/``, in front of what Python has;
nothing is installed, and deleting the folder removes all of it. It may be started from anywhere, a clone's
root too: Python's -m puts the working directory first, so the rung runs in this folder, without an edgeosr/.
"""

from __future__ import annotations  # an older Python is told which one it takes, and no SyntaxError

import argparse
import contextlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
NEEDED = {"numpy": "numpy", "torch": "torch", "cuda.bindings.driver": "cuda-bindings"}


def main() -> int:
    """Unzip, and become the rung; return 2 if this Python is not the archive's, or lacks what it needs."""
    try:
        about = json.loads((HERE / "about.json").read_text("utf-8"))
        wanted = str(about["python"])
    except (OSError, ValueError, KeyError) as error:
        return _refused(f"about.json of this archive cannot be read ({error}). Unpack it again")
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if version != wanted:
        return _refused(
            f"this archive is for Python {wanted} ({about.get('title')}); this is Python {version}: start it "
            f"with python{wanted}, or make the archive of the other kind"
        )
    site = HERE / "site"
    try:
        unzip(HERE / "wheels", site)
    except (OSError, zipfile.BadZipFile) as error:
        return _refused(f"the wheels of this archive cannot be unzipped ({error}). Unpack it again")
    except KeyboardInterrupt:
        print("interrupted while the wheels were unzipped; nothing was run", file=sys.stderr)
        return 130
    missing = lacking(site)
    if missing:
        return _refused(
            f"this Python lacks {', '.join(missing)}, which the archive does not bring; it needs here: "
            f"{about.get('has')}. Start it with the Python that has them ({sys.executable} has not)"
        )
    known, rest = _parser().parse_known_args()
    out = (known.out or Path(f"gpu-{machine_name()}.json")).resolve()
    words = ["-m", "edgeosr.bench.gpu_rung", "--folder", str(HERE), "--out", str(out), *rest]
    before = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), *before])}
    os.chdir(HERE)
    # This process becomes the rung: whatever ends it ends that, and it writes what it has.
    os.execve(sys.executable, [sys.executable, *words], environment)


def _refused(words: str) -> int:
    print(f"error: {words}", file=sys.stderr)
    return 2


def lacking(site: Path) -> list[str]:
    """Return which packages neither this Python nor ``site`` has, of those that no step can do without."""
    sys.path.insert(0, str(site))
    try:
        return [package for module, package in NEEDED.items() if not _is_there(module)]
    finally:
        sys.path.remove(str(site))


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # a parent package is missing, or broken
        return False


def _parser() -> argparse.ArgumentParser:
    """Return the parser of the one path that may be relative to where this was started."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--out", type=Path)
    return parser


def unzip(wheels: Path, site: Path) -> None:
    """Unzip every wheel into ``site``, made anew unless it is that of these wheels."""
    names = sorted(path.name for path in wheels.glob("*.whl"))
    if not names:
        raise FileNotFoundError(f"no wheel in {wheels.name}/")
    done = site / "unzipped.json"
    with contextlib.suppress(OSError, ValueError):
        if json.loads(done.read_text("utf-8")) == names:
            return
    shutil.rmtree(site, ignore_errors=True)
    for name in names:
        with zipfile.ZipFile(wheels / name) as wheel:
            wheel.extractall(site)
    done.write_text(json.dumps(names), "utf-8")


def machine_name() -> str:
    """Return the card's name in letters and digits, for the record's file; ``card`` where none tells it."""
    name = Path("/proc/device-tree/model").read_text("utf-8", "replace") if _is_jetson() else ""
    return re.sub(r"[^a-z0-9]+", "-", (name or smi_name()).lower()).strip("-") or "card"


def smi_name(seconds: float = 10.0) -> str:
    """Return what nvidia-smi calls the first card that may be used, nothing if it says nothing in time."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    card = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip() or "0"
    words = [program, "--query-gpu=name", "--format=csv,noheader", f"--id={card}"]
    try:
        asked = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    except OSError:
        return ""
    try:
        said, _ = asked.communicate(timeout=seconds)
        return said if asked.returncode == 0 else ""
    except subprocess.TimeoutExpired:
        asked.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # in a driver that hangs it never ends
            asked.wait(1)
        return ""
    finally:
        if asked.stdout is not None:
            asked.stdout.close()


def _is_jetson() -> bool:
    return Path("/proc/device-tree/model").is_file()


if __name__ == "__main__":
    sys.exit(main())
