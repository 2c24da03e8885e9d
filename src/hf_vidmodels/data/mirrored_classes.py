"""Which class a video has when it is mirrored: "from left to right" becomes "from right to left"."""

import re
from collections.abc import Sequence
from functools import partial

# Words that a mirror exchanges.
_EXCHANGED = {
    "left": ("right",),
    "right": ("left",),
    "clockwise": ("anticlockwise", "counterclockwise", "counter-clockwise"),
    "anticlockwise": ("clockwise",),
    "counterclockwise": ("clockwise",),
    "counter-clockwise": ("clockwise",),
}
_NUM_SPELLINGS = max(map(len, _EXCHANGED.values()))
_WORD = re.compile(rf"(?<![\w-])({'|'.join(_EXCHANGED)})(?:wards?)?(?![\w-])", re.IGNORECASE)


def mirrored_classes(names: Sequence[str]) -> list[int | None]:
    """Give for every class the one that its mirrored videos have.

    Args:
        names: of the classes, by id.

    Returns:
        class ids: of the class itself where its name names no side, of its partner where both sides are classes, and
        None where the partner is none of the classes.
    """
    ids = {name.lower(): number for number, name in enumerate(names)}
    return [
        number
        if _WORD.search(name) is None
        else next((ids[other] for other in _mirrored_names(name.lower()) if other in ids), None)
        for number, name in enumerate(names)
    ]


def _mirrored_names(name: str) -> list[str]:
    """Give a name with its sides exchanged, in every spelling."""
    return [_WORD.sub(partial(_exchanged, spelling=number), name) for number in range(_NUM_SPELLINGS)]


def _exchanged(found: re.Match[str], spelling: int) -> str:
    others = _EXCHANGED[found[1].lower()]
    return others[min(spelling, len(others) - 1)] + found[0][len(found[1]) :]
