"""Exit codes beside those of ``EdgeosrError`` (1, and 2 for a wrong option or value)."""

DEFECT_CODE = 70  # EX_SOFTWARE of sysexits.h: a fault of edgeosr, not of its input
INTERRUPTED_CODE = 130  # 128 + SIGINT, as shells count; other signals: ``ending.interrupted_code``
CLOSED_PIPE_CODE = 141  # 128 + SIGPIPE: the reader of standard output has left
