"""The builds made ahead of time: which there are, of which source, and how each is made."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeosr.errors import KernelBuildError
from edgeosr.kernels.build.nvrtc import newest_nvrtc
from edgeosr.kernels.build.sources import device_source
from edgeosr.kernels.build.toolchain import find_nvcc

CUBINS = Path(__file__).parent.parent / "cubins"
SOURCE_FILE = "source.sha256"  # DeviceSource.digest of the builds beside it


@dataclass(frozen=True)
class Build:
    """A file built ahead.

    Attributes:
        architecture: (8, 7) for sm_87.
        toolkit: CUDA version of its compiler.
        ptx: PTX for that architecture and every later one, else a cubin.
    """

    architecture: tuple[int, int]
    toolkit: tuple[int, int]
    ptx: bool = False

    @property
    def target(self) -> str:
        """The compiler's name of the architecture."""
        return f"{'compute' if self.ptx else 'sm'}_{self.architecture[0]}{self.architecture[1]}"

    @property
    def file_name(self) -> str:
        """Name below ``CUBINS``."""
        toolkit = f"{self.toolkit[0]}.{self.toolkit[1]}"
        return f"fused_score-{self.target}-cuda{toolkit}.{'ptx' if self.ptx else 'cubin'}"


# nvcc 13 writes cubins of a newer ELF version than JetPack 6 may read: Orin's is built by NVRTC 12.6 as well,
# and Xavier's by NVRTC 11.8, for CUDA 13 has dropped it. Newest toolkit first.
BUILDS = (
    *(Build(arch, (13, 0)) for arch in ((7, 5), (8, 7), (8, 9), (9, 0), (11, 0), (12, 0))),
    Build((8, 7), (12, 6)),
    Build((7, 2), (11, 8)),
    Build((7, 5), (11, 8), ptx=True),
)


def build_ahead(
    folder: Path, builds: Sequence[Build] = BUILDS, *, defines: Sequence[str] = ()
) -> Iterator[Path]:
    """Make ``builds`` in ``folder``, one a step; yield the file of each. Those of an older source go first.

    ``defines``: macros of all of them, NAME=VALUE.

    Raises:
        KernelBuildError: a compiler is missing, of another version, or fails.
        OSError: the folder cannot be written.
    """
    prepare_folder(folder)
    for build in builds:
        yield build_file(build, folder, defines=defines)


def build_file(build: Build, folder: Path, *, defines: Sequence[str] = ()) -> Path:
    """Compile one file into ``folder``; an older one is replaced only by a whole new one.

    Raises:
        KernelBuildError: its compiler is missing, of another version, or fails.
    """
    target = folder / build.file_name
    partial = target.with_suffix(".part")
    if build.toolkit >= (13, 0):
        find_nvcc().cubin(build.target, partial, defines=defines)
    else:
        nvrtc = newest_nvrtc(build.toolkit)
        if nvrtc.version != build.toolkit:
            raise KernelBuildError(
                f"{build.file_name} needs NVRTC {build.toolkit[0]}.{build.toolkit[1]}; found "
                f"{nvrtc.version[0]}.{nvrtc.version[1]}; run: pip install 'edgeosr[dev]'"
            )
        compiled = nvrtc.compile(device_source(), build.target, defines=defines)
        partial.write_bytes(compiled.image)
    partial.replace(target)
    return target


def prepare_folder(folder: Path) -> None:
    """Make ``folder``, take builds of another source away, and note the digest of the present one."""
    folder.mkdir(parents=True, exist_ok=True)
    digest = device_source().digest
    if built_from(folder) == digest:
        return
    (folder / SOURCE_FILE).unlink(missing_ok=True)  # until the old builds are gone, none of them counts
    for path in folder.glob("fused_score-*"):
        path.unlink()
    (folder / SOURCE_FILE).write_text(digest + "\n", encoding="utf-8")


def built_from(folder: Path) -> str | None:
    """Return the digest of the source that ``folder``'s builds were made from, None if nothing says it.

    A build of another source may read another layout of its parameters: it must not be launched.
    """
    try:
        return (folder / SOURCE_FILE).read_text(encoding="utf-8").strip()
    except OSError:
        return None
