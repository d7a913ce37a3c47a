"""Whose a published array is: from a file's names to the entities of a dataset."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mmrns.errors import UserError

# A name may stand with or without its address: MMRNS's text file says "Andy_Griffith", DB15K
# "<http://dbpedia.org/resource/Andy_Griffith>", and MKG-Y, of YAGO, has the plain name.
_ADDRESSES = (
    "http://dbpedia.org/resource/",
    "http://yago-knowledge.org/resource/",
    "http://www.wikidata.org/entity/",
)


def bare(name: str) -> str:
    """A name without angle brackets and blanks around it."""
    return name.strip().removeprefix("<").removesuffix(">")


def plain(name: str) -> str:
    """A name without angle brackets and address; a Freebase id as /m/…, however its "/" is written."""
    name = bare(name)
    for address in _ADDRESSES:
        name = name.removeprefix(address)
    return f"/m/{name[2:]}" if name[:2] in ("m.", "m/", "m_") else name


@dataclass(frozen=True)
class Matches:
    """Which entities the names of a file belong to.

    Attributes:
        rows: rows of the dataset by number of the name; a name may belong to several entities.
        by_link: numbers of the names that a file of links led to their entity.
        unmatched: names that belong to no entity.
        repeated: names that were passed over, since all of their entities have an array of an earlier name.
    """

    rows: dict[int, list[int]]
    by_link: set[int]
    unmatched: list[str]
    repeated: list[str]


class Matcher:
    """Finds the entities of a dataset behind names.

    A link decides where there is one; then the name itself; then the name without its address; then, of a name that is
    a number, its place in the authors' entity2id.txt.
    """

    def __init__(
        self, entities: list[str], links: Iterable[tuple[str, str]] = (), order: list[str] | None = None
    ) -> None:
        self._order = order
        self._exact = {bare(identifier): [row] for row, identifier in enumerate(entities)}
        self._rows: dict[str, list[int]] = {}
        for row, identifier in enumerate(entities):
            self._rows.setdefault(plain(identifier), []).append(row)
        self._linked: dict[str, list[int]] = {}
        pairs = list(links)
        side = _side_of_entities(pairs, entities)
        for pair in pairs:
            rows = self._rows.get(plain(pair[side]), [])
            self._linked.setdefault(plain(pair[1 - side]), []).extend(rows)

    def find(self, name: str) -> tuple[list[int], bool]:
        """Rows of the entities behind a name ([] when there is none), and whether a link led there."""
        key = plain(name)
        if linked := self._linked.get(key):
            return list(dict.fromkeys(linked)), True
        rows = self._exact.get(bare(name)) or self._rows.get(key, [])
        if not rows and self._order is not None and key.isdecimal() and int(key) < len(self._order):
            rows = self._rows.get(plain(self._order[int(key)]), [])
        return rows, False

    def match(self, names: list[str]) -> Matches:
        """Match every name; of two names of one entity the first counts."""
        found = Matches({}, set(), [], [])
        taken: set[int] = set()
        for number, name in enumerate(names):
            rows, linked = self.find(name)
            new = [row for row in rows if row not in taken]
            taken.update(new)
            if new:
                found.rows[number] = new
                if linked:
                    found.by_link.add(number)
            else:
                (found.repeated if rows else found.unmatched).append(name)
        return found


def _side_of_entities(pairs: list[tuple[str, str]], entities: list[str]) -> int:
    """Which side of the pairs, 0 or 1, names entities: that with more of them, in full if any is, and 1 on a tie.

    It matters where both sides know a name and mean different things by it.
    """
    for form in (bare, plain):
        known = {form(identifier) for identifier in entities}
        first, second = (sum(form(pair[side]) in known for pair in pairs) for side in (0, 1))
        if first or second:
            return 0 if first > second else 1
    return 1


def read_links(path: Path) -> list[tuple[str, str]]:
    """Pairs of names for one thing, a pair a line.

    Either two names with a tab between them (MMRNS's ent_links, MMKB's ImageIndex), or a triple whose relation says
    that they are the same, with or without a final dot (MMKB's SameAsLink).

    Raises UserError with file and line for a line of another form, or a file that is missing or not UTF-8.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise UserError(f"--links {path}: no such file; see: mmrns fetch --help") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--links {path}: cannot be read ({error}); give a text file in UTF-8") from error
    pairs = []
    for number, line in enumerate(lines, start=1):
        fields = line.removesuffix(" .").split("\t") if "\t" in line else line.removesuffix(" .").split(" ")
        if len(fields) not in (2, 3) or not all(field.strip() for field in fields):
            raise UserError(f"{path}:{number}: not a pair of names; write NAME TAB NAME, or NAME <SameAs> NAME .")
        pairs.append((fields[0], fields[-1]))
    return pairs
