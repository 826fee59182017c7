"""The selftest as a command: python -m edgeosr.kernels.selftest."""

import sys

from edgeosr.kernels.selftest.selftest import main

if __name__ == "__main__":
    sys.exit(main())
