"""A finished training run, for people and for machines."""

import json
from dataclasses import dataclass
from pathlib import Path

from edgeosr.run import RunRecord, read_run


@dataclass(frozen=True)
class RunReport:
    """The run at ``path``."""

    path: Path

    def as_json(self) -> str:
        """Return the run's record and its path as one JSON document."""
        return json.dumps({"path": str(self.path), **self._record.as_json()}, indent=2)

    def as_text(self) -> str:
        """Return what was trained, on what, and how well it names known images."""
        record = self._record
        data, result = record.data, record.result
        known, unknown = data["known"], data["unknown"]
        lines = [
            f"{data.get('title', data['source'])}: {len(known)} known classes ({listed(known)})"
            + (f", {len(unknown)} never trained on ({listed(unknown)})" if unknown else ""),
            f"{record.model['arch']} at {record.model['input_size']} px, {result['epochs']} epochs in "
            f"{result['seconds']:.0f} s ({result['images_per_second']:.0f} images/s, {result['precision']}, "
            f"{result['device']})",
            f"closed-set accuracy on the select part: {100 * result['select_accuracy']:.1f} % "
            f"(best epoch {result['best_epoch']})",
        ]
        if record.discriminator is None:
            lines.append("no discriminator")
        return "\n".join(lines)

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
