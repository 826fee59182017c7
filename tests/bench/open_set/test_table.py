"""What stands on the page is what the program writes from the recorded file."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgeosr.bench.open_set.cells import Cell
from edgeosr.bench.open_set.protocols import PROTOCOLS
from edgeosr.bench.open_set.summary import means_of, outliers_worth, rows_of
from edgeosr.bench.open_set.table import every_score, tables

ROOT = Path(__file__).resolve().parents[3]
RECORDED = ROOT / "bench" / "results" / "open-set.json"


def cell(score: str, number: int, auroc: float) -> Cell:
    return Cell(
        protocol="p", list=number, score=score, auroc=auroc, false_accepts_at_5=0.2, false_accepts=0.3,
        false_rejects=0.04,
        closed_accuracy=0.9, known=10, unknown=10, seed=0, note="", command="c", versions={},
    )  # fmt: skip


CELLS = [
    *(cell("shipped", number, auroc) for number, auroc in enumerate((0.8, 0.9))),
    *(cell("part:bank", number, auroc) for number, auroc in enumerate((0.7, 0.8))),
    *(cell("part:max_logit", number, auroc) for number, auroc in enumerate((0.9, 0.5))),
    *(cell("bound", number, auroc) for number, auroc in enumerate((0.95, 0.95))),
    *(cell("pytorch-ood:MSP", number, auroc) for number, auroc in enumerate((0.6, 0.6))),
    cell("pytorch-ood:KNN", 1, 0.99),
]


def test_a_row_has_the_mean_and_the_best_that_all_lists_have():
    (row,) = rows_of(means_of(CELLS), CELLS)
    assert (row.lists, row.shipped.auroc, row.shipped.spread) == (2, pytest.approx(0.85), pytest.approx(0.05))
    assert (row.part.score, row.part.auroc) == ("part:bank", pytest.approx(0.75))
    assert row.rival is not None and row.rival.score == "pytorch-ood:MSP"
    assert (row.below_rival, row.equal_weights) == (0, 0)


def test_the_detector_with_the_fewest_false_accepts_is_named_too_and_the_lists_that_are_lost_are_counted():
    other = [replace(cell("pytorch-ood:ViM", number, 0.5), false_accepts_at_5=0.1) for number in (0, 1)]
    better = [cell("pytorch-ood:RMD", number, auroc) for number, auroc in enumerate((0.7, 0.95))]
    cells = [*CELLS, *other, *better]
    (row,) = rows_of(means_of(cells), cells)
    assert row.rival is not None and row.rival_at_5 is not None
    assert (row.rival.score, row.rival_at_5.score) == ("pytorch-ood:RMD", "pytorch-ood:ViM")
    assert row.below_rival == 1
    first, second = tables({"rows": [row.as_json()]}).split("\n\n")
    assert first.endswith("| RMD 0.825 +- 0.125 | 1 |")
    assert "| 20.0 % | 20.0 % | ViM 10.0 % | 30.0 % |" in second


def test_lists_whose_parts_weigh_the_same_are_counted_and_one_list_has_no_spread():
    notes = ("bank 0.50, max_logit 0.50 (why, 3 folds)", "bank 1.00 (why)", "bank 0.40, max_logit 0.60 (why)")
    cells = [replace(one, list=number, note=note) for number, note in enumerate(notes) for one in CELLS[:1]]
    cells += [replace(one, list=number) for number in range(3) for one in (CELLS[2], CELLS[6])]
    assert [row.equal_weights for row in rows_of(means_of(cells), cells)] == [1]
    alone = [one for one in cells if one.list == 0]
    (row,) = rows_of(means_of(alone), alone)
    assert "| 1 | 1 | 0.800 |" in tables({"rows": [row.as_json()]})


def test_without_pytorch_ood_its_cells_are_empty():
    own = [one for one in CELLS if not one.score.startswith("pytorch-ood")]
    (row,) = rows_of(means_of(own), own)
    assert row.rival is None
    assert tables({"rows": [row.as_json()]}).splitlines()[2].endswith("0.950 +- 0.000 |  |  |")


def test_scores_are_listed_the_best_first():
    means = means_of([replace(one, protocol="q") for one in CELLS])
    lines = every_score({"means": {"q": [vars(mean) for mean in means["q"]]}}, "q").splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["pytorch-ood:KNN", "bound", "shipped"]


@pytest.fixture(scope="module")
def recorded():
    return json.loads(RECORDED.read_text("utf-8"))


def test_the_page_holds_the_tables_as_the_program_wrote_them(recorded):
    page = (ROOT / "docs" / "results.md").read_text("utf-8")
    for table in tables(recorded, "o").split("\n\n"):
        assert table in page


def test_the_recorded_rows_are_those_of_the_recorded_cells(recorded):
    cells = [Cell(**one) for one in recorded["cells"]]
    assert [row.as_json() for row in rows_of(means_of(cells), cells)] == recorded["rows"]
    assert outliers_worth(cells) == recorded["outliers"]


def test_outliers_are_compared_on_the_lists_that_have_both(recorded):
    cells = [Cell(**one) for one in recorded["cells"]]
    (neu, digits) = outliers_worth(cells)
    assert (neu["lists"], digits["lists"]) == ([0, 7, 14], [0, 1, 2, 3, 4])
    of = {(one.protocol, one.list): one.auroc for one in cells if one.score == "shipped"}
    assert neu["with"] == pytest.approx(sum(of["neu-outliers", number] for number in (0, 7, 14)) / 3)
    assert neu["without"] == pytest.approx(sum(of["neu-frozen", number] for number in (0, 7, 14)) / 3)
    assert outliers_worth([one for one in cells if one.protocol != "digits"]) == [neu]


def test_recorded_cells_are_of_known_protocols_and_each_stands_once(recorded):
    places = [(one["protocol"], one["list"], one["score"]) for one in recorded["cells"]]
    assert len(set(places)) == len(places)
    assert {protocol for protocol, _, _ in places} <= set(PROTOCOLS)
    assert all({"auroc", "command", "versions", "seed"} <= set(one) for one in recorded["cells"])
