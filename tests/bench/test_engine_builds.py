import json

import pytest

from edgeosr.bench import engine_builds
from edgeosr.bench.engine_builds import EngineBuild, main, table


def build(precision: str, plan: int, ending: str = "map") -> EngineBuild:
    return EngineBuild(
        network="net 8 px", ending=ending, precision=precision, onnx_bytes=2_000_000, plan_bytes=plan,
        typed_s=1.0, build_s=2.0, builder="1.7.1",
    )  # fmt: skip


def test_a_plan_is_compared_with_the_fp32_plan_of_the_same_ending() -> None:
    builds = [build("fp32", 4_000_000), build("fp16", 2_200_000), build("fp32", 8_000_000, "tangents")]
    ratios = [line.split()[-2] for line in table(builds).splitlines()[1:]]
    assert ratios == ["1.00", "0.55", "1.00"]


def test_engines_are_built_and_written_down(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(engine_builds, "SIZES", {"classifier32": 16})
    monkeypatch.setattr(engine_builds, "ENDINGS", ("map",))
    monkeypatch.setattr(engine_builds, "PRECISIONS", ("fp32", "fp16"))
    main(["--only", "classifier32", "--json", str(tmp_path / "builds.json")])
    document = json.loads((tmp_path / "builds.json").read_text("utf-8"))
    whole, half = document["builds"]
    assert (whole["precision"], half["precision"]) == ("fp32", "fp16")
    # Four and two bytes a weight, and what the engine holds besides.
    assert whole["onnx_bytes"] < whole["plan_bytes"] and half["onnx_bytes"] < half["plan_bytes"]
    assert half["plan_bytes"] < whole["plan_bytes"] and half["build_s"] > 0
    assert f"tensorrt_rtx {half['builder']} for sm_86" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [["--only", "resnet17"], ["--target", "sm_87"]])
def test_what_cannot_be_built_is_refused_in_a_sentence(wrong, capsys) -> None:
    with pytest.raises(SystemExit):
        main(wrong)
    assert "error: --" in capsys.readouterr().err
