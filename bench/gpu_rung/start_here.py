"""Unpacked on a machine with a card: ``python3 start_here.py``; options are those of the rung (--help).

Standard library only. The wheels beside this file are unzipped into ``site/``, in front of what Python has;
nothing is installed, and deleting the folder removes all of it.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Unzip, and become the rung; return 2 if this Python is not the archive's."""
    about = json.loads((HERE / "about.json").read_text("utf-8"))
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if version != about["python"]:
        print(
            f"error: this archive is for Python {about['python']} ({about['title']}); this is Python "
            f"{version}: start it with python{about['python']}, or make the archive of the other kind",
            file=sys.stderr,
        )
        return 2
    site = HERE / "site"
    unzip(HERE / "wheels", site)
    before = os.environ.get("PYTHONPATH")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), *([before] if before else [])])}
    out = Path(f"gpu-{machine_name()}.json").resolve()
    words = ["-m", "edgeosr.bench.gpu_rung", "--folder", str(HERE), "--out", str(out), *sys.argv[1:]]
    # This process becomes the rung: whatever ends it ends that, and it writes what it has.
    os.execve(sys.executable, [sys.executable, *words], environment)


def unzip(wheels: Path, site: Path) -> None:
    """Unzip every wheel into ``site``, made anew unless it is that of these wheels."""
    names = sorted(path.name for path in wheels.glob("*.whl"))
    done = site / "unzipped.json"
    if done.is_file() and json.loads(done.read_text("utf-8")) == names:
        return
    shutil.rmtree(site, ignore_errors=True)
    for name in names:
        with zipfile.ZipFile(wheels / name) as wheel:
            wheel.extractall(site)
    done.write_text(json.dumps(names), "utf-8")


def machine_name() -> str:
    """Return the card's name in letters and digits, for the record's file; the host's where none tells it."""
    name = Path("/proc/device-tree/model").read_text("utf-8", "replace") if _is_jetson() else ""
    program = shutil.which("nvidia-smi")
    if not name and program:
        words = [program, "--query-gpu=name", "--format=csv,noheader", "--id=0"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        name = done.stdout if done.returncode == 0 else ""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "card"


def _is_jetson() -> bool:
    return Path("/proc/device-tree/model").is_file()


if __name__ == "__main__":
    sys.exit(main())
