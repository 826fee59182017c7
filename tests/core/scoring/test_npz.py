"""Arrays of a file that nobody vouches for: what is read, and what is refused before it is unpacked."""

import io
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgeosr.scoring.npz import NpzError, npz_arrays

sys.path.insert(0, str(Path(__file__).parent))  # the documents are the library's too: tests/native

from hostile_npz import good, hostile, zipped

LARGEST = 1 << 20
FEW = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(7), "none": np.empty((0, 4))}


def npy(array):
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array), allow_pickle=True)
    return file.getvalue()


def archive(*entries, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as made:
        for name, content in entries:
            made.writestr(name, content)
    return buffer.getvalue()


def with_one_body_for_all(count):
    """A zip whose directory lists ``count`` entries, all of which lie at the first one's place."""
    body = npy(np.zeros(1000, np.uint8))
    data = archive(("0000.npy", body))
    start, size = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06") - data.index(b"PK\x01\x02")
    entry = data[start : start + size]
    directory = b"".join(entry.replace(b"0000.npy", b"%04d.npy" % i) for i in range(count))
    local = data[:start]
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(directory), len(local), 0)
    return local + directory + end


def test_what_numpy_saved_is_read_as_numpy_reads_it():
    file = io.BytesIO()
    saved = {**FEW, "by_columns": np.arange(6, dtype=np.int16).reshape(2, 3, order="F")}
    np.savez(file, **saved)
    found = npz_arrays(file.getvalue(), largest=LARGEST)
    assert list(found) == list(saved)
    for name, array in saved.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_compressed_entries_are_refused():
    file = io.BytesIO()
    np.savez_compressed(file, **FEW)
    with pytest.raises(NpzError, match="'a' is compressed"):
        npz_arrays(file.getvalue(), largest=LARGEST)


def test_a_name_that_is_there_twice_is_refused():
    with pytest.warns(UserWarning, match="Duplicate"):
        data = archive(("a.npy", npy(1)), ("a.npy", npy(2)))
    with pytest.raises(NpzError, match="'a' is there twice"):
        npz_arrays(data, largest=LARGEST)


def test_entries_that_share_one_body_are_refused():
    assert len(npz_arrays(with_one_body_for_all(1), largest=LARGEST)) == 1
    with pytest.raises(NpzError, match="overlap"):
        npz_arrays(with_one_body_for_all(200), largest=LARGEST)


def test_a_file_above_the_limit_is_refused_unread(monkeypatch):
    data = archive(("a.npy", npy(np.zeros(LARGEST, np.uint8))))
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(NpzError, match="more than 1048576"):
        npz_arrays(data, largest=LARGEST)


@pytest.mark.parametrize("document", hostile().values(), ids=hostile())
def test_what_two_readers_could_take_for_different_things_is_refused(document):
    assert list(npz_arrays(zipped(good()), largest=LARGEST)) == ["a", "b"]
    with pytest.raises(NpzError):
        npz_arrays(document, largest=LARGEST)


def test_many_entries_and_long_names_are_refused():
    with pytest.raises(NpzError, match="513 entries"):
        npz_arrays(archive(*((f"{i}.npy", npy(1)) for i in range(513))), largest=LARGEST)
    with pytest.raises(NpzError, match="204 letters"):
        npz_arrays(archive(("a" * 200 + ".npy", npy(1))), largest=LARGEST)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (("a.npy", npy(np.array([{}], object))), "type object"),
        (("a.txt", b"words"), r"'a\.txt' is not an array"),
        (("a.npy", b"words"), "magic string"),
        (("a.npy", npy(1) + b"more"), "has 12 bytes"),
        (("a.npy", npy(np.zeros(9))[:-1]), "has 71 bytes"),
        (("a.npy", npy(np.zeros(9)).replace(b"(9,), }     ", b"(1 << 60,), }")), "malformed"),
        (("a.npy", npy(np.zeros(9)).replace(b"(9,), }" + b" " * 15, b"(%d,), }" % 10**15)), "has 72 bytes"),
        (("a.npy", npy(np.zeros(9)).replace(b"(9,), }", b"(9     ")), "multi-line"),
        (("a.npy", npy(np.zeros(9)).replace(b"(9,), } ", b"(-9,), }")), "has 72 bytes"),
        (("a.npy", npy(np.zeros(2, [("x", "f4")]))), "numbers alone"),
    ],
)
def test_an_entry_that_is_no_plain_array_is_refused(entry, said):
    with pytest.raises(NpzError, match=said):
        npz_arrays(archive(entry), largest=LARGEST)


def test_random_damage_is_refused_or_harmless_and_never_anything_else():
    file = io.BytesIO()
    np.savez(file, **FEW, noise=np.random.default_rng(0).random(200))
    data, random, refused = file.getvalue(), np.random.default_rng(1), 0
    for _ in range(500):
        damaged = bytearray(data)
        for place in random.integers(0, len(data), 3):
            damaged[place] = random.integers(0, 256)
        try:
            npz_arrays(bytes(damaged), largest=LARGEST)
        except NpzError:
            refused += 1
    assert refused > 250
