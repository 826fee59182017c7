"""Today's machine code, interpreted: it gives the reference's verdicts, and its counts are the kept ones."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from compile_gate import cubin_of

from edgeosr.bench.kernel_counts import COMMAND, counts_of_source, row_name
from edgeosr.errors import KernelBuildError
from edgeosr.kernels.build.sources import FOLDER, device_source
from edgeosr.kernels.counting.__main__ import main, table_of
from edgeosr.kernels.counting.case import case_launch
from edgeosr.kernels.counting.compiled import Compiled, compiled, disassembled, section
from edgeosr.kernels.counting.counts import counts_from_record
from edgeosr.kernels.counting.launch import run_launch
from edgeosr.kernels.counting.listing import Instruction, listing_of
from edgeosr.kernels.counting.phases import phase_lines, phases_of
from edgeosr.kernels.device_verdicts import NOT_FINITE, NUMBER_FROM, VERDICT, WRITTEN
from edgeosr.kernels.selftest.cases import SelftestCase, case_inputs, case_scorer
from edgeosr.scoring.reference import reference_scores

TOLERANCE = {True: 1e-2, False: 2e-5}  # of a score, in standard deviations: as of the source on the CPU
ROWS = SelftestCase(dimension=64, batch=3, size=2, images=64, margin=0.3)
# Slabs of 16 channels: tiles of 1, 2 and as many samples as there are.
MANY, FEW, UNKNOWN = 132, 8, 0


@pytest.fixture(scope="module")
def builds() -> dict[str, Compiled]:
    """Without line numbers: all of a kernel is one phase."""
    return {
        name: Compiled(name, disassembled(cubin_of(name)), cubin_of(name).read_bytes(), ())
        for name in ("sm_90", "sm_87", "sm_110")
    }


@pytest.mark.parametrize(
    ("architecture", "multiprocessors", "case"),
    [
        ("sm_90", MANY, ROWS),
        ("sm_90", UNKNOWN, replace(ROWS, classes=70)),
        (
            "sm_90",
            FEW,
            replace(ROWS, images=0, margin=0.0, activation="silu", half_weights=False, head="linear"),
        ),
        ("sm_87", FEW, replace(ROWS, dimension=33, activation="clip", taps=1)),
        ("sm_110", MANY, SelftestCase(dimension=33, batch=3, size=0, probes=5, classes=33)),
    ],
    ids=lambda value: value.name if isinstance(value, SelftestCase) else str(value),
)
def test_the_machine_code_gives_the_references_verdicts(
    architecture: str, multiprocessors: int, case: SelftestCase, builds: dict[str, Compiled]
) -> None:
    launch = case_launch(case, multiprocessors=multiprocessors, architecture=architecture)
    before = np.arange(case.batch) + 0xFFFFFE  # the last number, and what comes next
    launch.arrays["verdicts"].view(VERDICT)["flags"] = before << NUMBER_FROM & 0xFFFFFFFF | NOT_FINITE
    verdicts = run_launch(builds[architecture], launch, every_tile=True).verdicts.view(VERDICT)
    expected = reference_scores(case_scorer(case), **case_inputs(case))
    np.testing.assert_allclose(
        verdicts["score"], expected["score"], rtol=0, atol=TOLERANCE[case.half_weights]
    )
    np.testing.assert_array_equal(verdicts["label"], expected["label"])
    assert (verdicts["flags"] & (WRITTEN | NOT_FINITE) == WRITTEN).all()
    np.testing.assert_array_equal(verdicts["flags"] >> NUMBER_FROM, before + 1 & 0xFFFFFF)


def test_the_kept_counts_are_of_the_present_source(builds: dict[str, Compiled]) -> None:
    case = SelftestCase(dimension=512, batch=1)
    kept = counts_of_source(device_source().digest, "sm_90", 132)  # if this fails: COMMAND
    launch = case_launch(case, multiprocessors=132, architecture="sm_90")
    counted = run_launch(builds["sm_90"], launch).counts.warp_instructions
    assert kept[row_name(case)].warp_instructions == counted, f"the machine code has changed: run {COMMAND}"


def test_only_architectures_whose_machine_code_is_modelled_are_counted() -> None:
    with pytest.raises(KernelBuildError, match=r"sm_72 is not modelled; count one of .*sm_87"):
        compiled("sm_72")


def test_a_kernel_that_the_listing_lacks_is_named_with_those_that_it_has(builds: dict[str, Compiled]) -> None:
    with pytest.raises(KernelBuildError, match=r"no kernel nothing; it has .*fused_score_map_mma_f16"):
        listing_of(builds["sm_90"].text, "nothing")


def test_a_file_that_is_no_cubin_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kernel.cubin"
    path.write_bytes(b"no machine code")
    with pytest.raises(KernelBuildError, match=r"nvdisasm refuses kernel\.cubin"):
        disassembled(path)
    assert section(b"", ".text") == b""


def test_a_source_without_the_line_where_a_phase_begins_is_refused(tmp_path: Path) -> None:
    texts = {
        name: (FOLDER / name).read_text("utf-8") for name in ("fused_score.cu", "verdict.cuh", "together.cuh")
    }
    for name, words in (("fused_score.cu", "stops_after(3)"), ("together.cuh", "stops_after(4)")):
        assert words in texts[name]
        for other, text in texts.items():
            (tmp_path / other).write_text(text.replace(words, "") if other == name else text, "utf-8")
        with pytest.raises(KernelBuildError, match=rf"{name} has no line with '{re.escape(words)}'"):
            phase_lines(tmp_path)
    # Where the builds that are timed stop; a cluster's way first, then back to the fence of the other one.
    found = list(phase_lines(FOLDER))
    assert [(phase, name) for phase, name, _ in found] == [
        *((phase, "fused_score.cu") for phase in (1, 2, 3, 2, 3)),
        (4, "verdict.cuh"),
        (4, "together.cuh"),
    ]
    for place, (phase, name, line) in enumerate(found):
        words = f"if (stops_after({phase})) " if place != 3 else "block_sync();"
        assert words in texts[name].splitlines()[line - 1]
    assert texts["fused_score.cu"].splitlines()[found[2][2]].strip() == "finish_together<kMap>(p);"


def test_machine_code_that_is_not_modelled_is_told_with_its_place(builds: dict[str, Compiled]) -> None:
    build = builds["sm_90"]
    foreign = replace(build, text=build.text.replace("LDGDEPBAR", "UBLKCP"))
    with pytest.raises(KernelBuildError, match=r"for sm_90 must be what .* models; got .*UBLKCP.*add the"):
        run_launch(foreign, case_launch(ROWS))


def test_the_command_prints_one_launch(
    builds: dict[str, Compiled], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("edgeosr.kernels.counting.__main__.compiled", builds.__getitem__)
    assert main(["--dimension", "16", "--size", "2", "--filter", "1", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["case"].startswith("map relu Q4 taps 1, D16 B1 C10 cosine")
    assert (document["multiprocessors"], document["tile"]) == (132, 1), "as an H100 runs it"
    (phase,) = document["phases"]  # no line numbers in this build: all is one phase
    table = table_of(counts_from_record(document["phases"]))
    assert f"{sum(phase['instructions'].values()):11,d}{phase['busiest']:11,d}" in table
    waits = [f"{name} {many}" for name, many in phase["waits"].items() if many]  # what is 0 is left out
    assert len(waits) > 4 and ", ".join(waits) in table
    assert main(["--dimension", "16", "--probes", "40"]) == 2
    assert "K must be from 1 to 32" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--multiprocessors", "4097"])
    assert "must be at most 4096; got 4097" in capsys.readouterr().err
    for words in (["--dimension", "99999"], ["--batch", "1025"], ["--size", "17"], ["--classes", "4097"]):
        with pytest.raises(SystemExit):  # before a scorer of that size is made
            main(words)
        assert (
            f"must be at most {int(words[1]) - 1 if words[1] != '99999' else 2048}" in capsys.readouterr().err
        )
    with pytest.raises(SystemExit):
        main(["--architecture", "sm_75"])
    assert "invalid choice: 'sm_75'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--batch", "0"])
    assert "must be at least 1; got 0" in capsys.readouterr().err


def test_what_the_compiler_puts_before_a_barrier_does_not_take_it_to_a_later_phase() -> None:
    begins = [(1, "a.cu", 10), (2, "a.cu", 20)]

    def at(line: int, opcode: str) -> Instruction:
        return Instruction("", opcode, (), (("a.cu", line), ("a.cu", 90)))

    early = [at(11, "STS"), at(21, "S2UR"), at(12, "BAR.SYNC"), at(21, "LDS"), at(22, "EXIT")]
    assert phases_of(early, begins) == [1, 1, 1, 2, 2]
    # A value that keeps the line where it was computed first is the later phase's all the same.
    again = [at(11, "STS"), at(21, "LDS"), at(12, "IADD3"), at(22, "LDS"), at(23, "EXIT")]
    assert phases_of(again, begins) == [1, 2, 2, 2, 2]


def test_lines_behind_a_cluster_s_way_go_back_to_the_phase_where_the_ways_part() -> None:
    begins = [
        (1, "a.cu", 10),
        (2, "a.cu", 20),
        (3, "a.cu", 22),
        (2, "a.cu", 30),
        (3, "a.cu", 40),
        (4, "b.cuh", 5),
    ]
    ways = [19, 21, 23, 29, 30, 39, 40, 41]
    found = [
        phases_of([Instruction("", "IADD3", (), (("a.cu", line), ("a.cu", 90)))], begins)[0] for line in ways
    ]
    assert found == [1, 2, 3, 3, 2, 2, 3, 3]
    called = Instruction("", "IADD3", (), (("b.cuh", 6), ("a.cu", 23), ("a.cu", 90)))
    assert phases_of([called], begins) == [4]
