"""``model.onnx`` as it was calibrated: what a graph in another precision is fitted and held against."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeosr.bundle.backbone import GateRecord
from edgeosr.export.calibrate import SelectFit, fit_on_select, score_select, threshold_on_calibrate
from edgeosr.export.measure import GraphRunner, Runner
from edgeosr.export.precision.gate import decision_gate
from edgeosr.export.precision.parts import CalibrationParts
from edgeosr.export.precision.refused import require_passed
from edgeosr.export.scored_graph import ScoredGraph
from edgeosr.export.settings import ExportSettings
from edgeosr.scoring.fusion import Fusion
from edgeosr.scoring.thresholds import Threshold


@dataclass(frozen=True, kw_only=True)
class Portable:
    """See the module.

    Attributes:
        graph: float32.
        fit: of the fusion of ``model.onnx``.
        threshold: of ``model.onnx``.
        model: ``model.onnx`` for frames of any size.
        parts: the images.
        settings: of the export.
        picture: where the worst images are drawn if the gate fails.
    """

    graph: ScoredGraph
    fit: SelectFit
    threshold: Threshold
    model: bytes
    parts: CalibrationParts
    settings: ExportSettings
    picture: Path

    def fitted(self, runner: Callable[[Fusion | None], Runner]) -> tuple[Fusion, Threshold]:
        """Return the fusion and the threshold of another graph: its own with ``recalibrate``, else these.

        Args:
            runner: makes one of that graph; None: its score does not matter.

        Raises:
            DataError: images cannot be read.
        """
        if not self.settings.recalibrate:
            return self.fit.fusion, self.threshold
        anew = fit_on_select(
            score_select(runner(None), self.parts.select, self.parts.open_select),
            default_part=self.graph.classifier.default_part,
            parts=self.graph.parts,
            given=self.fit.given,
        )
        limit, _ = threshold_on_calibrate(
            runner(anew.fusion), self.parts.calibrate, self.settings.false_reject_rate
        )
        return anew.fusion, limit

    def own(self, fusion: Fusion, limit: Threshold) -> tuple[Fusion | None, Threshold | None]:
        """Return what a record holds of what was fitted: None for the bundle's."""
        return (fusion, limit) if self.settings.recalibrate else (None, None)

    def gate(self, run: Runner, limit: Threshold, precision: str, *, instead: tuple[str, ...]) -> GateRecord:
        """Return how another graph decides beside this one.

        Args:
            run: of that graph.
            limit: its threshold.
            precision: what it is called.
            instead: options that are advised if it is refused.

        Raises:
            ExportError: it decides otherwise too often; the picture is then written.
            DataError, StorageError: images cannot be read, or the picture cannot be written.
        """
        gate = decision_gate(
            GraphRunner(self.model, threads=self.settings.threads),
            run,
            thresholds=(self.threshold.value, limit.value),
            known=(self.parts.select, self.parts.calibrate),
            unknown=self.parts.open_select,
            minimum=self.settings.min_agreement,
            recalibrated=self.settings.recalibrate,
        )
        classes = self.graph.classifier.classes
        require_passed(gate, classes, precision, self.settings, self.picture, instead=instead)
        return gate.record
