"""No picture is in two parts; what made the groups is told, recorded, and looked for once."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeosr.bundle.groups import GroupsRecord, packed_groups, unpacked_groups
from edgeosr.data import grouping
from edgeosr.data.catalogue import open_image_set
from edgeosr.data.class_folds import fold_parts
from edgeosr.data.grouping import grouped, grouped_as_recorded
from edgeosr.data.parts import Parts, four_parts
from edgeosr.data.recorded import data_record, reopen_parts
from edgeosr.errors import DataError

Make = Callable[..., Path]


def picture(number: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (12, 12, 3), np.uint8))


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return a function that writes pictures by their numbers: {"a/1.png": 7}."""

    def write(files: dict[str, int], root: str = "photos") -> Path:
        for name, number in files.items():
            path = tmp_path / root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(number).save(path)
        return tmp_path / root

    return write


def copies(each: int = 8, times: int = 5) -> dict[str, int]:
    """``each`` pictures of two classes, each ``times`` times."""
    return {
        f"{name}/{i} ({j}).png": 100 * k + i
        for k, name in enumerate("ab")
        for i in range(each)
        for j in range(times)
    }


def pixels_by_part(parts: Parts) -> dict[str, set[bytes]]:
    sides = {"train": parts.train, "select": parts.select, "calibrate": parts.calibrate, "test": parts.test}
    return {name: {side.read(i).tobytes() for i in range(len(side))} for name, side in sides.items()}


def test_copies_stay_in_one_part_and_count_as_one(make: Make) -> None:
    parts = four_parts(open_image_set(str(make(copies()))))
    pixels = pixels_by_part(parts)
    assert sum(map(len, pixels.values())) == len(set.union(*pixels.values())) == 16
    assert {name: groups for name, (_, groups) in parts.sizes.items()} == {
        k: len(v) for k, v in pixels.items()
    }
    assert parts.grouping.described() == "80 images in 16 groups: 64 copies"


def test_copies_and_bursts_add_up(make: Make) -> None:
    files = copies(each=6, times=2)
    files |= {
        f"a/IMG_20240101_12{minute:02d}{second:02d}.png": 900 + 10 * minute + second
        for minute in range(5)
        for second in range(4)
    }
    found = grouped(open_image_set(str(make(files)))).grouping
    assert (found.images, found.groups, found.copies, found.bursts) == (44, 17, 12, 15)
    assert found.described() == "44 images in 17 groups: 12 copies, 15 in bursts"


def test_the_time_and_the_camera_of_a_picture_are_read_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for i, (second, camera) in enumerate(
        [(0, "one"), (2, "one"), (2, "two"), (20, "one"), (22, "one"), (None, "")]
    ):
        exif = Image.Exif()
        if second is not None:
            exif[272] = camera  # Model
            exif.get_ifd(0x8769)[36867] = f"2024:01:31 12:00:{second:02d}"  # DateTimeOriginal
        picture(i).save(tmp_path / "a" / f"{i}.jpg", exif=exif)
    found = grouped(open_image_set(str(tmp_path)))
    assert found.train.groups.tolist() == [0, 0, 2, 3, 3, 5]
    assert found.grouping.described() == "6 images in 4 groups: 2 in bursts"


def test_a_set_without_copies_says_so(make: Make) -> None:
    found = grouped(
        open_image_set(
            str(make({f"{name}/{i}.png": 50 * k + i for k, name in enumerate("ab") for i in range(5)}))
        )
    )
    assert found.grouping.described() == "10 images, each a group of its own: no copies, no bursts"
    assert not found.train.mixed.any()


def test_a_picture_in_two_classes_is_told_and_stays_in_one_part_of_every_fold(make: Make, capsys) -> None:
    files = {f"{name}/{i}.png": 50 * k + i for k, name in enumerate("abc") for i in range(20)}
    files |= {f"b/like-a-{i}.png": i for i in range(6)} | {"c/like-a.png": 0}
    image_set = grouped(open_image_set(str(make(files))))
    assert image_set.grouping.mixed == 6
    assert "13 images are in groups that hold several classes, for example a/0.png and b/like-a-0.png" in (
        capsys.readouterr().err
    )
    for seed in range(6):
        parts = four_parts(image_set, seed=seed)
        pixels = pixels_by_part(parts)
        assert sum(map(len, pixels.values())) == len(set.union(*pixels.values())) == 60
        for kept in (("a", "b"), ("a", "c"), ("b", "c")):
            fold_parts(image_set, parts, kept)


def test_groups_that_hold_every_class_are_cut_like_a_class_of_their_own(make: Make) -> None:
    root = make({f"{name}/scene{i}_{name}.png": 50 * k + i for k, name in enumerate("ab") for i in range(20)})
    image_set = grouped(open_image_set(str(root)), r"(scene\d+)_")
    assert image_set.grouping.described() == (r"40 images in 20 groups, as --groups (scene\d+)_ says")
    parts = four_parts(image_set)
    assert (
        parts.sizes == {"train": (26, 13), "select": (4, 2), "calibrate": (4, 2), "test": (6, 3)}
        or sum(groups for _, groups in parts.sizes.values()) == 20
    )
    for side in (parts.train, parts.select, parts.calibrate, parts.test):
        assert len(side) == 2 * len(np.unique(side.groups))


def test_too_few_groups_are_told_with_what_joined_them(make: Make) -> None:
    root = make(copies(each=3))
    with pytest.raises(
        DataError, match=r"has 3 separate images .*30 images in 6 groups: 24 copies.*--groups"
    ):
        four_parts(open_image_set(str(root)))
    assert four_parts(grouped(open_image_set(str(root)), "none")).sizes["train"][1] > 3


def test_what_the_user_says_goes_before_all_else(make: Make, tmp_path: Path) -> None:
    root = make(copies())
    listed = tmp_path / "groups.csv"
    listed.write_text("".join(f"a/{i} ({j}).png,{j}\n" for i in range(8) for j in range(5)))
    image_set = grouped(open_image_set(str(root)), str(listed))
    assert image_set.grouping.groups == 5 + 40
    assert image_set.grouping.described().endswith("(40 that it does not name are groups of their own)")


def test_tracks_of_the_set_are_taken_without_a_look(monkeypatch: pytest.MonkeyPatch, make: Make) -> None:
    image_set = open_image_set(str(make(copies())))
    tracks = replace(image_set, train=replace(image_set.train, groups=np.arange(80) // 8))
    monkeypatch.setattr(grouping, "fingerprints", None)
    assert (
        grouped(tracks).grouping.described() == "80 images in 10 groups: the tracks that the set comes with"
    )
    assert len(np.unique(four_parts(tracks).train.groups)) == four_parts(tracks).sizes["train"][1]


def test_pictures_are_looked_at_once_until_a_file_changes(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    look = grouping.fingerprints
    monkeypatch.setattr(
        grouping, "fingerprints", lambda images, text: (looked.append(len(images)), look(images, text))[1]
    )
    root = make(copies(each=6, times=1))
    first = four_parts(open_image_set(str(root)))
    again = reopen_parts(data_record(first.record(str(root), "x").as_json(), "run.json"))[1]
    assert four_parts(open_image_set(str(root))).digests == first.digests == again.digests
    assert looked == [12]
    picture(1).save(root / "a" / "0 (0).png", compress_level=0)
    assert four_parts(open_image_set(str(root))).grouping.groups == 11
    assert looked == [12, 12]


def test_copies_in_an_official_test_folder_are_counted(make: Make) -> None:
    files = {f"train/{name}/{i}.png": 50 * k + i for k, name in enumerate("ab") for i in range(8)}
    files |= {f"test/{name}/{i}.png": 50 * k + i + 6 for k, name in enumerate("ab") for i in range(8)}
    found = grouped(open_image_set(str(make(files))))
    assert found.grouping.test_copies == 4
    assert "4 official test images are copies of these" in found.grouping.described()
    record = data_record(four_parts(found).record("x", "x").as_json(), "run.json").groups
    assert grouped_as_recorded(open_image_set(found.source), record).test.groups.tolist() == list(range(16))


def test_a_record_from_before_there_were_groups_opens_the_same_parts(make: Make) -> None:
    root = str(make(copies()))
    image_set = open_image_set(root)
    before = four_parts(grouping.as_it_comes(image_set))
    values = before.record(root, "photos").as_json()
    del values["groups"]
    record = data_record(json.loads(json.dumps(values)), "run.json")
    assert record.groups is None and record.as_json() == values
    parts = reopen_parts(record)[1]
    assert parts.digests == before.digests and parts.grouping.rule == grouping.BEFORE
    assert parts.sizes["calibrate"][0] == parts.sizes["calibrate"][1]


def test_a_record_of_other_images_is_refused(make: Make) -> None:
    root = make(copies())
    record = data_record(four_parts(open_image_set(str(root))).record(str(root), "x").as_json(), "run.json")
    buffer = io.BytesIO()
    picture(999).save(buffer, "PNG")
    (root / "a" / "new.png").write_bytes(buffer.getvalue())
    with pytest.raises(DataError, match="have changed since the run was trained: it was cut from 80 images"):
        reopen_parts(record)


@pytest.mark.parametrize("count", [0, 1, 5, 5000])
def test_groups_are_packed_and_read_back(count: int) -> None:
    groups = np.random.default_rng(count).integers(0, count // 2 + 1, count)
    pieces = packed_groups(groups)
    assert all(len(piece) <= 4096 for piece in pieces)
    found = unpacked_groups(pieces, count)
    assert (found <= np.arange(count)).all()
    assert (np.equal.outer(found, found) == np.equal.outer(groups, groups)).all()


@pytest.mark.parametrize(
    "pieces",
    [
        ("",),
        ("x",),
        ("AAAA",),
        packed_groups(np.arange(4)),
        packed_groups(np.arange(6)),
        tuple(packed_groups(np.arange(5))[0][:-8]),
    ],
)
def test_damaged_groups_are_refused(pieces: tuple[str, ...]) -> None:
    with pytest.raises(ValueError):
        unpacked_groups(pieces, 5)
    record = GroupsRecord(source="content", images=5, groups=5, train_ids=pieces).as_json()
    data = {"source": "x", "title": "x", "known": ["a", "b"], "unknown": [], "split": None, "seed": 0}
    data |= {
        "fractions": [0.8, 0.1, 0.1],
        "per_group": None,
        "test_fraction": 0.2,
        "digests": {},
        "sizes": {},
    }
    with pytest.raises(DataError, match="train_ids"):
        data_record({**data, "groups": record}, "run.json")
