"""What an engine is asked for: checked once, and the name that its plan gets."""

import re
from dataclasses import asdict, dataclass
from typing import Any

from edgeosr.bundle.engines import BUILDERS, LARGEST_BATCH
from edgeosr.errors import UsageError, suggestion
from edgeosr.printed import brief

# What TensorRT-RTX builds for ahead of time. No Jetson is among them.
RTX_TARGETS = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_120", "sm_121")
LARGEST_WORKSPACE = 1 << 20  # MiB


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """One build.

    Attributes:
        builder: ``tensorrt`` (for the GPU here) or ``tensorrt_rtx`` (for ``targets``).
        targets: architectures, for ``tensorrt_rtx`` only.
        batch: (least, optimal, largest) batch, 1 to 1024.
        frame: (height, width) of the frames, pixels.
        workspace: most scratch memory of the engine, MiB; None: the builder's own limit.
        device: ordinal of the GPU, for ``tensorrt``.
    """

    builder: str
    targets: tuple[str, ...]
    batch: tuple[int, int, int]
    frame: tuple[int, int]
    workspace: int | None = None
    device: int = 0

    def __post_init__(self) -> None:
        assert self.builder in BUILDERS
        if (self.builder == "tensorrt_rtx") != bool(self.targets):
            raise UsageError(
                "--target names the architectures of a tensorrt_rtx engine; tensorrt builds for the GPU here"
            )
        for target in self.targets:
            if target not in RTX_TARGETS:
                jetson = target in ("sm_72", "sm_87", "sm_110")
                raise UsageError(
                    f"--target must be of {', '.join(RTX_TARGETS)}; got {brief(target)}"
                    + (
                        ", a Jetson: its engine is built on the device by TensorRT; run there: "
                        "edgeosr build BUNDLE"
                        if jetson
                        else suggestion(target, RTX_TARGETS)
                    )
                )
        if len(set(self.targets)) < len(self.targets):
            raise UsageError(f"--target names an architecture twice: {', '.join(self.targets)}")
        least, best, most = self.batch
        if not 1 <= least <= best <= most <= LARGEST_BATCH:
            raise UsageError(
                f"--batch must be LEAST,OPTIMAL,LARGEST from 1 to {LARGEST_BATCH}, in this order; got "
                f"{least},{best},{most}; 1,1,8 suits a camera that now and then sends eight frames"
            )
        if not all(1 <= side <= 16384 for side in self.frame):
            raise UsageError(f"--frame must be HEIGHTxWIDTH, each from 1 to 16384; got {brief(self.frame)}")
        if self.workspace is not None and not 1 <= self.workspace <= LARGEST_WORKSPACE:
            raise UsageError(
                f"--workspace must be from 1 to {LARGEST_WORKSPACE} MiB; got {self.workspace}; 1024 is plenty"
            )

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> "BuildRequest":
        """Return the request of ``as_json``."""
        return cls(
            **{
                **plain,
                "targets": tuple(plain["targets"]),
                "batch": tuple(plain["batch"]),
                "frame": tuple(plain["frame"]),
            }
        )


def plan_name(request: BuildRequest, *, version: str, device: str, precision: str) -> str:
    """Return a plan's file name: GPU or targets, builder and version, precision, profile."""
    where = device if request.builder == "tensorrt" else "-".join(request.targets)
    batch, frame = "-".join(map(str, request.batch)), "x".join(map(str, request.frame))
    text = f"{where}_{request.builder}-{version}_{precision}_b{batch}_{frame}"
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-.")[:140] + ".plan"


def numbers_of(batch: tuple[int, ...]) -> tuple[int, int, int]:
    """Return (least, optimal, largest) of one, two or three numbers given."""
    if len(batch) == 1:
        return (batch[0],) * 3
    if len(batch) == 2:
        return (batch[0], batch[0], batch[1])
    if len(batch) == 3:
        return (batch[0], batch[1], batch[2])
    raise UsageError(f"--batch takes one to three numbers; got {len(batch)}; write 1,1,8")
