"""The bundle on disk: one directory ``NAME.edgeosr`` with a manifest and the files whose hashes it holds.

Reading distrusts the directory: the manifest first (size-limited), then every other file read once, its
size and hash compared with the manifest, and nothing parsed before that; then the graphs, which may be an
attacker's with the right hashes (``graphs.py``). No links, no special files, no pickles. Writing is atomic: a
reader sees the whole old bundle or the whole new one, and starts over where one takes the other's place.
"""

import errno
import logging
import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path

from edgeosr.bundle.graphs import require_graphs
from edgeosr.bundle.made_here import remember_made_here, was_made_here
from edgeosr.bundle.made_of import DEMO
from edgeosr.bundle.manifest import FileRecord, Manifest, manifest_bytes, parse_manifest
from edgeosr.errors import BundleError, StorageError, UsageError, suggestion
from edgeosr.files import sha256_of, storage_errors
from edgeosr.replace_directory import atomic_directory, complete_replacement

SUFFIX = ".edgeosr"
MANIFEST_NAME = "manifest.json"
MANIFEST_LIMIT = 4 * 2**20
# Of reading a bundle that is replaced again and again meanwhile.
MOST_ATTEMPTS = 20
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bundle:
    """A bundle whose every byte matched its manifest.

    Attributes:
        path: its directory.
        manifest: checked.
        files: contents by name, as hashed: ``manifest.file_names``.
        manifest_data: the bytes of ``manifest.json`` that were checked.
    """

    path: Path
    manifest: Manifest
    files: dict[str, bytes]
    manifest_data: bytes = b""


def require_bundle_or_nothing(path: Path) -> None:
    """Raise a UsageError unless a bundle may be written at ``path``: one is there, or nothing is."""
    if os.path.exists(path) and not (
        os.path.isdir(path) and (os.path.isfile(path / MANIFEST_NAME) or not any(path.iterdir()))
    ):
        raise UsageError(f"{path} exists and is no bundle, so it is not replaced; choose another name")


def write_bundle(path: Path, manifest: Manifest, files: dict[str, bytes]) -> Manifest:
    """Write a bundle atomically; an older bundle at ``path`` is replaced as a whole.

    Args:
        path: a directory that ends in ``.edgeosr``.
        manifest: its ``files`` are ignored and filled from ``files``.
        files: contents by name, exactly ``manifest.file_names``.

    Returns:
        The manifest as it reads back.

    Raises:
        UsageError: ``path`` has another suffix, or is something that is no bundle.
        BundleError: the manifest or the set of files would be refused when read.
        StorageError: it cannot be written; an older bundle is untouched.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise UsageError(
            f"a bundle's name must end in {SUFFIX}; got {path}; use for example {path.name or 'my'}{SUFFIX}"
        )
    path = Path(os.path.realpath(path))  # a link to a bundle stays a link
    require_bundle_or_nothing(path)
    if set(files) != set(manifest.file_names):
        raise BundleError(
            f"a bundle holds {', '.join(manifest.file_names)}; got {', '.join(sorted(files)) or 'nothing'}"
        )
    records = {name: FileRecord(sha256_of(files[name]), len(files[name])) for name in manifest.file_names}
    try:
        data = manifest_bytes(replace(manifest, files=records))
    except ValueError as error:
        raise BundleError(f"the manifest of {path} cannot be written: {error}") from error
    if len(data) > MANIFEST_LIMIT:
        raise BundleError(
            f"the manifest of {path} has {len(data)} bytes; at most {MANIFEST_LIMIT} are read back"
        )
    checked = parse_manifest(data, f"the new manifest of {path.name}")
    require_graphs(checked, files, f"the new bundle {path.name}")
    with atomic_directory(path) as directory:
        for name, content in {**files, MANIFEST_NAME: data}.items():
            with open(directory / name, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
    remember_made_here(data)
    return checked


def read_bundle(path: Path) -> Bundle:
    """Read a bundle and check every byte of it against its manifest.

    Raises:
        BundleError: there is no bundle at ``path``, or it is damaged, foreign or made by a newer edgeosr;
            the message says which file or field, and what to do.
        StorageError: a file cannot be read (permissions, a broken disk).
    """
    path = Path(path)
    for attempt in range(MOST_ATTEMPTS):
        data = _manifest_data(path)
        try:
            return _read_whole(path, data)
        except (BundleError, StorageError):
            if attempt == MOST_ATTEMPTS - 1 or _manifest_data(path) == data:
                raise
    raise AssertionError("the last attempt returns or raises")


def _read_whole(path: Path, data_of_manifest: bytes) -> Bundle:
    manifest, files = parse_manifest(data_of_manifest, str(path / MANIFEST_NAME)), {}
    for name, record in manifest.files.items():
        data = _read_file(path, name, size=record.bytes)
        found = sha256_of(data)
        if found != record.sha256:
            raise BundleError(
                f"{path / name} is damaged: its SHA-256 is {found[:12]}..., the manifest says "
                f"{record.sha256[:12]}...; {_AGAIN}"
            )
        files[name] = data
    require_graphs(manifest, files, str(path))
    return Bundle(path, manifest, files, data_of_manifest)


def read_manifest(path: Path) -> Manifest:
    """Read and check the manifest of the bundle at ``path`` alone; raises like ``read_bundle``."""
    path = Path(path)
    return parse_manifest(_manifest_data(path), str(path / MANIFEST_NAME))


def _manifest_data(path: Path) -> bytes:
    if complete_replacement(Path(os.path.realpath(path))):
        _log.warning("%s was being replaced when a process was killed; the new bundle is used", path)
    _require_bundle_directory(path)
    return _read_file(path, MANIFEST_NAME, size=None)


def is_made_here(path: Path) -> bool:
    """Tell whether this user made the bundle at ``path`` on this machine; raises like ``read_bundle``."""
    return was_made_here(_manifest_data(Path(path)))


def newest_bundle(root: Path = Path(".")) -> Path:
    """Return the bundle last created among ``root/*.edgeosr`` and ``root/runs/*/*.edgeosr``.

    Newest by the manifest's ``created``, not by file times, which copying changes; the name decides a tie.
    A bundle whose manifest cannot be read is passed over as long as another can, and so is the demo's.

    Raises:
        BundleError: there is none; says how to make one.
    """
    found: list[tuple[bool, object, str, Path]] = []
    problem: BundleError | StorageError | None = None
    for path in bundles_near(Path(root)):
        try:
            own = not (path.parent / DEMO).exists()
            found.append((own, read_manifest(path).created_at, path.name, path))
        except (BundleError, StorageError) as error:
            problem = error
    if found:
        return max(found, key=lambda entry: entry[:3])[3]
    if problem is not None:
        raise problem
    raise BundleError(
        f"no bundle (*{SUFFIX}) in {Path(root).resolve()} or its runs/*/; make one with: edgeosr export"
    )


_AGAIN = "copy the bundle again or export it again"
# A path that leads nowhere; what else goes wrong says nothing of what is there.
_NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL)


def bundles_near(root: Path) -> list[Path]:
    """Return the bundles ``root/*.edgeosr`` and ``root/runs/*/*.edgeosr``, whole or damaged."""
    for ready in (*root.glob(f".*{SUFFIX}.ready"), *root.glob(f"runs/*/.*{SUFFIX}.ready")):
        complete_replacement(ready.with_name(ready.name[1 : -len(".ready")]))
    return sorted({*root.glob(f"*{SUFFIX}"), *root.glob(f"runs/*/*{SUFFIX}")})


def _require_bundle_directory(path: Path) -> None:
    """Raise a BundleError that helps, unless ``path`` is a directory with a manifest.

    A folder that may not be looked into is a StorageError: nobody can say what it holds.
    """
    try:
        os.lstat(path / MANIFEST_NAME)
    except PermissionError as error:
        raise StorageError(
            f"{path} may not be looked into: {error.strerror}; check the permissions of it and of the "
            "folders above it, for the user that runs this"
        ) from error
    except OSError as error:
        if error.errno not in _NOTHING_THERE:
            raise StorageError(
                f"{path} cannot be looked into: {error.strerror}; check the disk or the network"
            ) from error
    except ValueError:  # what it is instead is said below
        pass
    if os.path.isdir(path):
        if os.path.lexists(path / MANIFEST_NAME):
            return
        inside = [child for child in bundles_near(path) if os.path.isdir(child)]
        if inside:
            raise BundleError(f"{path} is no bundle, but holds one; use {inside[0]}")
        if os.path.isfile(path / "run.json"):
            raise BundleError(f"{path} is a training run, no bundle; make one with: edgeosr export {path}")
        if path.suffix == SUFFIX:
            raise BundleError(f"{path} has no {MANIFEST_NAME}; {_AGAIN}")
        raise BundleError(f"{path} is no bundle: it has no {MANIFEST_NAME}; make one with: edgeosr export")
    if path.suffix == ".onnx" and os.path.isfile(path):
        raise BundleError(
            f"{path} is a model, no bundle; wrap it with: edgeosr export {path} --data FOLDER_OF_KNOWN_IMAGES"
        )
    if os.path.exists(path):
        raise BundleError(f"{path} is a file, and a bundle is a directory NAME{SUFFIX}")
    near = {child.name: child for root in (path.parent, Path(".")) for child in bundles_near(root)}
    wanted = path.name if path.suffix == SUFFIX else path.name + SUFFIX
    hint = suggestion(wanted, near)
    if not hint and near:
        hint = f"; there is {', '.join(str(child) for child in list(near.values())[:3])}"
    raise BundleError(f"there is no bundle at {path}{hint or '; make one with: edgeosr export'}")


def _read_file(directory: Path, name: str, *, size: int | None) -> bytes:
    """Return a plain file's bytes after its size has been checked.

    Args:
        directory: the bundle.
        name: a name of the fixed list, never one from outside.
        size: exact size in bytes; None = the manifest's limit.
    """
    path = directory / name
    try:
        status = path.lstat()
    except FileNotFoundError:
        raise BundleError(f"{path} is missing; {_AGAIN}") from None
    # A link could lead out of the bundle, and opening a FIFO would wait for ever.
    if not stat.S_ISREG(status.st_mode):
        what = "a link" if stat.S_ISLNK(status.st_mode) else "no plain file"
        raise BundleError(f"{path} is {what}; a bundle holds plain files only; {_AGAIN}")
    if size is not None and status.st_size != size:
        raise _damaged(path, status.st_size, size)
    with storage_errors("read", path), open(path, "rb", opener=_open_plain) as file:
        found = os.fstat(file.fileno()).st_size
        if size is None and found > MANIFEST_LIMIT:
            raise BundleError(
                f"{path} has {found} bytes; a manifest has at most {MANIFEST_LIMIT}: this is no bundle"
            )
        limit = found if size is None else size
        # One byte more than expected is asked for: a file that grows meanwhile is refused too.
        data = file.read(limit + 1) if found == limit else b""
        if len(data) != limit:
            raise _damaged(path, found, limit)
        return data


def _damaged(path: Path, found: int, expected: int) -> BundleError:
    return BundleError(f"{path} is damaged: it has {found} bytes, the manifest says {expected}; {_AGAIN}")


def _open_plain(path: str, flags: int) -> int:
    # Refuses a link or a FIFO that took the file's place since it was looked at.
    descriptor = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BundleError(f"{path} is no plain file; {_AGAIN}")
    return descriptor
