import json

import pytest

from edgeosr.bench import tangent_costs
from edgeosr.bench.tangent_costs import (
    PILOT,
    chain,
    main,
    measure_cut,
    table,
    time_differentiation,
)
from edgeosr.errors import BundleError


@pytest.fixture(scope="module")
def network() -> bytes:
    return chain(12)


def test_a_cut_is_timed_beside_the_plain_network(network, fake_clock, monkeypatch) -> None:
    monkeypatch.setattr(tangent_costs, "TURNS", 20)
    cost = measure_cut(
        network, "input", network="chain", seconds=1, probes=(1, 2), pilot={1: 2.0}, clock=fake_clock
    )
    assert list(cost.rows) == ["plain", "K=1", "K=2"]
    assert (cost.nodes, cost.space, cost.tensor) == (12, 3 * 16 * 16, "input")
    assert min(cost.added.values()) > 0
    values = json.loads(json.dumps(cost.as_json()))
    assert values["probes"]["1"]["pilot"] == 2.0
    assert values["probes"]["2"]["turns"] == len(cost.rows["plain"])
    text = table([cost])
    assert "x2.00" in text and "768 numbers a sample" in text and "1 thread" in text


def test_differentiating_is_timed_on_a_graph_of_that_many_nodes() -> None:
    wall, cpu = time_differentiation(60)
    assert cpu > 0
    assert wall > 0
    assert len(tangent_costs.parsed(chain(60)).graph) == 60


def test_graphs_that_disagree_are_not_timed(network, monkeypatch) -> None:
    broken = tangent_costs.with_probes

    def other(model, tensor, space, K):
        return broken(chain(15), tensor, space, K)

    monkeypatch.setattr(tangent_costs, "with_probes", other)
    with pytest.raises(BundleError, match="nothing is timed"):
        measure_cut(network, "input", network="chain", seconds=1, probes=(1,))


def test_the_program_prints_conditions_and_writes_json(monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.setattr(tangent_costs, "_network", lambda _arch: chain(9))
    monkeypatch.setattr(tangent_costs, "CUTS", ("input",))
    monkeypatch.setattr(tangent_costs, "PROBES", (1,))
    monkeypatch.setattr(tangent_costs, "TURNS", 2)
    main(["--only", "resnet18-32", "--seconds", "1", "--json", str(tmp_path / "costs.json")])
    out = capsys.readouterr().out
    assert "random weights" in out and "differentiating a chain of 300 nodes" in out
    assert f"x{PILOT['resnet18-32', 1]:.2f}" in out
    document = json.loads((tmp_path / "costs.json").read_text("utf-8"))
    assert document["weights"] == "random"
    assert document["differentiation"]["nodes"] == 300


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "resnet18"], "did you mean 'resnet18-32'"),
        (["--seconds", "0"], "--seconds must be above 0"),
    ],
)
def test_a_wrong_option_is_told_without_a_traceback(arguments, message, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
