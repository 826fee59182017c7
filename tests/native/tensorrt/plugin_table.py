"""The plug-in's table of functions by ctypes, without libedgeosr: see ``tensorrt_abi.h``."""

import ctypes
from pathlib import Path
from typing import Any

from edgeosr.bundle.backbone import ENDINGS
from edgeosr.bundle.directory import read_bundle

ABI = 2
P, I32, SIZE = ctypes.c_void_p, ctypes.c_int32, ctypes.c_size_t


class Words(ctypes.Structure):
    _fields_ = (("text", ctypes.c_char * 2048),)


class Bundle(ctypes.Structure):
    _fields_ = (
        ("path", ctypes.c_char_p), ("library", ctypes.c_char_p), ("manifest", P), ("scorer", P),
        ("manifest_bytes", SIZE), ("scorer_bytes", SIZE), ("ending", I32), ("logits", I32), ("half", I32),
        ("parts", I32),
    )  # fmt: skip


class Run(ctypes.Structure):
    _fields_ = (("lane", P), ("at_once", SIZE), ("label", P), ("score", P), ("values", P))


_KINDS = {
    "open": (I32, P, P, P), "frame": (None, P, P, P), "library": (ctypes.c_char_p, P),
    "begin": (I32, P, SIZE, I32, I32, P, P), "room": (I32, P, P, SIZE, P, P), "judge": (I32, P, P, I32, P),
    "end": (None, P, P), "close": (None, P),
}  # fmt: skip


class Table(ctypes.Structure):
    _fields_ = (
        ("abi", ctypes.c_uint32), ("table_bytes", ctypes.c_uint32), ("version", ctypes.c_char_p),
        ("made_for", ctypes.c_char_p),
        *((name, ctypes.CFUNCTYPE(*kinds)) for name, kinds in _KINDS.items()),
    )  # fmt: skip


class Engine:
    """An engine of a bundle, opened by the plug-in; ``status`` and ``words``: of the last call.

    Args:
        plugin: loaded.
        path: of the bundle.
        library: of TensorRT.
        scorer: in place of the bundle's scorer.npz.
        changes: of what the table is told beside the bundle's own.
    """

    def __init__(
        self, plugin: ctypes.CDLL, path: Path, library: bytes, scorer: bytes | None = None, **changes: Any
    ):
        function = plugin.edgeosr_tensorrt_open_plugin
        function.restype = ctypes.POINTER(Table)
        self.table: Table = function(ABI).contents
        assert self.table.table_bytes == ctypes.sizeof(Table)
        bundle = read_bundle(path)
        manifest = (path / "manifest.json").read_bytes()
        scorer = bundle.files["scorer.npz"] if scorer is None else scorer
        backbone = bundle.manifest.backbone
        assert backbone is not None
        told = {
            "ending": list(ENDINGS).index(backbone.ending), "logits": int(backbone.logits),
            "half": int(backbone.dtype == "float16"), "parts": len(bundle.manifest.parts), **changes,
        }  # fmt: skip
        given = Bundle(
            str(path).encode(), library, ctypes.cast(manifest, P), ctypes.cast(scorer, P), len(manifest),
            len(scorer), **told,
        )  # fmt: skip
        self.pointer, self.words = P(), ""
        self.status = self._called("open", ctypes.byref(given), ctypes.byref(self.pointer))

    def _called(self, name: str, *arguments: Any) -> int:
        words = Words()
        status: int = getattr(self.table, name)(*arguments, ctypes.byref(words))
        self.words = words.text.decode() if status != 0 else ""
        return status

    def begin(self, count: int, size: tuple[int, int]) -> Run | None:
        """Take a share, waiting for one; None where it is refused."""
        run = Run()
        self.status = self._called("begin", self.pointer, count, *size, ctypes.byref(run))
        return run if self.status == 0 else None

    def judge(self, run: Run, frames: Any) -> int:
        """Judge a piece, uint8 ``[count, height, width, 3]``; returns the status."""
        room = P()
        status = self._called("room", self.pointer, ctypes.byref(run), len(frames), ctypes.byref(room))
        if status == 0:
            ctypes.memmove(room.value, frames.ctypes.data, frames.nbytes)
            status = self._called("judge", self.pointer, ctypes.byref(run), 0)
        return status

    def end(self, run: Run) -> None:
        """Give a share back."""
        self.table.end(self.pointer, ctypes.byref(run))

    def close(self) -> None:
        """Close it, if it was opened."""
        if self.pointer:
            self.table.close(self.pointer)
            self.pointer = P()

    def abandon(self) -> None:
        """Leave it open for good."""
        self.pointer = P()
