import gc
import itertools

import pytest

from edgeosr.bench.timer import MINIMUM_TURNS, Candidate, interleave, pace


class Tape:
    """Records which candidate was called, in order, with which input."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def candidate(self, name: str) -> Candidate:
        return Candidate(name, lambda i: self.calls.append((name, i)))


def test_each_turn_calls_every_candidate_twice_and_rotates_who_is_first(fake_clock) -> None:
    tape = Tape()
    rows = interleave(
        [tape.candidate(name) for name in "abc"], turns=4, warmup=0, limit_s=1e9, clock=fake_clock
    )
    turns = [tape.calls[i : i + 6] for i in range(0, len(tape.calls), 6)]
    assert ["".join(name for name, _ in turn) for turn in turns] == ["aabbcc", "bbccaa", "ccaabb", "aabbcc"]
    assert [{i for _, i in turn} for turn in turns] == [{0}, {1}, {2}, {3}]
    assert {name: len(row) for name, row in rows.items()} == {"a": 4, "b": 4, "c": 4}


def test_warm_up_calls_come_before_all_timed_ones_and_are_not_kept(fake_clock) -> None:
    tape = Tape()
    rows = interleave(
        [tape.candidate(name) for name in "ab"], turns=2, warmup=3, limit_s=1e9, clock=fake_clock
    )
    assert "".join(name for name, _ in tape.calls[:6]) == "aaabbb"
    assert len(rows["a"]) == 2


def test_a_sample_is_the_time_of_the_second_call_of_a_turn(fake_clock) -> None:
    spent = iter([5.0, 0.020] * MINIMUM_TURNS)

    def call(_i: int) -> None:
        seconds = next(spent)
        fake_clock.now += seconds
        fake_clock.used += 2 * seconds

    rows = interleave([Candidate("a", call)], turns=3, warmup=0, limit_s=1e9, clock=fake_clock)
    # The fake clocks themselves cost 0.1 ms (wall) and 0.2 ms (CPU) a look.
    assert rows["a"].wall_ms == pytest.approx((20.1, 20.1, 20.1))
    assert rows["a"].cpu_ms == pytest.approx((40.2, 40.2, 40.2))


def test_the_time_limit_stops_early_but_never_before_the_fewest_turns(fake_clock) -> None:
    def call(_i: int) -> None:
        fake_clock.now += 1.0

    tape: list[float] = []
    rows = interleave(
        [Candidate("a", call), Candidate("b", call)], turns=500, warmup=0, limit_s=0.5, clock=fake_clock,
        advance=tape.append,
    )  # fmt: skip
    assert len(rows["a"]) == len(rows["b"]) == len(tape) == MINIMUM_TURNS
    assert tape == sorted(tape) and tape[-1] == 1
    rows = interleave([Candidate("a", call)], turns=500, warmup=0, limit_s=60, clock=fake_clock)
    assert len(rows["a"]) == 30


def test_paced_calls_start_when_their_frame_is_due(fake_clock) -> None:
    starts = []

    def call(_i: int) -> None:
        starts.append(fake_clock.now)
        fake_clock.now += 0.010

    paced = pace(Candidate("a", call), rate_hz=20, calls=5, clock=fake_clock)
    gaps = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert gaps == pytest.approx([0.050] * 4, abs=0.001)
    assert paced.late == 0
    assert len(paced.samples) == 5
    assert len(fake_clock.slept) >= 4


def test_calls_slower_than_the_camera_are_counted_as_late_and_timed_from_their_own_start(fake_clock) -> None:
    def call(_i: int) -> None:
        fake_clock.now += 0.100

    paced = pace(Candidate("a", call), rate_hz=20, calls=5, clock=fake_clock)
    assert paced.late == 4
    assert paced.samples.wall_ms == pytest.approx((100.1,) * 5)
    assert fake_clock.slept == []


def test_garbage_is_not_collected_while_timing_and_again_afterwards(fake_clock) -> None:
    seen = []
    interleave(
        [Candidate("a", lambda _i: seen.append(gc.isenabled()))], turns=1, warmup=0, limit_s=1,
        clock=fake_clock,
    )  # fmt: skip
    assert seen == [False, False]
    assert gc.isenabled()

    def fail(_i: int) -> None:
        raise RuntimeError("camera gone")

    with pytest.raises(RuntimeError, match="camera gone"):
        pace(Candidate("a", fail), rate_hz=1, calls=1, clock=fake_clock)
    assert gc.isenabled()
