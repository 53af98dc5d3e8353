"""Who is in a release: a set that is looked into without being made, against the set that it stands for."""

from __future__ import annotations

import hashlib

from unlearnkit.bundle.pseudonyms import Pseudonyms
from unlearnkit.compliance.releases.whereabouts import ListedPeople

PEOPLE = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(9)]


def test_the_people_of_a_release_are_a_set_like_any_other():
    without, stranger = frozenset([PEOPLE[2], PEOPLE[8]]), PEOPLE[8]
    lazy, made = ListedPeople(Pseudonyms.of(PEOPLE[:8]), without), frozenset(PEOPLE[:8]) - without
    assert (set(lazy), len(lazy)) == (made, 7)
    for asked in (frozenset(PEOPLE[:3]), frozenset([stranger]), frozenset(PEOPLE[3:5]), frozenset[str](), made):
        assert (asked & lazy, asked - lazy, lazy & asked) == (asked & made, asked - made, made & asked)
        assert (asked <= lazy, lazy >= asked, lazy == asked) == (asked <= made, made >= asked, made == asked)
    assert set(PEOPLE).difference(lazy) == set(PEOPLE) - made
