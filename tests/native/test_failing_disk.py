"""A bundle's folder on a disk that fails, or on a network that is gone, is no missing bundle."""

import errno
import os
import subprocess

import pytest
from handle import BUNDLE, in_child

CANNOT_READ = 8
# In the place of the system's own functions, for paths that end in "/away.edgeosr" or go through it.
SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
static int away(const char *path) {
    if (path == NULL || strstr(path, "/away.edgeosr") == NULL) return 0;
    errno = atoi(getenv("AWAY"));
    return 1;
}
int stat(const char *path, struct stat *out) {
    int (*real)(const char *, struct stat *) = (int (*)(const char *, struct stat *))dlsym(RTLD_NEXT, "stat");
    return away(path) ? -1 : real(path, out);
}
int open(const char *path, int flags, ...) {
    int (*real)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
    va_list more;
    va_start(more, flags);
    int mode = flags & O_CREAT ? va_arg(more, int) : 0;
    va_end(more);
    return away(path) ? -1 : real(path, flags, mode);
}
"""
OPENING = """
import sys
from edgeosr.runtime.native.library import load_library
from handle import options, said_on_opening
for path in sys.argv[2:]:
    print(*said_on_opening(load_library(sys.argv[1]), path, options()))
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    out = tmp_path_factory.mktemp("disk") / "disk.so"
    command = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(out), "-ldl"]
    subprocess.run(command, input=SHIM, text=True, check=True)
    return out


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_a_folder_that_cannot_be_looked_at_cannot_be_read(built, shim, tmp_path, number):
    path = tmp_path / "away.edgeosr"
    (said,) = in_child(OPENING, built, path, LD_PRELOAD=str(shim), AWAY=str(number))
    words = f"cannot read {path}/manifest.json: {os.strerror(number)}; check its permissions and the disk"
    assert said == f"{CANNOT_READ} {words}"


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG])
def test_a_path_that_leads_nowhere_is_no_bundle(built, shim, tmp_path, number):
    path = tmp_path / "away.edgeosr"
    (said,) = in_child(OPENING, built, path, LD_PRELOAD=str(shim), AWAY=str(number))
    assert said.startswith(f"{BUNDLE} there is no bundle at '{path}'")
