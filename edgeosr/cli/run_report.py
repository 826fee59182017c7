"""A finished training run, for people and for machines."""

from dataclasses import dataclass, replace
from pathlib import Path

from edgeosr.data.recorded import data_record
from edgeosr.printed import counted, json_text
from edgeosr.run import RunRecord, fold_runs, read_run
from edgeosr.training.fold_accuracy import surely_collapsed
from edgeosr.training.fold_plan import read_plan, start_again

FAR_BELOW = ": far below what the run reaches on these classes, so the export leaves it out"
_FOLD_RESULT = ("select_accuracy", "epochs", "seconds")


@dataclass(frozen=True)
class RunReport:
    """The run at ``path``."""

    path: Path

    def as_json(self) -> str:
        """Return the run's record, its path and its finished folds as one JSON document."""
        record = self._record
        folds = [
            {"path": str(path), "left_out": left_out, **{key: fold.result[key] for key in _FOLD_RESULT}}
            for path, left_out, fold in self._folds(record)
        ]
        return json_text({"path": self.path, **record.as_json(), "folds": folds}, indent=2)

    def as_text(self) -> str:
        """Return what was trained, on what, and how well it names known images."""
        record = self._record
        data, result = record.data, record.result
        known, unknown = data["known"], data["unknown"]
        lines = [
            f"{data.get('title', data['source'])}: {len(known)} known classes ({listed(known)})"
            + (f", {len(unknown)} never trained on ({listed(unknown)})" if unknown else ""),
            f"{record.model['arch']} at {record.model['input_size']} px, "
            f"{counted(result['epochs'], 'epoch')} in {result['seconds']:.0f} s "
            f"({result['images_per_second']:.0f} images/s, {result['precision']}, "
            f"{result['device']})",
            f"closed-set accuracy on the select part: {100 * result['select_accuracy']:.1f} % "
            f"(best epoch {result['best_epoch']})",
        ]
        groups = data_record(data, str(self.path)).groups
        if groups is not None:
            lines.insert(1, groups.described())
        if record.discriminator is None:
            lines.append("no discriminator")
        lines += [
            f"fold {path.name}, trained without {listed(left_out)}: select accuracy "
            f"{100 * fold.result['select_accuracy']:.1f} %, {counted(fold.result['epochs'], 'epoch')}"
            + (FAR_BELOW if surely_collapsed(fold, record) else "")
            for path, left_out, fold in self._folds(record)
        ]
        if any(surely_collapsed(fold, record) for _, _, fold in self._folds(record)):
            lines += self._longer_folds(record)
        return "\n".join(lines)

    @property
    def export_options(self) -> tuple[str, ...]:
        """What ``edgeosr export`` must be told because its default promises more than so few images can."""
        from edgeosr.export.conformal import groups_needed, smallest_rate
        from edgeosr.export.settings import ExportSettings

        _, groups = self._record.data["sizes"]["calibrate"]
        if groups >= groups_needed(ExportSettings().false_reject_rate):
            return ()
        return "--false-reject-rate", f"{smallest_rate(groups):g}"

    def _longer_folds(self, record: RunRecord) -> list[str]:
        """Return how to train the folds anew for more epochs; nothing where none can be asked for."""
        plan = read_plan(self.path, tuple(record.data["known"]))
        if plan is None or not plan.folds:
            return []
        epochs = max(2 * max(fold.epochs for fold in plan.folds), record.result["epochs"])
        longer = replace(plan, folds=tuple(replace(fold, epochs=epochs) for fold in plan.folds))
        return [f"for longer folds {start_again(self.path, longer)}"]

    def _folds(self, record: RunRecord) -> list[tuple[Path, list[str], RunRecord]]:
        """Return of each finished fold: its path, the known classes that it leaves out, its record."""
        folds = [(path, read_run(path)) for path in fold_runs(self.path)]
        return [
            (path, [name for name in record.data["known"] if name not in fold.data["known"]], fold)
            for path, fold in folds
        ]

    @property
    def _record(self) -> RunRecord:
        return read_run(self.path)


def listed(names: list[str] | tuple[str, ...], most: int = 10) -> str:
    """Return names separated by commas, the first ``most`` of them."""
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def is_first_process() -> bool:
    """Return True in the process that speaks: training may run this very command once a device."""
    from torch import distributed

    running = distributed.is_available() and distributed.is_initialized()
    return not running or distributed.get_rank() == 0
