"""A library that stands between libedgeosr and the genuine OpenVINO; see ``openvino_shim.c``."""

import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")


def build_shim(folder, genuine):
    """Compile it in ``folder`` over the OpenVINO of the path ``genuine``; returns its path."""
    path = Path(folder) / "libshim.so"
    command = ["cc", "-shared", "-fPIC", str(SOURCE), "-o", str(path), "-Wl,--no-as-needed", genuine]
    command += [f"-Wl,-rpath,{Path(genuine).parent}", "-ldl"]
    subprocess.run(command, check=True)
    return path
