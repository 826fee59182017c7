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


def tensorrt_logger(trt: Any) -> Any:
    """Return a new ILogger of the module ``tensorrt`` or ``tensorrt_rtx``.

    Its messages go to the Python logger ``edgeosr.tensorrt``; its attribute ``last`` is the last error, empty
    if there was none.
    """
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
