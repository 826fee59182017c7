"""The quick way to a list's figures is the product's own way: train, export, evaluate."""

from dataclasses import replace

import pytest

from edgeosr import ExportSettings, QualitySettings, TrainSettings, evaluate_bundle, export_run, train_run
from edgeosr.bench.open_set import kept_features as kept_module
from edgeosr.bench.open_set.cells import cell_from_score, own_scores
from edgeosr.bench.open_set.frozen import observe_frozen
from edgeosr.bench.open_set.kept_features import kept_features
from edgeosr.bench.open_set.trained import observe_bundle, run_folder, trained_bundle

CONTEXT = {"protocol": "p", "number": 0, "seed": 0, "command": "c", "versions": {}}
FROZEN = TrainSettings(
    data="digits:0,1,2,3,4,5",
    known=("0", "1", "2", "3"),
    arch="efficientnet-lite0",
    input_size=32,
    pretrained=True,
    freeze=True,
    epochs=8,
    batch_size=32,
    discriminator=False,
    threads=1,
)


def cells(network):
    return {one.name: cell_from_score(one, network, **CONTEXT) for one in own_scores(network)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("protocol")


@pytest.fixture(scope="module")
def kept(folder):
    return kept_features(FROZEN, folder, threads=1)


@pytest.fixture(scope="module")
def frozen(kept):
    return observe_frozen(FROZEN, kept, linear_head=True, threads=1)


@pytest.fixture(scope="module")
def bundle(folder):
    run = train_run(replace(FROZEN, out=folder / "run"))
    return export_run(run, ExportSettings(out=folder / "list.edgeosr", parts="all", threads=1)).path


def test_a_frozen_list_has_the_figures_of_train_export_and_evaluate(frozen, bundle, tmp_path):
    report = evaluate_bundle(bundle, QualitySettings(out=tmp_path / "evaluation", threads=1))
    found = cells(frozen)
    assert found["shipped"].auroc == pytest.approx(report.fused.auroc, abs=1e-3)
    assert found["shipped"].false_accepts == pytest.approx(report.fused.false_accept.value, abs=5e-3)
    assert found["shipped"].closed_accuracy == pytest.approx(report.fused.closed_accuracy, abs=1e-9)
    parts = {row.name: row.metrics.auroc for row in report.rows[1:]}
    assert set(parts) == {name.removeprefix("part:") for name in found if name.startswith("part:")}
    for name, auroc in parts.items():
        assert found[f"part:{name}"].auroc == pytest.approx(auroc, abs=1e-3), name


def test_left_out_classes_weighed_the_parts_of_the_bound(frozen):
    assert {"bank", "relative_mahalanobis", "movr_loss"} <= set(frozen.weighed)
    assert set(frozen.fusion.used()) <= set(frozen.weighed)


def test_the_linear_head_is_one_of_cross_entropy_on_the_same_embeddings(frozen):
    assert frozen.linear_head is not None and frozen.linear_head.kind == "linear"
    logits = frozen.test.embeddings @ frozen.linear_head.weight.T + frozen.linear_head.bias
    assert (logits.argmax(axis=1) == frozen.test.labels).mean() > 0.9


def test_rivals_have_the_linear_head_on_the_bundle_of_a_frozen_run_too(frozen, bundle):
    # As where outliers are given: such a list is trained and exported as a user does it.
    network = observe_bundle(bundle, threads=1)
    assert network.linear_head is not None and network.linear_head.kind == "linear"
    heads = (network.linear_head, frozen.linear_head)
    own, kept = (frozen.test.embeddings @ head.weight.T + head.bias for head in heads)
    assert (own.argmax(axis=1) == kept.argmax(axis=1)).mean() > 0.99


def test_images_are_embedded_once_for_all_lists(kept, folder, monkeypatch):
    def again(*_, **__):
        raise AssertionError("the images were embedded again")

    with monkeypatch.context() as patch:
        patch.setattr(kept_module, "FeatureReader", again)
        assert kept_features(replace(FROZEN, known=("5", "6")), folder, threads=1).places == kept.places
        # Another network is another set of features.
        with pytest.raises(AssertionError, match="embedded again"):
            kept_features(replace(FROZEN, fit="stretch"), folder, threads=1)


def test_a_trained_list_has_the_figures_of_evaluate(digits_bundle, tmp_path):
    report = evaluate_bundle(digits_bundle, QualitySettings(out=tmp_path / "evaluation", threads=1))
    network = observe_bundle(digits_bundle, threads=1)
    assert network.linear_head is None, "its embeddings were trained for the head that it has"
    found = cells(network)
    assert len(network.unknown.labels) == report.fused.unknown
    assert found["shipped"].auroc == report.fused.auroc
    assert found["shipped"].false_accepts == report.fused.false_accept.value
    assert found["shipped"].false_rejects == report.fused.false_reject.value
    for row in report.rows[1:]:
        assert found[f"part:{row.name}"].auroc == row.metrics.auroc
    assert network.train_embeddings.shape == (len(network.train_labels), network.head.weight.shape[1])


def test_a_finished_run_is_exported_and_not_trained_again(tmp_path):
    tiny = TrainSettings(
        data="digits",
        known=("0", "1", "2"),
        input_size=16,
        batch_size=16,
        epochs=3,
        rotation_weight=0.0,
        discriminator=False,
        folds=0,
        threads=1,
    )
    first = trained_bundle(tiny, tmp_path, threads=1)
    assert first.parent == run_folder(tiny, tmp_path)
    weights = first.with_name("weights.pt").stat().st_mtime_ns
    assert trained_bundle(tiny, tmp_path, threads=1) == first
    assert first.with_name("weights.pt").stat().st_mtime_ns == weights
    # Another recipe is another run.
    assert run_folder(replace(tiny, epochs=4), tmp_path) != first.parent
