"""Four disjoint parts: groups whole, classes in all, the same for ever."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeosr.data.catalogue import open_image_set
from edgeosr.data.folder import read_folder
from edgeosr.data.labelled_images import ImageSet, LabelledImages
from edgeosr.data.parts import four_parts
from edgeosr.data.recorded import data_record, reopen_parts
from edgeosr.errors import DataError, UsageError

Write = Callable[..., Path]


def tracks(sizes: dict[str, list[int]], prefix: str = "train") -> LabelledImages:
    """Return images of classes whose groups have these sizes; pixels hold the image's number."""
    names = tuple(sizes)
    groups = [g for sizes_of_class in sizes.values() for g in sizes_of_class]
    labels = [i for i, name in enumerate(names) for size in sizes[name] for _ in range(size)]
    return LabelledImages(
        class_names=names,
        labels=np.array(labels, np.int64),
        groups=np.repeat(np.arange(len(groups)), groups),
        read=lambda i: np.full((2, 2, 3), i, np.uint8),
        name_of=lambda i: f"{prefix}[{i}]",
    )


def image_set(train: LabelledImages, test: LabelledImages | None = None, **more: object) -> ImageSet:
    return ImageSet(source="made", title="made here", train=train, test=test, **more)


SIZES = {"ant": [30] * 20, "bee": [7] * 25, "cow": [1] * 40, "dog": [3] * 12}


def names(images: LabelledImages) -> list[str]:
    return [images.name_of(i) for i in range(len(images))]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("official_test", [True, False])
def test_groups_never_straddle_and_every_image_is_in_one_part(seed: int, official_test: bool) -> None:
    train = tracks(SIZES)
    test = tracks({name: [1] * 5 for name in SIZES}, "test") if official_test else None
    parts = four_parts(image_set(train, test), known=["dog", "ant", "bee"], seed=seed)
    cut = [parts.train, parts.select, parts.calibrate] + ([] if official_test else [parts.test])
    seen = [set(part.groups.tolist()) for part in cut]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 20 + 25 + 12
    all_names = [name for part in cut for name in names(part)]
    assert len(all_names) == len(set(all_names)) == 600 + 175 + 36
    for part in (*cut, parts.test):
        assert set(part.labels.tolist()) == {0, 1, 2}
        assert part.class_names == ("dog", "ant", "bee")


def test_labels_follow_the_order_of_the_known_names() -> None:
    parts = four_parts(image_set(tracks(SIZES)), known=["cow", "ant"])
    by_name = {f"train[{i}]": name for i, name in enumerate(np.repeat(list(SIZES), [600, 175, 40, 36]))}
    for part in (parts.train, parts.select, parts.calibrate, parts.test):
        assert [by_name[name] for name in names(part)] == [parts.known[label] for label in part.labels]
    assert parts.unknown == ("bee", "dog")
    assert {by_name[name] for name in names(parts.unknown_test)} == {"bee", "dog"}
    assert [by_name[n] for n in names(parts.unknown_test)] == [
        parts.unknown[i] for i in parts.unknown_test.labels
    ]


def test_sizes_follow_the_fractions() -> None:
    sizes = {"a": [1] * 1000, "b": [2] * 500}
    parts = four_parts(image_set(tracks(sizes)), fractions=(0.7, 0.1, 0.2), test_fraction=0.25)
    assert parts.sizes == {
        "train": (525 + 2 * 262, 525 + 262),
        "select": (75 + 2 * 38, 75 + 38),
        "calibrate": (150 + 2 * 75, 150 + 75),
        "test": (250 + 2 * 125, 250 + 125),
    }
    assert parts.unknown_test is None
    assert parts.unknown == ()


def test_the_official_test_is_kept_whole() -> None:
    test = tracks({"ant": [1] * 3, "bee": [1] * 4, "cow": [1] * 2, "dog": []}, "test")
    parts = four_parts(image_set(tracks(SIZES), test), known=["bee", "ant"])
    assert names(parts.test) == [f"test[{i}]" for i in range(7)]
    assert parts.test.labels.tolist() == [1, 1, 1, 0, 0, 0, 0]
    assert names(parts.unknown_test) == ["test[7]", "test[8]"]


def test_a_class_is_cut_alike_whatever_the_other_classes_are() -> None:
    few = four_parts(image_set(tracks(SIZES)), known=["ant", "bee"])
    more = four_parts(image_set(tracks(SIZES)), known=["cow", "bee", "dog"])
    bees = {f"train[{i}]" for i in range(600, 775)}
    for part in ("train", "select", "calibrate", "test"):
        assert set(names(getattr(few, part))) & bees == set(names(getattr(more, part))) & bees


def test_another_seed_cuts_differently_and_the_same_seed_alike() -> None:
    first, again, other = (four_parts(image_set(tracks(SIZES)), seed=seed) for seed in (3, 3, 4))
    assert first.digests == again.digests
    assert all(
        first.digests[part] != other.digests[part] for part in ("train", "select", "calibrate", "test")
    )


def test_parts_do_not_depend_on_where_and_in_which_order_files_were_written(
    write_folder: Write, tmp_path: Path
) -> None:
    counts = {"ant": 9, "bee": 12, "cow": 8}
    first = write_folder(counts, tmp_path / "first")
    second = write_folder(counts, tmp_path / "b" / "second", backwards=True)
    digests = [
        four_parts(image_set(*read_folder(root)), known=["ant", "bee"]).digests for root in (first, second)
    ]
    assert digests[0] == digests[1]
    assert set(digests[0]) == {"train", "select", "calibrate", "test", "unknown_test"}


@pytest.mark.parametrize("split", [None, 4])
def test_the_record_of_parts_reads_back_and_opens_them_again(
    write_folder: Write, tmp_path: Path, split: int | None
) -> None:
    folder = str(write_folder({"ant": 9, "bee": 12, "cow": 8}, tmp_path / "images"))
    parts = four_parts(open_image_set(folder), known=["ant", "bee"], seed=3, per_group=2)
    record = parts.record(folder, "insects", split)
    assert (record.source, record.title, record.split) == (folder, "insects", split)
    assert data_record(record.as_json(), "run.json") == record
    assert reopen_parts(record)[1].record(folder, "insects", split) == record


def test_digests_of_the_bundled_digits_stay_what_they_were() -> None:
    # A change here means that old runs can no longer find their parts: make it on purpose or not at all.
    digests = four_parts(open_image_set("digits"), split=0).digests
    assert {part: value[:12] for part, value in digests.items()} == {
        "train": "e34a598beaaf",
        "select": "b41f3d808530",
        "calibrate": "24c893b945e3",
        "test": "a86f44d4f423",
        "unknown_test": "e99cb420f855",
    }


def test_the_order_in_a_set_of_equal_names_does_not_move_groups() -> None:
    train = tracks({"a": [4] * 9, "b": [4] * 9})
    shuffled = train.subset(np.random.default_rng(0).permutation(len(train)))
    # Only whole groups are moved: the first image names the group.
    order = np.concatenate(
        [np.flatnonzero(train.groups == g) for g in dict.fromkeys(shuffled.groups.tolist())]
    )
    moved = four_parts(image_set(train.subset(order)))
    kept = four_parts(image_set(train))
    for part in ("train", "select", "calibrate", "test"):
        assert set(names(getattr(moved, part))) == set(names(getattr(kept, part)))


@pytest.mark.parametrize(
    ("per_group", "kept"), [(1, [0]), (2, [0, 29]), (3, [0, 15, 29]), (5, [0, 7, 15, 22, 29])]
)
def test_groups_are_thinned_evenly(per_group: int, kept: list[int]) -> None:
    train = tracks({"a": [30] * 5, "b": [30] * 5})
    parts = four_parts(image_set(train), per_group=per_group)
    numbers = sorted(
        int(name[6:-1]) for p in (parts.train, parts.select, parts.calibrate, parts.test) for name in names(p)
    )
    assert numbers == [30 * group + i for group in range(10) for i in kept]
    whole = four_parts(image_set(train), per_group=30)
    assert whole.digests == four_parts(image_set(train)).digests


def test_thinning_leaves_the_official_test_alone_and_thins_unknown_tracks_without_one() -> None:
    train = tracks({"a": [10] * 4, "b": [10] * 4, "c": [10] * 4})
    parts = four_parts(
        image_set(train, tracks({"a": [4], "b": [4], "c": [6]}, "test")), known=["a", "b"], per_group=2
    )
    assert parts.sizes["test"] == (8, 2)
    assert parts.sizes["unknown_test"] == (6, 1)
    parts = four_parts(image_set(train), known=["a", "b"], per_group=2)
    assert parts.sizes["unknown_test"] == (8, 4)


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_a_class_too_small_for_four_parts_is_refused(groups: int) -> None:
    train = tracks({"big": [1] * 50, "small": [9] * groups})
    with pytest.raises(DataError, match=rf"'small' of made here has {groups} .* at least 4 are needed"):
        four_parts(image_set(train))


def test_the_smallest_class_gives_one_group_to_every_part() -> None:
    parts = four_parts(image_set(tracks({"a": [2] * 4, "b": [1] * 4})))
    assert {name: size for name, size in parts.sizes.items()} == {
        name: (3, 2) for name in ("train", "select", "calibrate", "test")
    }


def test_with_an_official_test_three_groups_a_class_are_enough() -> None:
    train, test = tracks({"a": [1] * 3, "b": [1] * 3}), tracks({"a": [1], "b": [1]}, "test")
    assert four_parts(image_set(train, test)).sizes["calibrate"] == (2, 2)


def test_one_class_is_refused() -> None:
    with pytest.raises(DataError, match="at least 2 known classes"):
        four_parts(image_set(tracks({"only": [1] * 50})))
    with pytest.raises(DataError, match="at least 2 known classes"):
        four_parts(image_set(tracks(SIZES)), known=["ant"])


def test_a_known_class_called_like_the_verdict_is_refused() -> None:
    sizes = {**SIZES, "unknown": [1] * 50}
    with pytest.raises(DataError, match="cannot be called 'unknown'"):
        four_parts(image_set(tracks(sizes)))
    assert four_parts(image_set(tracks(sizes)), known=["ant", "bee"]).unknown[-1] == "unknown"


@pytest.mark.parametrize("name", ["Unknown", " unknown ", "un\u200bknown", "\uff55nknown", "UNKNOWN\ufeff"])
def test_a_known_class_that_reads_like_the_verdict_is_refused_too(name: str) -> None:
    with pytest.raises(DataError, match="cannot be called"):
        four_parts(image_set(tracks({**SIZES, name: [1] * 50})))


def test_a_class_that_is_not_there_is_refused_with_near_names() -> None:
    with pytest.raises(DataError, match=r"no class 'anr'; did you mean 'ant'\?"):
        four_parts(image_set(tracks(SIZES)), known=["anr", "bee"])
    with pytest.raises(UsageError, match="'ant' is named twice"):
        four_parts(image_set(tracks(SIZES)), known=["ant", "bee", "ant"])


def test_a_class_missing_from_train_or_test_is_named(write_folder: Write) -> None:
    root = write_folder({"train/ant": 5, "train/bees": 5, "test/ant": 2, "test/bee": 2})
    made = image_set(*read_folder(root))
    with pytest.raises(
        DataError, match=r"'bee' is missing from the training images .* did you mean 'bees'\?"
    ):
        four_parts(made)
    with pytest.raises(DataError, match=r"'bees' is missing from the test images .* did you mean 'bee'\?"):
        four_parts(made, known=["ant", "bees"])


def test_splits_by_number() -> None:
    made = image_set(tracks(SIZES), splits=(("bee", "ant"), ("cow", "dog")))
    assert four_parts(made, split=1).known == ("cow", "dog")
    for split in (-1, 2):
        with pytest.raises(UsageError, match=r"0\.\.1"):
            four_parts(made, split=split)
    with pytest.raises(UsageError, match="not both"):
        four_parts(made, split=1, known=["ant", "bee"])
    with pytest.raises(UsageError, match="no numbered splits"):
        four_parts(image_set(tracks(SIZES)), split=0)


@pytest.mark.parametrize(
    "settings",
    [
        {"seed": 1.5},
        {"fractions": (0.8, 0.1, 0.2)},
        {"fractions": (0.9, 0.1, 0.0)},
        {"fractions": (0.9, 0.1)},
        {"test_fraction": 0.0},
        {"test_fraction": 1.0},
        {"per_group": 0},
        {"known": []},
    ],
)
def test_settings_that_cannot_be_used_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises((UsageError, DataError)):
        four_parts(image_set(tracks(SIZES)), **settings)
