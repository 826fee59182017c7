"""NVRTC, NVIDIA's compiler as a library, through ctypes: any version from 11.8 on, with or without a GPU.

cuda-python's own binding serves one major version only; the builds for old drivers need the old compilers
(``ahead.py``), so the library is opened by path. It is looked for in the PyPI wheels first
(``nvidia-cuda-nvrtc*``), then where the system's linker looks.
"""

import ctypes
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeosr.errors import KernelBuildError
from edgeosr.kernels.build.sources import MAIN, DeviceSource
from edgeosr.kernels.build.toolchain import trimmed

_NAMES = ("libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2", "libnvrtc.so")
FLAGS = ("--std=c++17", "--ptxas-options=-v")


@dataclass(frozen=True)
class Compiled:
    """A cubin or PTX, and what the compiler said of it (ptxas: registers, spills)."""

    image: bytes
    log: str


@dataclass(frozen=True)
class Nvrtc:
    """One NVRTC library; ``version`` is (major, minor)."""

    library: ctypes.CDLL
    version: tuple[int, int]

    def compile(self, source: DeviceSource, architecture: str, *, defines: Sequence[str] = ()) -> Compiled:
        """Compile for ``architecture``: ``sm_87`` gives a cubin, ``compute_75`` PTX text.

        ``defines``: macros, NAME=VALUE.

        Raises:
            KernelBuildError: NVRTC refused; its log, trimmed, and the file.
        """
        program = ctypes.c_void_p()
        names = list(source.headers)
        texts = [source.headers[name].encode() for name in names]
        array = ctypes.c_char_p * len(names)
        self._require(
            self.library.nvrtcCreateProgram(
                ctypes.byref(program),
                source.main.encode(),
                MAIN.encode(),
                len(names),
                array(*texts),
                array(*(name.encode() for name in names)),
            ),
            "nvrtcCreateProgram",
        )
        try:
            macros = (f"--define-macro={define}" for define in defines)
            words = (f"--gpu-architecture={architecture}", *FLAGS, *macros)
            options = [option.encode() for option in words]
            code = self.library.nvrtcCompileProgram(
                program, len(options), (ctypes.c_char_p * len(options))(*options)
            )
            log = self._output(program, "ProgramLog").decode()
            if code:
                raise KernelBuildError(
                    f"NVRTC {self.version[0]}.{self.version[1]} could not compile {MAIN} for {architecture} "
                    f"({self._words(code)}):\n{trimmed(log)}"
                )
            kind = "CUBIN" if architecture.startswith("sm_") else "PTX"
            return Compiled(self._output(program, kind), log)
        finally:
            self.library.nvrtcDestroyProgram(ctypes.byref(program))

    def _output(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        self._require(getattr(self.library, f"nvrtcGet{what}Size")(program, ctypes.byref(size)), what)
        room = ctypes.create_string_buffer(size.value)
        self._require(getattr(self.library, f"nvrtcGet{what}")(program, room), what)
        return room.raw if what == "CUBIN" else room.raw.rstrip(b"\0")

    def _require(self, code: int, call: str) -> None:
        if code:
            raise KernelBuildError(f"{call} failed for {MAIN}: {self._words(code)}")

    def _words(self, code: int) -> str:
        self.library.nvrtcGetErrorString.restype = ctypes.c_char_p
        return bytes(self.library.nvrtcGetErrorString(code)).decode()


def nvrtc_from_file(path: str | Path) -> Nvrtc:
    """Open one library.

    Raises:
        KernelBuildError: it cannot be opened, or says no version.
    """
    try:
        library = ctypes.CDLL(str(path))
        major, minor = ctypes.c_int(), ctypes.c_int()
        code = library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    except (OSError, AttributeError) as error:
        raise KernelBuildError(f"{path} is not an NVRTC library that can be used: {error}") from error
    if code:
        raise KernelBuildError(f"{path}: nvrtcVersion failed with code {code}")
    return Nvrtc(library, (major.value, minor.value))


def newest_nvrtc(most: tuple[int, int] | None = None, search: Sequence[Path] | None = None) -> Nvrtc:
    """Return the newest NVRTC at hand, at most version ``most`` (what a driver can take).

    Args:
        most: (major, minor), None for any.
        search: files to try; None: the wheels' and the system's.

    Raises:
        KernelBuildError: there is none; the message holds the install line.
    """
    found = []
    for path in library_files() if search is None else search:
        try:
            candidate = nvrtc_from_file(path)
        except KernelBuildError:
            continue
        if most is None or candidate.version <= most:
            found.append(candidate)
    if not found:
        limit = "" if most is None else f" of version {most[0]}.{most[1]} or older, which the driver takes,"
        major = 13 if most is None or most[0] >= 13 else most[0]
        wheel = "nvidia-cuda-nvrtc" if major >= 13 else f"nvidia-cuda-nvrtc-cu{major}"
        raise KernelBuildError(
            f"compiling the fused kernel needs the NVRTC library{limit} and none was found; "
            f"run: pip install '{wheel}{f'=={most[0]}.{most[1]}.*' if most else ''}'"
        )
    return max(found, key=lambda nvrtc: nvrtc.version)


def library_files(roots: Sequence[str] | None = None) -> Iterator[Path]:
    """Yield NVRTC libraries: files of the wheels under ``roots`` (None: the import path), then bare names."""
    for root in sys.path if roots is None else roots:
        nvidia = Path(root) / "nvidia"
        if nvidia.is_dir():
            for pattern in ("cu*/lib/libnvrtc.so.*", "cuda_nvrtc/lib/libnvrtc.so.*"):
                yield from sorted(nvidia.glob(pattern))
    if roots is None:
        yield from map(Path, _NAMES)
