"""The gate counts decisions, and refuses an export that would decide otherwise."""

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest

from edgeosr.bundle.backbone import BOTH, MADE, OUTLIERS, gate_from_json
from edgeosr.bundle.checked_json import parse_json
from edgeosr.data.labelled_images import LabelledImages
from edgeosr.data.reading import readable_images
from edgeosr.errors import DataError
from edgeosr.export.measure import Measured
from edgeosr.export.precision.gate import (
    GATE_IMAGES,
    OPEN_IMAGES,
    OUTLIERS_ALONE,
    WORST,
    decision_gate,
)
from edgeosr.export.precision.gate_picture import draw_gate
from edgeosr.export.precision.made_unknown import made_unknown


def part(name, count):
    return LabelledImages(
        class_names=("a", "b"),
        labels=np.zeros(count, np.int64),
        groups=np.arange(count),
        read=lambda i: np.full((8, 8, 3), i % 256, np.uint8),
        name_of=lambda i: f"{name}[{i}]",
    )


class Scripted:
    """A runner that says what it was told, by the image's name."""

    def __init__(self, answers):
        self.answers = answers
        self.asked = []

    def measure(self, images, description):
        names = [images.name_of(i) for i in range(len(images))]
        self.asked += names
        said = [self.answers(name) for name in names]
        return Measured(
            np.array([label for label, _ in said], np.int64),
            np.array([score for _, score in said], np.float32),
            np.zeros((len(said), 5), np.float32),
            images.labels,
            images.groups,
            np.arange(len(names)),
            [],
        )


def gate(before, after, known=(10,), unknown=None, minimum=0.5, thresholds=(1.0, 1.0)):
    return decision_gate(
        Scripted(lambda name: before.get(name, (0, 0.0))),
        Scripted(lambda name: after.get(name, before.get(name, (0, 0.0)))),
        thresholds=thresholds,
        known=[part(f"known{i}", count) for i, count in enumerate(known)],
        unknown=None if unknown is None else part("open", unknown),
        minimum=minimum,
        recalibrated=False,
    )


def test_a_changed_class_and_a_changed_decision_each_count_once():
    after = {"known0[0]": (1, 0.0), "known0[1]": (0, 1.5), "known0[2]": (1, 1.5), "known0[3]": (0, 0.25)}
    record = gate({}, after).record
    assert (record.labels, record.decisions, record.agreement) == (0.9, 0.9, 0.85)
    assert (record.known_agreement, record.unknown_agreement) == (0.7, 1.0)
    assert (record.known, record.unknown, record.auroc) == (10, 10, None)
    assert record.score_distance == (0.0, 1.5)


def test_another_nearest_class_of_an_image_that_both_reject_is_no_other_decision():
    record = gate({"known0[0]": (0, 2.0)}, {"known0[0]": (1, 2.5)}).record
    assert (record.labels, record.decisions, record.agreement) == (0.95, 1.0, 1.0)


def test_it_passes_at_the_minimum_and_fails_below():
    after = {"known0[0]": (1, 0.0), "known0[1]": (1, 0.0)}
    assert gate({}, after, minimum=0.8).passed
    assert not gate({}, after, minimum=0.81).passed


@pytest.mark.parametrize(
    ("images", "differing", "passed"),
    [(10, 1, False), (11, 1, True), (60, 1, True), (60, 2, False), (199, 1, True), (199, 2, False),
     (200, 1, True), (400, 2, True), (400, 3, False)],
)  # fmt: skip
def test_one_image_of_few_that_differs_shows_nothing_two_do(images, differing, passed):
    after = {f"known0[{i}]": (1, 0.0) for i in range(differing)}
    found = gate({}, after, known=(images,), minimum=0.995)
    assert found.passed == passed
    of_few = 11 <= images < 200 and passed
    assert ("to prove 99.5% takes 200 known and as many unknown" in found.record.described()) == of_few
    assert not gate({}, after, known=(images,), minimum=1.0).passed, "all of them were asked for"


def test_one_of_few_that_differs_on_each_side_is_refused():
    record = gate({}, {"known0[0]": (1, 0.0)}, known=(60,), minimum=0.995).record
    unknown = replace(record, unknown=60, unknown_agreement=1 - 1 / 60)
    assert record.passed and not unknown.passed
    assert replace(unknown, known_agreement=1.0).passed and unknown.let_through() == ""


def test_each_graph_has_its_own_threshold():
    moved = {f"known0[{i}]": (0, 5.0) for i in range(10)}
    assert gate({}, moved, thresholds=(1.0, 6.0)).record.known_agreement == 1
    assert gate({}, moved, thresholds=(1.0, 4.0)).record.known_agreement == 0


def test_the_image_at_the_threshold_is_left_out_and_counted():
    record = gate({"known0[4]": (0, 1.0)}, {"known0[4]": (0, 1.0000001)}).record
    assert (record.ties, record.known, record.known_agreement) == (1, 9, 1.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_score_that_is_not_finite_is_a_rejection(bad):
    record = gate({}, {"known0[0]": (0, bad)}).record
    assert record.known_agreement == 0.9
    assert all(map(math.isfinite, record.score_distance))


def test_auroc_is_of_known_against_open_images():
    before = {f"open[{i}]": (0, 3.0) for i in range(5)}
    after = {f"open[{i}]": (0, -3.0) for i in range(5)}
    record = gate(before, after, unknown=5).record
    # So few real ones would decide by themselves: made ones join them, but have no part in the area.
    assert record.auroc == (1.0, 0.0)
    assert (record.known, record.unknown, record.unknown_from) == (10, 15, BOTH)
    many = gate(before, after, unknown=OUTLIERS_ALONE).record
    assert (many.unknown, many.unknown_from) == (OUTLIERS_ALONE, OUTLIERS)
    assert many.unknown_agreement == 1 - 5 / OUTLIERS_ALONE


def test_the_worst_come_first_disagreements_before_distances():
    after = {"known0[3]": (0, -50.0), "known0[7]": (0, 1.01), "known0[5]": (0, -2.0)}
    worst = gate({}, after).worst
    assert [image.name for image in worst[:3]] == ["known0[7]", "known0[3]", "known0[5]"]
    assert [image.agrees for image in worst[:2]] == [False, True]
    assert len(worst) == WORST


def test_at_most_a_thousand_images_are_compared_open_ones_among_them():
    record = gate({}, {}, known=(3000, 40), unknown=5000).record
    assert (record.unknown, record.unknown_from) == (OPEN_IMAGES, OUTLIERS)
    assert record.known == (GATE_IMAGES - OPEN_IMAGES) // 2 + 40
    made = gate({}, {}, known=(3000, 40)).record
    assert (made.unknown, made.unknown_from, made.known) == (OPEN_IMAGES - 60, MADE, record.known)


def test_known_and_unknown_images_must_each_agree_often_enough():
    unknown = {"made of known0[3]": (0, 1.5), "made of known0[4]": (0, 1.5)}
    assert gate({}, unknown, minimum=0.8).passed
    found = gate({}, unknown, minimum=0.81)
    assert found.record.agreement == 0.9, "the sum would pass"
    assert not found.passed
    assert (found.record.known_agreement, found.record.unknown_agreement) == (1.0, 0.8)
    assert (
        "100.00% of 10 known and 80.00% of 10 unknown images (made of known ones)" in found.record.described()
    )
    assert found.worst[0].name == "made of known0[3]"


def test_a_gate_of_an_older_bundle_reads_as_it_was():
    values = {**asdict(gate({}, {"known0[0]": (1, 0.0)}).record), "unknown": 0, "agreement": 0.9}
    for name in ("known_agreement", "unknown_agreement", "unknown_from"):
        del values[name]
    record = gate_from_json(parse_json(json.dumps(values).encode(), "manifest", DataError, then=""))
    assert (record.known_agreement, record.unknown_agreement) == (None, None)
    assert "decides like model.onnx on 90.00% of 10 validation images" in record.described()


def test_unknown_images_are_made_of_known_ones_of_any_size_and_always_alike():
    sizes = [(8, 8), (8, 8), (12, 9), (6, 10), (8, 8), (8, 8), (8, 8)]
    frames = [np.random.default_rng(i).integers(0, 256, (*size, 3), np.uint8) for i, size in enumerate(sizes)]
    known = [
        LabelledImages(
            ("a",),
            np.zeros(n, np.int64),
            np.arange(n),
            lambda i, s=s: frames[s + i],
            lambda i, s=s: f"{s + i}",
        )
        for s, n in ((0, 3), (3, 4))
    ]
    made, again = made_unknown(known, 7), made_unknown(known, 7)
    pictures = [made.read(i) for i in range(7)]
    assert [picture.shape for picture in pictures] == [frame.shape for frame in frames]
    assert all(np.array_equal(picture, again.read(i)) for i, picture in enumerate(pictures))
    assert len({picture.tobytes() for picture in pictures}) == 7
    assert all(picture.dtype == np.uint8 for picture in pictures)
    assert not any(np.array_equal(picture, frames[i]) for i, picture in enumerate(pictures))
    assert made.name_of(1) == "made of 1"


class Reading:
    """A runner that reads as the product does, and says of every image that can be read the same."""

    def measure(self, images, description):
        read = readable_images(images, description=description, skipped=[])
        kept = np.array([index for index, _ in read], np.int64)
        said = np.zeros(len(kept), np.int64)
        groups = images.groups[kept]
        return Measured(said, said.astype(np.float32), said[:, None], images.labels[kept], groups, kept, [])


def test_as_many_unreadable_images_as_are_allowed_leave_the_gate_standing():
    whole = part("known0", 300)

    def read(index):
        if index in (7, 100, 200):
            raise DataError("damaged")
        return whole.read(index)

    found = decision_gate(
        Reading(), Reading(), thresholds=(1.0, 1.0), known=[replace(whole, read=read)], unknown=None,
        minimum=0.5, recalibrated=False,
    )  # fmt: skip
    assert (found.record.known, found.record.unknown, found.record.unknown_from) == (297, 297, MADE)


def test_no_image_is_an_error():
    with pytest.raises(DataError, match="no validation image"):
        gate({}, {}, known=(0,))


def test_the_picture_shows_the_worst(tmp_path):
    from PIL import Image

    found = gate({}, {"known0[7]": (1, 9.0)})
    draw_gate(tmp_path / "worst.png", found, ("a", "b"), precision="fp16")
    with Image.open(tmp_path / "worst.png") as picture:
        assert picture.size[0] > 800
        colors = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    assert (np.abs(colors.astype(int) - (0xC8, 0x45, 0x2B)).sum(axis=1) < 12).any(), "no disagreement in red"
