"""Execution providers: whatever is named beside the CPU proves itself on the golden frames first."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeosr.errors import InferenceError
from edgeosr.runtime import golden_verdicts, onnxruntime_graph
from edgeosr.runtime.runtime import Runtime
from edgeosr.runtime.sessions import CPU_ONLY, SessionSettings, open_session
from edgeosr.runtime.verify import verify_bundle

OTHER = "SpeedExecutionProvider"
Feed = dict[str, NDArray[Any]]


class OtherSession:
    """The CPU's session in the clothes of another provider; ``change`` is what this one does wrong."""

    def __init__(
        self, model: bytes, change: Callable[[Feed, list[Any]], None] | None, built_in: bool
    ) -> None:
        self._session = open_session(model, SessionSettings(threads=1))
        self._change = change
        self._built_in = built_in

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def get_providers(self) -> list[str]:
        return [OTHER, *CPU_ONLY]

    def run(self, outputs: Sequence[str], feed: Feed, run_options: Any = None) -> list[Any]:
        given = {**feed, "channel_order": np.arange(3)} if self._built_in else feed
        said = self._session.run(outputs, given)
        if self._change is not None:
            self._change(feed, said)
        return list(said)


@pytest.fixture
def opened_on(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Callable[[Path], Runtime]]:
    def prepared(
        change: Callable[[Feed, list[Any]], None] | None = None, *, built_in: bool = False
    ) -> Callable[[Path], Runtime]:
        def session(model: bytes, settings: SessionSettings, *, name: str) -> OtherSession:
            assert settings.providers == (OTHER,)
            return OtherSession(model, change, built_in)

        monkeypatch.setattr(onnxruntime_graph, "open_session", session)
        return lambda path: Runtime(path, providers=[OTHER])

    return prepared


def test_a_provider_that_rounds_as_it_should_is_taken(
    opened_on: Callable[..., Any], bundle_path: Path
) -> None:
    def rounds(feed: Feed, said: list[Any]) -> None:
        said[1] += np.float32(1e-4)

    assert opened_on(rounds)(bundle_path).providers == (OTHER, *CPU_ONLY)


@pytest.mark.parametrize("order", ["required", "optional"])
def test_a_provider_that_builds_the_channel_order_in_is_refused_by_its_name(
    opened_on: Callable[..., Any],
    make_bundle: Callable[..., Path],
    graph_bytes: Callable[..., bytes],
    order: str,
) -> None:
    bundle = make_bundle(model=graph_bytes(order=order))
    with pytest.raises(
        InferenceError,
        match=rf"does not decide here.*\(bgr\).*with the provider {OTHER}: leave providers out",
    ):
        opened_on(built_in=True)(bundle)


@pytest.mark.parametrize("wrong", ["half precision", "batches", "not finite"])
def test_a_provider_that_decides_otherwise_is_refused(
    opened_on: Callable[..., Any], bundle_path: Path, wrong: str
) -> None:
    def change(feed: Feed, said: list[Any]) -> None:
        if wrong == "half precision":
            said[2] *= np.float32(1.01)
        elif wrong == "batches" and len(feed["frames"]) > 1:
            said[0][:] = said[0][::-1]
        elif wrong == "not finite":
            said[1][:] = np.nan

    with pytest.raises(InferenceError, match=OTHER):
        opened_on(change)(bundle_path)


def test_the_golden_frames_are_judged_once_and_never_on_the_cpu(
    opened_on: Callable[..., Any], bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[Runtime] = []
    monkeypatch.setattr(golden_verdicts, "require_golden_verdicts", lambda runtime, _: judged.append(runtime))
    Runtime(bundle_path, threads=1)
    Runtime(bundle_path, threads=1, providers=CPU_ONLY)
    assert judged == []
    runtime = opened_on()(bundle_path)
    runtime(np.zeros((4, 4, 3), np.uint8))
    assert judged == [runtime]


@pytest.mark.parametrize("warmup", [0, 1, 3])
def test_the_first_frame_finds_the_memory_that_it_takes_though_that_of_golden_frames_is_let_go(
    opened_on: Callable[..., Any], bundle_path: Path, monkeypatch: pytest.MonkeyPatch, warmup: int
) -> None:
    done: list[str] = []
    monkeypatch.setattr(onnxruntime_graph, "let_go_of_memory", lambda *_arguments: done.append("let go"))
    opened_on(lambda feed, said: done.append(f"batch of {len(feed['frames'])}"))
    Runtime(bundle_path, providers=[OTHER], warmup=warmup)
    assert done[: warmup + 1] == ["batch of 1"] * (warmup + 1) and "batch of 4" in done
    assert done[done.index("let go") :] == ["let go", "batch of 1"][: 1 + warmup]


def test_a_bundle_whose_channel_order_has_a_default_is_still_read(
    make_bundle: Callable[..., Path], graph_bytes: Callable[..., bytes], frames: NDArray[np.uint8]
) -> None:
    old = make_bundle(model=graph_bytes(order="optional"))
    said = Runtime(old, threads=1)(list(frames[..., ::-1]), color="bgr")
    expected = Runtime(make_bundle(), threads=1)(list(frames))
    assert [verdict.score for verdict in said] == [verdict.score for verdict in expected]
    assert verify_bundle(old, backends=["onnxruntime"], threads=1).passed
