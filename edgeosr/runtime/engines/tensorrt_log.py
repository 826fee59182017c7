"""TensorRT's log as Python's, and its last error for our own messages."""

import logging
from typing import Any

_log = logging.getLogger("edgeosr.tensorrt")
# Warnings that are as they should be: the runner binds int64; scales of int8 are fp16 as all around them.
_EXPECTED = (
    "Make sure input channel_order has Int64 binding",
    "Converting conv weight scales to fp32",
    "Converting conv activation scales to fp32",
)


# By the module's id, with the module, so that no other takes it.
_kept: dict[int, tuple[Any, Any]] = {}


def tensorrt_logger(trt: Any) -> Any:
    """Return the ILogger of the module ``tensorrt`` or ``tensorrt_rtx``: one for the whole process.

    TensorRT keeps the first logger that it is given for whatever it makes later, so none is ever freed. Its
    messages go to the Python logger ``edgeosr.tensorrt``; its attribute ``last`` is the last error since this
    was called, empty if there was none.
    """
    if id(trt) not in _kept:
        _kept.setdefault(id(trt), (trt, _new_logger(trt)))
    logger = _kept[id(trt)][1]
    logger.last = ""
    return logger


def _new_logger(trt: Any) -> Any:
    severity = trt.ILogger.Severity
    levels = {
        severity.INTERNAL_ERROR: logging.ERROR,
        severity.ERROR: logging.ERROR,
        severity.WARNING: logging.WARNING,
        severity.INFO: logging.INFO,
        severity.VERBOSE: logging.DEBUG,
    }

    class Logger(trt.ILogger):  # type: ignore[misc]  # trt may be missing here
        def __init__(self) -> None:
            # pybind11 wants its own initialiser called by name.
            trt.ILogger.__init__(self)
            self.last = ""

        def log(self, severity: Any, msg: str) -> None:
            expected = any(known in msg for known in _EXPECTED)
            level = logging.DEBUG if expected else levels.get(severity, logging.INFO)
            if level >= logging.ERROR:
                self.last = msg
            _log.log(level, "%s", msg)

    return Logger()
