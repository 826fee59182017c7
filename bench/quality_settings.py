"""What ``edgeosr evaluate`` can be asked for, checked when made."""

from dataclasses import dataclass
from pathlib import Path

from edgeosr.arguments import keep_paths, require_truth
from edgeosr.errors import require_choice, require_text, require_threads

AUTO, ONNXRUNTIME, OPENVINO = BACKENDS = ("auto", "onnxruntime", "openvino")


@dataclass(frozen=True, kw_only=True)
class QualitySettings:
    """What to evaluate a bundle on.

    Attributes:
        unknown: path or name of images of no known class; None: the classes left out in training.
        known: path or name of labelled images of known classes; None: the recorded test part.
        data_root: where named sets are looked for. Paths may be given as texts.
        out: folder for report and plots; None: ``NAME-evaluation`` beside the bundle.
        backend: ``auto`` measures the body of the bundle where ``edgeosr.Runtime`` runs it here, on openvino,
            else ``model.onnx`` on onnxruntime; the others measure what they run, and raise if they cannot.
        threads: processor threads of it; None: by the size of the work.
        trust_source: open the images that the bundle names, though somebody else may have made it.
    """

    unknown: str | None = None
    known: str | None = None
    data_root: Path | None = None
    out: Path | None = None
    backend: str = AUTO
    threads: int | None = None
    trust_source: bool = False

    def __post_init__(self) -> None:
        require_text("unknown", self.unknown)
        require_text("known", self.known)
        keep_paths(self, "data_root", "out")
        require_truth("trust_source", self.trust_source)
        require_choice("backend", self.backend, BACKENDS)
        require_threads("threads", self.threads)
