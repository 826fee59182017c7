"""What to measure, checked when made."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgeosr.arguments import keep_paths
from edgeosr.errors import UsageError, require_seed, require_threads, require_whole
from edgeosr.printed import brief


@dataclass(frozen=True, kw_only=True)
class LatencySettings:
    """Settings of ``measure_latency``.

    Attributes:
        batches: batch sizes, each 1 to 1024, distinct.
        runs: most timed calls of each row (a paced row too), 1 to 1,000,000.
        warmup: calls of each row before timing, 0 to 10,000.
        duration_s: most seconds for the rows of one batch size, and for one paced row; > 0. At least ten
            calls of each interleaved row are made all the same.
        threads: onnxruntime's intra-op threads (torch's too), 1 to 1024; None = their default.
        rate_hz: frames a second of the paced row; 0 leaves it out.
        frame: (height, width) of the frames; None = the bundle's fixed frame, else the network's size.
        seed: of the noise that the frames are made with.
        run: the run directory the bundle was exported from, for the torch baseline.
        baseline_torch: time torch eager with the exact Jacobian when ``run`` is given.
        torch_s: most seconds for each of torch's two Jacobians; > 0.
        processes: fresh processes for cold start and for memory; 0 leaves both out.
    """

    batches: tuple[int, ...] = (1,)
    runs: int = 200
    warmup: int = 10
    duration_s: float = 10.0
    threads: int | None = None
    rate_hz: float = 30.0
    frame: tuple[int, int] | None = None
    seed: int = 0
    run: Path | None = None
    baseline_torch: bool = True
    torch_s: float = 5.0
    processes: int = 3

    def __post_init__(self) -> None:
        keep_paths(self, "run")
        if not self.batches or len(set(self.batches)) != len(self.batches):
            raise UsageError(f"batches must be distinct numbers, at least one; got {brief(self.batches)}")
        for batch in self.batches:
            require_whole("batch", batch, 1, 1024)
        require_whole("runs", self.runs, 1, 1_000_000)
        require_whole("warmup", self.warmup, 0, 10_000)
        require_whole("processes", self.processes, 0, 100)
        require_threads("threads", self.threads)
        if self.frame is not None:
            require_whole("frame height", self.frame[0], 1, 16384)
            require_whole("frame width", self.frame[1], 1, 16384)
        require_seed("seed", self.seed)
        for name in ("duration_s", "torch_s"):
            if not 0 < getattr(self, name) <= 86_400:
                raise UsageError(
                    f"{name} must be above 0 and at most 86400 seconds; got {brief(getattr(self, name))}"
                )
        if not 0 <= self.rate_hz <= 10_000:
            raise UsageError(f"rate_hz must be 0 (no paced row) to 10000; got {brief(self.rate_hz)}")

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        values = {
            key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()
        }
        return {**values, "run": None if self.run is None else self.run.name}
