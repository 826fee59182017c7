"""Bursts by time stamps and clips by numbered names come together; single pictures do not."""

import numpy as np
import pytest

from edgeosr.data.bursts import burst_groups, numbered_prefix


def groups_of(names: list[str], taken: dict[int, str] | None = None, cameras: dict[int, str] | None = None):
    classes = sorted({name.split("/")[0] for name in names})
    labels = np.array([classes.index(name.split("/")[0]) for name in names])
    texts = [[(given or {}).get(i, "") for i in range(len(names))] for given in (taken, cameras)]
    return burst_groups(names, labels, *texts).tolist()


def sizes(found: list[int]) -> list[int]:
    return sorted(np.unique(found, return_counts=True)[1].tolist())


@pytest.mark.parametrize(
    "form",
    [
        "IMG_20240131_1200{:02d}.jpg",
        "PXL_20240131_1200{:02d}123.jpg",
        "2024-01-31-12-00-{:02d}.png",
        "2024-01-31 12.00.{:02d}.png",
        "2024-01-31T12:00:{:02d}Z.png",
        "cam3 2024_01_31_12_00_{:02d}.png",
        "202401311200{:02d}.png",
        "WhatsApp Image 2024-01-31 at 12.00.{:02d}.jpeg",
        "Screenshot_20240131-1200{:02d}_app.png",
    ],
)
def test_time_stamps_in_names_make_bursts(form: str) -> None:
    names = [f"a/{form.format(second)}" for second in (0, 1, 4, 8, 30, 33)]
    # At most three seconds after the one before: 0 1 4 | 8 | 30 33.
    assert sizes(groups_of(names)) == [1, 2, 3]
    assert len({groups_of(names)[i] for i in (0, 1, 2)}) == 1


def test_the_time_in_the_file_goes_before_the_name_and_each_camera_has_its_own_bursts() -> None:
    names = ["a/1.jpg", "a/2.jpg", "a/3.jpg", "a/IMG_20200101_000000.jpg", "a/5.jpg"]
    taken = {i: f"2024:01:31 12:00:0{i}" for i in range(5)}
    assert sizes(groups_of(names, taken)) == [5]
    assert sizes(groups_of(names, taken, {0: "one", 1: "two", 2: "one", 3: "two", 4: "one"})) == [2, 3]
    assert sizes(groups_of(names, {0: "0000:00:00 00:00:00", 1: "not known"})) == [1] * 5


def test_bursts_stay_within_a_class_a_folder_and_a_name() -> None:
    names = ["a/x/IMG_20240131_120000.jpg", "a/y/IMG_20240131_120001.jpg", "b/x/IMG_20240131_120001.jpg"]
    assert groups_of([*names, "a/x/DSC_20240131_120001.jpg"]) == [0, 1, 2, 3]


def test_bursts_are_told_by_time_and_not_by_the_order_of_names() -> None:
    names = ["a/IMG_20240131_120002.jpg", "a/IMG_20240131_110000.jpg", "a/IMG_20240131_120000.jpg"]
    found = groups_of(names)
    assert found[0] == found[2] != found[1]


def test_clips_come_together_where_a_class_has_three() -> None:
    clips = [f"a/clip{clip}_{frame:04d}.jpg" for clip in (1, 2, 3) for frame in range(5)]
    assert groups_of(clips) == [0] * 5 + [5] * 5 + [10] * 5
    assert groups_of(clips[:10]) == list(range(10))
    frames = [f"a/video{clip}-frame_{frame:05d}.png" for clip in (1, 2, 3) for frame in range(2)]
    assert groups_of(frames) == [0, 0, 2, 2, 4, 4]
    # Another class with two clips of the same names is not joined to them, nor by them.
    assert groups_of([*clips, "b/clip1_0001.jpg", "b/clip1_0002.jpg"])[15:] == [15, 16]


@pytest.mark.parametrize(
    "names",
    [
        [f"a/{i:04d}.png" for i in range(9)],
        [f"{name}/{name}_{i}.jpg" for name in ("crazing", "patches", "scratches") for i in range(5)],
        [f"a/{camera}{i:04d}.jpg" for camera in ("IMG_", "DSC", "P", "photo_") for i in range(5)],
        [f"a/{part}_{i:03d}.jpg" for part in ("train", "val", "test") for i in range(5)],
        [f"a/{part}2017_{i:012d}.jpg" for part in ("train", "val", "test") for i in range(5)],
        [f"a/{year}_{i:06d}.jpg" for year in (2007, 2008, 2009, 2010) for i in range(5)],
        [f"a/{word}.jpg" for word in ("one", "two", "three", "four")],
        [f"digits[{i}]" for i in range(9)],
        [f"a/9{i}240131{i:06d}.jpg" for i in range(9)],
    ],
)
def test_numbers_that_say_nothing_make_no_group(names: list[str]) -> None:
    assert groups_of(names) == list(range(len(names)))


def test_augmented_copies_come_together_by_their_source() -> None:
    names = [
        f"a/{name}_jpg.rf.{digits * 4}.jpg"
        for name in ("cat-1", "cat-2")
        for digits in ("0a1b2c3d", "ffee0011")
    ]
    assert groups_of(names) == [0, 0, 2, 2]


@pytest.mark.parametrize(
    ("stem", "prefix"),
    [
        ("clip1_0001", "clip1"),
        ("video3-frame_00012", "video3"),
        ("003_0001", "003"),
        ("cat0001", "cat"),
        ("test_clip1_0001", "test_clip1"),
        ("1_0001", "1"),
        ("2008_000123", ""),
        ("Val-2017_000123", ""),
        ("0001", ""),
        ("frame_0001", ""),
        ("IMG_0001", ""),
        ("0000 (3)", ""),
        ("no number", ""),
    ],
)
def test_a_prefix_is_what_stands_before_the_number(stem: str, prefix: str) -> None:
    assert numbered_prefix(stem) == prefix
