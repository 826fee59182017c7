"""The trials of reliability find nothing in a good product, and would find it."""

import json
import os
import signal
import time

import pytest

from edgeosr import ExportSettings, export_run
from edgeosr.bench.reliability import hostile_bundles
from edgeosr.bench.reliability.__main__ import main
from edgeosr.bench.reliability.corpus import read_corpus, seeds_of, write_corpus
from edgeosr.bench.reliability.fork_server import in_a_child
from edgeosr.bench.reliability.fuzz import LARGEST, fuzz_plainly, parsers
from edgeosr.bench.reliability.hostile_bundles import try_hostile_bundles
from edgeosr.bench.reliability.many_frames import try_frames
from edgeosr.data.image_file import decode_image
from edgeosr.data.orientation import orientation_in
from edgeosr.errors import BundleError, UsageError


@pytest.fixture(scope="module")
def fp32_bundle(digits_run, tmp_path_factory):
    out = tmp_path_factory.mktemp("fp32") / "digits.edgeosr"
    return export_run(digits_run, ExportSettings(out=out, precision="fp32")).path


ANY = {"memory": 1 << 30, "may_open": lambda name: True}


def test_hostile_and_damaged_bundles_are_refused_or_harmless(digits_bundle):
    counts = try_hostile_bundles(digits_bundle, 14)
    assert counts.failures == []
    assert counts.bundles == 14 and sum(counts.refused.values()) > 5


def test_a_bundle_that_is_opened_without_a_check_is_found(digits_bundle, monkeypatch):
    monkeypatch.setattr(hostile_bundles, "spoilt", lambda files, number, seed: ("hostile: none", files))

    def careless(path, cache, *, with_golden=True):
        if "spoilt" not in str(path):
            return "good"
        return {}["what is not there"]

    monkeypatch.setattr(hostile_bundles, "_used", careless)
    counts = try_hostile_bundles(digits_bundle, 1)
    assert len(counts.failures) == 1 and "KeyError" in counts.failures[0]


def refuse():
    raise BundleError("no")


@pytest.mark.parametrize(
    ("function", "how"),
    [
        (lambda: "fine", "done"),
        (refuse, "refused"),
        (lambda: str(1 / 0), "traceback"),
        (lambda: str(os.kill(os.getpid(), signal.SIGKILL)), "crash"),
        (lambda: str(bytearray(1 << 33)), "traceback"),
    ],
)
def test_how_a_child_ended_is_told(function, how):
    assert in_a_child(function, **ANY).how == how


def test_a_child_that_hangs_or_opens_what_it_may_not_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("edgeosr.bench.reliability.fork_server.LONGEST", 0.3)
    assert in_a_child(lambda: str(time.sleep(60)), **ANY).how == "hang"
    secret = tmp_path / "secret"
    secret.write_text("x")
    ended = in_a_child(secret.read_text, memory=1 << 30, may_open=lambda name: False)
    assert str(secret) in ended.opened


def test_frames_are_judged_as_float64_does(fp32_bundle):
    counts = try_frames(fp32_bundle, 300)
    assert counts.frames == 300 and counts.wrong == 0 and counts.most_distance < 1e-3
    assert 20 < counts.accepted < 280


def test_a_runtime_that_decides_otherwise_is_found(fp32_bundle, monkeypatch):
    from edgeosr.runtime.runtime import Runtime

    class Generous(Runtime):
        def __init__(self, *arguments, **named):
            super().__init__(*arguments, **named)
            self.threshold = 1e9

    monkeypatch.setattr("edgeosr.bench.reliability.many_frames.Runtime", Generous)
    assert try_frames(fp32_bundle, 100).wrong > 10


def test_a_bundle_without_such_a_backbone_cannot_be_held_against_float64(digits_bundle):
    with pytest.raises(UsageError, match="--engine fp32"):
        try_frames(digits_bundle, 1)


def test_a_hundred_changed_inputs_of_each_parser_are_read_or_refused(digits_bundle):
    seeds = seeds_of(digits_bundle)
    for name, parser in parsers(digits_bundle).items():
        assert fuzz_plainly(parser, seeds[name], 60, most=100) == 100, name


def test_seeds_are_small_read_whole_and_are_not_written_twice(digits_bundle, tmp_path):
    seeds = seeds_of(digits_bundle)
    assert seeds.keys() == parsers(digits_bundle).keys()
    for _ in range(2):
        write_corpus(tmp_path, seeds, largest=LARGEST)
    for name in seeds:
        kept = read_corpus(tmp_path / name, largest=LARGEST)
        assert kept and set(kept) == {seed for seed in seeds[name] if len(seed) <= LARGEST}, name
    assert [orientation_in(seed) for seed in seeds["orientation"]] == [*range(1, 9)] * 2
    for seed in seeds["picture"]:
        assert decode_image(seed, "a seed").shape[2] == 3


def test_a_parser_that_raises_something_else_is_found():
    with pytest.raises(ZeroDivisionError):
        fuzz_plainly(lambda data: 1 // (len(data) % 7), [b"seed" * 100], 5)


def test_the_command_prints_its_counts_as_json(digits_bundle, monkeypatch, capsys, tmp_path):
    written = tmp_path / "counts.json"
    arguments = ["x", "bundles", str(digits_bundle), "--count", "3", "--json", str(written)]
    monkeypatch.setattr("sys.argv", arguments)
    assert main() == 0
    document = json.loads(capsys.readouterr().out)
    assert document == json.loads(written.read_text("utf-8"))
    assert document["passed"] and document["counts"]["bundles"] == 3
