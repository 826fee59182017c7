"""Zips that two readers could take for different ones: Python's reader and the library's refuse every one."""

import binascii
import io
import struct

import numpy as np


def npy(array):
    """Return an array as a ``.npy`` file."""
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array), version=(1, 0))
    return file.getvalue()


def with_header(content, old, new):
    """Return a ``.npy`` file whose header says something else, padded as NumPy pads it."""
    (length,) = struct.unpack_from("<H", content, 8)
    header = content[10 : 10 + length]
    assert old in header
    text = header.replace(old, new).rstrip()
    text += b" " * (-(10 + len(text) + 1) % 64) + b"\n"
    return content[:8] + struct.pack("<H", len(text)) + text + content[10 + length :]


def local(name, content, extra=b""):
    """Return an entry as it lies in a zip."""
    sizes = (binascii.crc32(content), len(content), len(content), len(name), len(extra))
    return struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 33, *sizes) + name + extra + content


def listed(name, content, offset, *, version=20, extra=b"", comment=b""):
    """Return an entry's line of the directory."""
    sizes = (binascii.crc32(content), len(content), len(content), len(name), len(extra), len(comment))
    begin = struct.pack("<4s4B4H", b"PK\1\2", 20, 3, version, 0, 0, 0, 0, 33)
    return begin + struct.pack("<3I5H2I", *sizes, 0, 0, 0, offset) + name + extra + comment


def ended(body, directory, count):
    """Return a zip of entries, their directory and the record at its end."""
    numbers = (0, 0, count, count, len(directory), len(body), 0)
    return body + directory + struct.pack("<4s4H2IH", b"PK\5\6", *numbers)


def zipped(entries, *, behind=b"", **line):
    """Return a zip of ``entries``, names and contents; ``line``: of each line of the directory, by name."""
    body, directory = b"", b""
    for name, content in entries.items():
        of_this = {what: given[name] for what, given in line.items() if name in given}
        directory += listed(name, content, len(body), **of_this)
        body += local(name, content)
    return ended(body, directory + behind, len(entries))


def other_name(name, new):
    """Return the extra field that gives an entry another name."""
    return struct.pack("<HHBI", 0x7075, 5 + len(new), 1, binascii.crc32(name)) + new


def with_two_directories(one, other):
    """Return a zip that readers of zip64 take for ``other``, and others for ``one``."""
    body, places = b"", []
    for entries in (one, other):
        for name, content in entries.items():
            places.append(len(body))
            body += local(name, content)
    place = iter(places)
    lines = [listed(name, content, next(place)) for name, content in one.items()]
    *_, (last, content) = one.items()
    lines[-1] = listed(last, content, places[len(one) - 1], comment=bytes(76))
    visible = len(b"".join(lines))
    hidden = [listed(name, content, next(place)) for name, content in other.items()]
    # The hidden directory's last comment is the whole visible one, up to the records in its last comment.
    *_, (end_name, end_content) = other.items()
    hidden[-1] = listed(end_name, end_content, places[-1], comment=bytes(visible - 76))
    hidden_bytes = b"".join(hidden)
    size, start = len(hidden_bytes), len(body)
    records = struct.pack(
        "<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, len(other), len(other), size, start
    ) + struct.pack("<4sLQL", b"PK\6\7", 0, 0, 1)
    lines[-1] = listed(last, content, places[len(one) - 1], comment=records)
    return ended(body + hidden_bytes[: size - (visible - 76)], b"".join(lines), len(one))


def overlapping():
    """Return a zip of an array whose bytes are another entry, which a local extra field moves apart."""
    inner = local(b"b.npy", npy(np.float32(2)))
    outer = npy(np.frombuffer(inner, np.uint8))
    extra = bytes(len(outer))
    begin = 30 + len(b"a.npy") + len(extra) + len(outer) - len(inner)
    lines = listed(b"a.npy", outer, 0) + listed(b"b.npy", npy(np.float32(2)), begin)
    return ended(local(b"a.npy", outer, extra), lines, 2)


def good():
    """Return names and contents of a zip that is read."""
    a, b = np.arange(5, dtype=np.float32), np.arange(5, 10, dtype=np.float32)
    return {b"a.npy": npy(a), b"b.npy": npy(b)}


def hostile():
    """Return every document by what is wrong with it."""
    entries = good()
    a, b = entries.values()
    short = struct.pack("<HH", 1, 4) + b"abcd"
    return {
        "two directories": with_two_directories(entries, {b"a.npy": b, b"b.npy": a}),
        "names in extra fields": zipped(
            entries,
            extra={b"a.npy": other_name(b"a.npy", b"b.npy"), b"b.npy": other_name(b"b.npy", b"a.npy")},
        ),
        "an extra field that is too long": zipped(entries, extra={b"a.npy": b"\x34\x12\xff\x00"}),
        "an extra field of zip64 that is too short": zipped(entries, extra={b"b.npy": short}),
        "an extra field of nothing": zipped(entries, extra={b"b.npy": struct.pack("<HH", 0x9999, 0)}),
        "a comment": zipped(entries, comment={b"b.npy": b"made by nobody"}),
        "for a reader of version 25.5": zipped(entries, version={b"a.npy": 255}),
        "a byte before its end": zipped(entries, behind=b"\0"),
        "bytes before its beginning": b"#!" + zipped(entries),
        "overlapping entries": overlapping(),
        "a name with a NUL": zipped({**entries, b"c\0d.npy": a}),
        "a name of no letters": zipped({**entries, b".npy": a}),
        "a name that is not ASCII": zipped({**entries, b"\xe9.npy": a}),
        "a name with DEL": zipped({**entries, b"c\x7f.npy": a}),
        "a number for a shape": zipped({**entries, b"a.npy": with_header(a, b"(5,)", b"(5)")}),
        "a length that begins with 0": zipped({**entries, b"a.npy": with_header(a, b"(5,)", b"(05,)")}),
    }
