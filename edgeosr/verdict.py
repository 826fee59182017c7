"""What the scoring graph, the kernel and the runtime say about one frame, and the order they say it in.

Sign convention of the whole product: **a larger score means more unknown**.
"""

import unicodedata
from dataclasses import dataclass, field

UNKNOWN = "unknown"


def reads_as_unknown(name: str) -> bool:
    """Tell whether a class of this name would be read as a rejection; case and unseen letters aside."""
    seen = (letter for letter in unicodedata.normalize("NFKC", name) if unicodedata.category(letter) != "Cf")
    return "".join(seen).strip().casefold() == UNKNOWN


# Score parts a bundle may list; room for as many values in the kernel's verdict.
MOST_PARTS = 16

# |z| and J are not taken below this before a division or a logarithm: log(1e-12) = -27.6.
FLOOR = 1e-12


@dataclass(frozen=True, slots=True)
class Verdict:
    """One frame's verdict.

    Attributes:
        accepted: True if ``score <= threshold`` and every value is finite.
        label: the predicted class name, or ``"unknown"`` if not accepted.
        nearest: the predicted class name whether accepted or not.
        index: index of ``nearest`` in the bundle's class list, 0-based.
        score: fused unknown score, in standard deviations of known images; larger = more unknown. NaN
            if anything in the network was not finite.
        threshold: the threshold the score was compared with: that of ``nearest`` where there is one a class.
        parts: the bundle's score parts by name (``edgeosr.scoring.parts``), in its
            order; larger = more unknown.
        latency_ms: wall time of the call that produced this verdict, in milliseconds (a batch shares it).
        finite: False if a value was NaN or infinite; such a frame is never accepted. So is a frame that the
            model itself names as one of ``edgeosr export --unknown-outputs``: its score is infinite.
    """

    accepted: bool
    label: str
    nearest: str
    index: int
    score: float
    threshold: float
    parts: dict[str, float] = field(repr=False)
    latency_ms: float
    finite: bool
