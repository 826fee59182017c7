"""MkDocs hook: pages may link to files of the repository as they do on a code host, and the site holds them.

A link of a page in ``docs/`` to ``../CONTRIBUTING.md`` works on a code host. A site has no such place, so
each file of the repository that a page links to becomes part of it, under ``repository/``: Markdown as a page
(its own links are followed too), anything else as it is. A link to a file that does not exist is left alone,
and MkDocs refuses it.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files, InclusionLevel

LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
DOCS = "docs/"
SITE = "repository/"


def on_files(files: Files, config: Any) -> Files:
    """Add every file of the repository that a page links to."""
    root = Path(config.config_file_path).parent
    waiting = [DOCS + file.src_uri for file in files.documentation_pages()]
    seen = set(waiting)
    while waiting:
        page = waiting.pop()
        text = CODE.sub("", (root / page).read_text(encoding="utf-8"))
        for _, link, _ in LINK.findall(text):
            target = _target(page, link)
            if target in seen or _is_of_the_site(target) or not (root / target).is_file():
                continue
            seen.add(target)
            waiting += [target] if target.endswith(".md") else []
            files.append(_file(root / target, target, config))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Turn links between files of the repository into links between places of the site."""
    root = Path(config.config_file_path).parent
    here = page.file.src_uri
    source = here.removeprefix(SITE) if here.startswith(SITE) else DOCS + here

    def turned(match: re.Match[str]) -> str:
        target = _target(source, match[2])
        if not (root / target).is_file():
            return match[0]
        return match[1] + posixpath.relpath(_place(target), posixpath.dirname(here) or ".") + match[3]

    return LINK.sub(turned, markdown)


def _target(page: str, link: str) -> str:
    """Return the repository's path that a link of ``page`` means."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), link))


def _place(path: str) -> str:
    """Return where a file of the repository lies in the site's sources."""
    return path.removeprefix(DOCS) if _is_of_the_site(path) else SITE + path


def _is_of_the_site(path: str) -> bool:
    """Tell whether a file is one of the site's own sources; this hook is not."""
    return path.startswith(DOCS) and not path.endswith(".py")


def _file(path: Path, target: str, config: Any) -> File:
    # Pages that the navigation does not list are fine: one gets to them by a link.
    return File.generated(config, _place(target), abs_src_path=str(path), inclusion=InclusionLevel.NOT_IN_NAV)
