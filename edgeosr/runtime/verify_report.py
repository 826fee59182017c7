"""What ``edgeosr verify`` found, for people, for machines and for an exit code."""

from dataclasses import asdict, dataclass

from edgeosr.printed import json_text


@dataclass(frozen=True, kw_only=True)
class BackendCheck:
    """One backend on the golden frames.

    Attributes:
        backend: its name.
        available: it runs here.
        detail: what ran; or why it is not available, or how it failed.
        frames: verdicts compared: each golden frame alone, and again in batches.
        agreed: of these, the expected ones.
        ties: of these, too near to the threshold, or the second class to the first, to tell, whatever came.
        band: what counts as near, in standard deviations: what rounding can do here.
        score_distance: (median, largest) distance of the scores from the expected ones, of those that are
            finite on both sides.
        one_sided: verdicts that are not finite where finite ones are expected, or the other way round.
        differences: what the others said, one line each; and what is wrong with all of them together.
        failed: it should run here, but broke.
    """

    backend: str
    available: bool
    detail: str
    frames: int = 0
    agreed: int = 0
    ties: int = 0
    band: float = 0.0
    score_distance: tuple[float, float] = (0.0, 0.0)
    one_sided: int = 0
    differences: tuple[str, ...] = ()
    failed: bool = False

    @property
    def passed(self) -> bool:
        """It runs here, and every verdict that can be told is the expected one."""
        return self.available and not self.failed and self.agreed > 0 and not self.differences

    def described(self) -> str:
        """Return one line."""
        if self.failed:
            return f"{self.backend:14}FAILED  {self.detail}"
        if not self.available:
            return f"{self.backend:14}not available: {self.detail}"
        result = "ok" if self.passed else "DIFFERS"
        ties = f", {self.ties} too near to the threshold or to a second class to tell" if self.ties else ""
        counts = f"{self.agreed} of {self.frames} verdicts as expected{ties}"
        scores = f"scores within {self.score_distance[1]:.2g}, rounding explains {self.band:.2g}"
        infinite = f", {self.one_sided} finite on one side only" if self.one_sided else ""
        return f"{self.backend:14}{result}  {counts}; {scores}{infinite} ({self.detail})"


@dataclass(frozen=True, kw_only=True)
class VerifyReport:
    """All backends.

    Attributes:
        bundle: its path.
        checks: one a backend.
        required: names of those that must be available.
    """

    bundle: str
    checks: tuple[BackendCheck, ...]
    required: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Every backend that runs here gives the expected verdicts, and the required ones run."""
        needed = all(check.available for check in self.checks if check.backend in self.required)
        ran = [check for check in self.checks if check.available or check.failed]
        return needed and bool(ran) and all(check.passed for check in ran)

    def as_text(self) -> str:
        """Return it for a terminal."""
        lines = []
        for check in self.checks:
            lines += [check.described(), *(f"    {difference}" for difference in check.differences)]
        missing = [c.backend for c in self.checks if c.backend in self.required and not c.available]
        verdict = "every backend that runs here decides as expected"
        if missing:
            verdict = f"{', '.join(missing)} was asked for and is not available"
        elif not self.passed:
            verdict = "do not deploy this bundle here: see above"
        return "\n".join([*lines, f"{'passed' if self.passed else 'FAILED'}: {verdict}"])

    def as_json(self) -> str:
        """Return one JSON document."""
        checks = [{**asdict(check), "passed": check.passed} for check in self.checks]
        plain = {"kind": "verify", "bundle": self.bundle, "passed": self.passed, "backends": checks}
        return json_text(plain, indent=1)
