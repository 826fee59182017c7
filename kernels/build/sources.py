"""The device source as the compilers get it: one main file and the headers it includes by name."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

MAIN = "fused_score.cu"
FOLDER = Path(__file__).parent.parent / "src"


@dataclass(frozen=True)
class DeviceSource:
    """Text of ``fused_score.cu`` and of the ``.cuh`` files beside it, by name."""

    main: str
    headers: dict[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 over names and texts: what a build was made from."""
        total = hashlib.sha256(self.main.encode())
        for name in sorted(self.headers):
            total.update(b"\0" + name.encode() + b"\0" + self.headers[name].encode())
        return total.hexdigest()


def device_source(folder: Path = FOLDER) -> DeviceSource:
    """Read the source from ``folder`` (the package's own: it is shipped in the wheel)."""
    headers = {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.cuh"))}
    return DeviceSource((folder / MAIN).read_text(encoding="utf-8"), headers)
