"""Terms of use of the files that a network was trained on, from the tables at a data root.

Every ``*.tsv`` there names files, or folders of them, with where they come from and under which licence. Weights are
shipped only if every file's terms are stated and allow it.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sciSR.errors import UsageError

_FREE = re.compile(
    r"\b(MIT|Apache-2\.0|BSD-\d-Clause\S*|ISC|CC0\S*|CC[ -]BY(?![ -](?:NC|ND))\S*|PDDL\S*|"
    r"public domain|open data|free to use)",
    re.IGNORECASE,
)
_WITHHELD = re.compile(r"non-?commercial|research use|no explicit licen[cs]e", re.IGNORECASE)
_NO_LICENCE = re.compile(r"no licen[cs]e|see repo", re.IGNORECASE)
_AFTER = re.compile(r"\b(public domain|open data|free to use)\b[^;.]*", re.IGNORECASE)


@dataclass(frozen=True)
class Terms:
    """Where a file comes from and what may be done with it.

    Attributes
    ----------
    licence : str
        As the table has it.
    origin : str
        Repository, commit and path.
    note : str
        The table's description of the file, which may state terms too.
    """

    licence: str
    origin: str
    note: str = ""

    @property
    def stated(self) -> str | None:
        """The terms in a few words if they allow shipping what was learned from the file; else None."""
        if _WITHHELD.search(self.licence):
            return None
        if not _NO_LICENCE.search(self.licence):
            return self.licence if _FREE.search(self.licence) else None
        said = _AFTER.search(self.licence) or _AFTER.search(self.note)
        return said.group(0).strip() if said else None


def read_terms(root: Path) -> dict[str, Terms]:
    """The tables at a data root: path of a file, or of a folder with a slash at its end -> its terms."""
    found: dict[str, Terms] = {}
    for table in sorted(root.glob("*.tsv")):
        with table.open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream, delimiter="\t"):
                name = row.get("file") or (f"{table.stem}/{row['dir']}/" if row.get("dir") else None)
                if name:
                    inner = row.get("path") or row.get("path_in_repo") or ""
                    origin = f"{row.get('repo', '')} @ {row.get('commit', '')}: {inner}"
                    note = row.get("description") or row.get("note") or ""
                    found[name] = Terms(row.get("licence") or "", origin, note)
    return found


def terms_of(name: str, table: Mapping[str, Terms]) -> Terms | None:
    """The terms of a file, or of a folder that it lies in."""
    if name in table:
        return table[name]
    folders = (f"{parent.as_posix()}/" for parent in Path(name).parents)
    return next((table[folder] for folder in folders if folder in table), None)


def refuse_unstated(names: Iterable[str], table: Mapping[str, Terms]) -> None:
    """Check that weights trained on these files may be shipped.

    Raises
    ------
    UsageError
        Naming the files whose terms are not stated, or don't allow it.
    """
    bad = [name for name in names if (terms := terms_of(name, table)) is None or terms.stated is None]
    if bad:
        shown = ", ".join(bad[:4]) + (f" and {len(bad) - 4} more" if len(bad) > 4 else "")
        raise UsageError(
            f"no stated licence allows shipping what was learned from {shown}",
            remedy="train without these files, or keep the weights (--out elsewhere --unshipped)",
        )
