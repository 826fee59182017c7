"""Runs what is missing of the wanted lists, and makes one document of what is there."""

import importlib.metadata
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from edgeosr.bench.device import describe_device, versions
from edgeosr.bench.open_set.cells import Cell, cell_from_score, own_scores
from edgeosr.bench.open_set.frozen import observe_frozen
from edgeosr.bench.open_set.kept_features import KeptFeatures, kept_features
from edgeosr.bench.open_set.observed import Observed, Scored
from edgeosr.bench.open_set.protocols import Protocol
from edgeosr.bench.open_set.rivals import LeftOut, rival_scores
from edgeosr.bench.open_set.store import FinishedList, file_of, read_list, write_list
from edgeosr.bench.open_set.summary import means_of, outliers_worth, rows_of
from edgeosr.bench.open_set.trained import observe_bundle, trained_bundle

MORE_PACKAGES = ("scikit-learn", "scipy")
CONDITIONS = (
    "Unknown is the positive class. Thresholds: split conformal for 5 % false rejects on the calibrate part. "
    "bound, best part and best of pytorch-ood are chosen on the test images."
)


@dataclass(frozen=True, kw_only=True)
class SuiteSettings:
    """How lists are run.

    Attributes:
        work: what is kept lies here.
        rivals: the imported pytorch-ood; None to leave it out.
        again: do finished lists again.
        threads: of onnxruntime and torch; None for what suits the work.
    """

    work: Path
    rivals: ModuleType | None
    again: bool = False
    threads: int | None = None

    @property
    def rivals_version(self) -> str:
        """Version of pytorch-ood; empty without."""
        return "" if self.rivals is None else str(self.rivals.__version__)


class ProtocolRun:
    """A protocol with what its lists share."""

    def __init__(self, protocol: Protocol, settings: SuiteSettings) -> None:
        self._protocol, self._settings = protocol, settings

    @property
    def folder(self) -> Path:
        """What is kept of the protocol lies here."""
        return self._settings.work / self._protocol.name

    def finished(self, number: int, known: tuple[str, ...]) -> FinishedList:
        """Return a list, from disk if it is there, and else run and written.

        Raises:
            EdgeosrError: it cannot be run; other lists stay.
        """
        settings, protocol = self._settings, self._protocol
        command, path = protocol.command(number, known), file_of(settings.work, protocol.name, number)
        found = None if settings.again else read_list(path, command=command, rivals=settings.rivals_version)
        if found is not None:
            return found
        print(f"{protocol.name}, list {number}: {', '.join(known)}", file=sys.stderr, flush=True)
        started = time.monotonic()
        network = self._observed(known)
        cells, left_out = self._figures(network, number, command)
        done = FinishedList(
            cells=tuple(cells),
            left_out=tuple(left_out),
            command=command,
            rivals=settings.rivals_version,
            seconds=round(time.monotonic() - started, 1),
        )
        write_list(path, done)
        return done

    def _observed(self, known: tuple[str, ...]) -> Observed:
        recipe, threads = self._protocol.settings(known), self._settings.threads
        if recipe.freeze and recipe.outliers is None:
            return observe_frozen(recipe, self._kept, linear_head=True, threads=threads)
        return observe_bundle(
            trained_bundle(recipe, self.folder, threads), data_root=recipe.data_root, threads=threads
        )

    @cached_property
    def _kept(self) -> KeptFeatures:
        return kept_features(
            self._protocol.recipe, self.folder, again=self._settings.again, threads=self._settings.threads
        )

    def _figures(self, network: Observed, number: int, command: str) -> tuple[list[Cell], list[LeftOut]]:
        scores: list[Scored | LeftOut] = [*own_scores(network)]
        if self._settings.rivals is not None:
            scores += rival_scores(self._settings.rivals, network)
        cells: list[Cell] = []
        left_out: list[LeftOut] = []
        installed = all_versions(self._settings.rivals_version)
        for score in scores:
            made = score if isinstance(score, LeftOut) else cell_from_score(
                score, network, protocol=self._protocol.name, number=number,
                seed=self._protocol.recipe.seed, command=command, versions=installed,
            )  # fmt: skip
            if isinstance(made, Cell):
                cells.append(made)
            else:
                left_out.append(made)
        return cells, left_out


def run_lists(
    protocols: Sequence[Protocol], wanted: tuple[int, ...] | None, settings: SuiteSettings
) -> dict[str, dict[int, FinishedList]]:
    """Run what is missing, and return all wanted lists by protocol and number.

    Raises:
        UsageError: a protocol has no list of a wanted number; nothing is run.
        EdgeosrError: a list cannot be run; those before it are kept.
    """
    chosen = {protocol.name: protocol.chosen(wanted) for protocol in protocols}
    found = {}
    for protocol in protocols:
        run = ProtocolRun(protocol, settings)
        found[protocol.name] = {
            number: run.finished(number, known) for number, known in chosen[protocol.name].items()
        }
    return found


def document_of(protocols: Iterable[Protocol], lists: dict[str, dict[int, FinishedList]]) -> dict[str, Any]:
    """Return what ``bench/results/open-set.json`` holds."""
    done = [one for by_number in lists.values() for one in by_number.values()]
    cells = [cell for one in done for cell in one.cells]
    means = means_of(cells)
    return {
        "kind": "open-set",
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "conditions": CONDITIONS,
        "device": describe_device().as_json(),
        "versions": all_versions(next((one.rivals for one in done if one.rivals), "")),
        "reduced": {protocol.name: protocol.reduced for protocol in protocols if protocol.reduced},
        "rows": [row.as_json() for row in rows_of(means, cells)],
        "outliers": outliers_worth(cells),
        "means": {name: [vars(mean) for mean in group] for name, group in means.items()},
        "seconds": {
            name: {str(number): one.seconds for number, one in by_number.items()}
            for name, by_number in lists.items()
        },
        "left_out": [
            {"protocol": name, "list": number, "score": one.name, "why": one.why}
            for name, by_number in lists.items()
            for number, finished in by_number.items()
            for one in finished.left_out
        ],
        "cells": [cell.as_json() for cell in cells],
    }


def all_versions(rivals: str) -> dict[str, str]:
    """Return installed versions of what the figures depend on."""
    found = versions()
    for name in MORE_PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {**found, "pytorch-ood": rivals} if rivals else found
