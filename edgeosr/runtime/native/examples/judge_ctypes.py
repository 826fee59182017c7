"""Any language with a foreign function interface can call libedgeosr; here Python by ctypes alone.

python judge_ctypes.py LIBEDGEOSR.so BUNDLE.edgeosr HEIGHT WIDTH < frame.rgb
"""

import ctypes
import sys


class Frame(ctypes.Structure):
    """``edgeosr_frame``."""

    _fields_ = (
        ("struct_bytes", ctypes.c_size_t),
        ("format", ctypes.c_int32),
        ("height_px", ctypes.c_int32),
        ("width_px", ctypes.c_int32),
        ("plane", ctypes.c_void_p * 2),
        ("stride_bytes", ctypes.c_size_t * 2),
    )


class Verdict(ctypes.Structure):
    """``edgeosr_verdict``."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("accepted", "finite", "index", "part_count")),
        ("label", ctypes.c_char_p),
        ("nearest", ctypes.c_char_p),
        ("threshold", ctypes.c_double),
        ("score", ctypes.c_float),
        ("generation", ctypes.c_uint32),
        ("latency_ns", ctypes.c_int64),
        ("parts", ctypes.c_float * 16),
    )


def main(path: str, bundle: str, height: int, width: int) -> int:
    """Judge one frame."""
    library = ctypes.CDLL(path)
    library.edgeosr_last_error.restype = ctypes.c_char_p
    runtime, verdict = ctypes.c_void_p(), Verdict()
    read = sys.stdin.buffer.read(height * width * 3)
    if len(read) != height * width * 3:
        print(f"a frame must have {height * width * 3} bytes; got {len(read)}", file=sys.stderr)
        return 2
    pixels = ctypes.create_string_buffer(read, len(read))
    planes = (ctypes.c_void_p * 2)(ctypes.addressof(pixels), None)
    frame = Frame(ctypes.sizeof(Frame), 0, height, width, planes)
    failed = library.edgeosr_open(bundle.encode(), None, ctypes.byref(runtime)) or library.edgeosr_judge(
        runtime,
        ctypes.byref(frame),
        ctypes.c_size_t(1),
        ctypes.byref(verdict),
        ctypes.c_size_t(ctypes.sizeof(Verdict)),
    )
    if failed:
        print(library.edgeosr_last_error().decode(errors="replace"), file=sys.stderr)
    else:
        print(f"{verdict.label.decode()} {verdict.score:.3f}")
    library.edgeosr_close(runtime)
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit("judge_ctypes.py LIBEDGEOSR.so BUNDLE.edgeosr HEIGHT WIDTH < frame.rgb")
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
