"""Which class a video has when it is mirrored: "from left to right" becomes "from right to left"."""

import re
from collections.abc import Sequence

# Words that a mirror exchanges.
_EXCHANGED = {
    "left": ("right",),
    "right": ("left",),
    "clockwise": ("anticlockwise", "counterclockwise", "counter-clockwise"),
    "anticlockwise": ("clockwise",),
    "counterclockwise": ("clockwise",),
    "counter-clockwise": ("clockwise",),
}
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
    return [_WORD.sub(lambda found, choice=choice: _exchanged(found, choice), name) for choice in range(3)]


def _exchanged(found: re.Match[str], choice: int) -> str:
    others = _EXCHANGED[found[1].lower()]
    return others[min(choice, len(others) - 1)] + found[0][len(found[1]) :]
