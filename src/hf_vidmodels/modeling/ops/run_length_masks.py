"""Binary masks in COCO's run-length encoding (RLE): checked, made from masks or polygons, measured, decoded.

An RLE is `{"size": [height, width], "counts": ...}`. The counts are lengths of runs of 0 and 1 in turn, 0 first, down
the columns of the picture; either as a list of integers, or compressed to a string of characters 48 to 111, each with
five bits of a number (the lowest first), a bit that says whether more follow, and from the fourth number on the
difference to the one two before. pycocotools decodes such strings in C without looking at what they hold: memory of
runs that never come is left as it was, and runs beyond the picture are refused only after they were written. So every
RLE from outside goes through `check_rles` first, which sees it in NumPy.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

Rle = dict[str, Any]

FIRST_CHARACTER, LAST_CHARACTER = 48, 111
# The C code counts pixels in 32 bits; 7 characters hold every difference of two runs of so large a picture.
MOST_PIXELS = 2**29
_MOST_CHARACTERS = 7
_CHARACTERS_AT_ONCE = 2**17
# pycocotools 2.0.11 counts the RLEs whose areas it gives in eight bits.
_AREAS_AT_ONCE = 255
# Published polygons reach a little beyond their picture; one that lies further outside than the picture is long is no
# polygon of it, and to rasterise it would take memory in proportion.
_POLYGON_SLACK = 1.0


def check_rles(rles: Sequence[Mapping[str, Any]], names: Sequence[Any] | None = None) -> list[Rle]:
    """Refuse RLEs that are not exactly one mask of their size.

    Args:
        rles: N encodings, compressed (str or bytes) or not (list of runs).
        names: what each of them is called in errors, such as `annotation 12`; its number where None.

    Returns:
        The N encodings compressed, counts as str, sizes as two ints.

    Raises:
        ValueError: one is no mapping with size and counts, or its counts do not fill its picture exactly; names the
            first such.
    """
    names = [f"mask {number}" for number in range(len(rles))] if names is None else names
    sizes = np.array([_size_of(rle, name) for rle, name in zip(rles, names, strict=True)]).reshape(-1, 2)
    counts = [_compressed(rle["counts"], name) for rle, name in zip(rles, names, strict=True)]
    damage = _find_damage(counts, sizes[:, 0] * sizes[:, 1])
    if damage is not None:
        number, reason = damage
        height, width = sizes[number]
        raise ValueError(
            f"{names[number]} has a malformed RLE for {height} x {width} pixels: {reason}; encode it again"
        )
    return [{"size": size, "counts": text.decode("ascii")} for size, text in zip(sizes.tolist(), counts, strict=True)]


def segmentation_rles(
    segmentations: Sequence[Any], sizes: Sequence[tuple[int, int]], names: Sequence[Any]
) -> list[Rle]:
    """Encode the segmentations of COCO annotations, whatever form they have.

    Args:
        segmentations: for each annotation polygons (a list of flat lists x, y, x, y ... in pixels, OR-ed) or an RLE.
        sizes: height and width of the picture of each.
        names: what each is called in errors, such as `annotation 12`.

    Returns:
        Checked, compressed encodings.

    Raises:
        ValueError: one has another form, another size than its picture, or coordinates far outside; names it.
    """
    from pycocotools import mask as coco_mask

    rles: list[Any] = []
    given: list[int] = []
    for segmentation, (height, width), name in zip(segmentations, sizes, names, strict=True):
        if isinstance(segmentation, Mapping):
            if list(_size_of(segmentation, name)) != [height, width]:
                raise ValueError(
                    f"{name} has an RLE of {list(segmentation['size'])} (height, width) but its picture has "
                    f"{[height, width]}; encode it again"
                )
            rles.append(segmentation)
            given.append(len(rles) - 1)
        else:
            parts = coco_mask.frPyObjects(_check_polygons(segmentation, height, width, name), height, width)
            rle = parts[0] if len(parts) == 1 else coco_mask.merge(parts)
            rles.append({"size": [height, width], "counts": rle["counts"].decode("ascii")})
    for number, rle in zip(given, check_rles([rles[n] for n in given], [names[n] for n in given]), strict=True):
        rles[number] = rle
    return rles


def encode_masks(masks: np.ndarray) -> list[Rle]:
    """Encode masks (N, H, W) of any number type, non-zero = inside; counts are str, as JSON needs them."""
    from pycocotools import mask as coco_mask

    columns_first = np.asfortranarray(np.moveaxis(np.asarray(masks) != 0, 0, -1).astype(np.uint8))
    return [
        {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}
        for rle in coco_mask.encode(columns_first)
    ]


def empty_rle(height: int, width: int) -> Rle:
    """Encode the mask of a picture without a pixel inside."""
    return {"size": [height, width], "counts": _compress(np.array([height * width])).decode("ascii")}


def decode_rles(rles: Sequence[Rle]) -> np.ndarray:
    """Decode checked RLEs of one size to masks, bool (N, H, W).

    Raises:
        ValueError: for no RLEs, as the size is unknown then, and as `check_rles`.
    """
    from pycocotools import mask as coco_mask

    if not len(rles):
        raise ValueError("there is no RLE to decode, and so no size of the masks")
    return np.moveaxis(coco_mask.decode(check_rles(rles)), -1, 0).astype(bool)


def rle_areas(rles: Sequence[Rle]) -> np.ndarray:
    """Count the pixels of each checked RLE: int64 (N,)."""
    from pycocotools import mask as coco_mask

    starts = range(0, len(rles), _AREAS_AT_ONCE)
    areas = [coco_mask.area(list(rles[start : start + _AREAS_AT_ONCE])) for start in starts]
    return np.concatenate([np.zeros(0, np.int64), *areas]).astype(np.int64)


def rle_intersections(first: Sequence[Rle], second: Sequence[Rle]) -> np.ndarray:
    """Count the pixels that each RLE of `first` shares with its partner in `second`, of the same size: int64 (N,)."""
    from pycocotools import mask as coco_mask

    return rle_areas([coco_mask.merge(list(pair), intersect=True) for pair in zip(first, second, strict=True)])


def _size_of(rle: Any, name: Any) -> tuple[int, int]:
    if not isinstance(rle, Mapping) or not {"size", "counts"} <= set(rle):
        shown = sorted(rle) if isinstance(rle, Mapping) else type(rle).__name__
        raise ValueError(f"{name} needs an RLE with size and counts, got {shown}")
    size = rle["size"]
    numbers = list(size) if isinstance(size, Sequence | np.ndarray) and not isinstance(size, str | bytes) else []
    is_whole = all(isinstance(side, int | np.integer) and not isinstance(side, bool) for side in numbers)
    if len(numbers) != 2 or not is_whole or min(numbers) < 1 or int(numbers[0]) * int(numbers[1]) > MOST_PIXELS:
        raise ValueError(
            f"{name} has an RLE of size {size!r}; expected [height, width] as positive whole numbers of at most "
            f"{MOST_PIXELS} pixels together"
        )
    return int(numbers[0]), int(numbers[1])


def _compressed(counts: Any, name: Any) -> bytes:
    if isinstance(counts, str):
        # Characters beyond ASCII become bytes outside the alphabet, which are reported as all others are.
        return counts.encode("utf-8", "surrogatepass")
    if isinstance(counts, bytes):
        return counts
    if not isinstance(counts, Sequence | np.ndarray):
        raise ValueError(f"{name} has an RLE whose counts are {type(counts).__name__}; expected str or a list of runs")
    runs = np.asarray(counts)
    if runs.ndim != 1 or runs.size == 0 or runs.dtype.kind not in "iu":
        raise ValueError(f"{name} has an RLE whose counts are no list of whole numbers; encode it again")
    if runs.min() < 0 or runs.max() > MOST_PIXELS:
        raise ValueError(
            f"{name} has a malformed RLE: a run of {runs.min() if runs.min() < 0 else runs.max()} pixels; runs are "
            "lengths within the picture"
        )
    return _compress(runs.astype(np.int64))


def _compress(runs: np.ndarray) -> bytes:
    """Write runs (R,) as the compressed string."""
    values = runs.copy()
    values[3:] -= runs[1:-2]
    places = 5 * np.arange(_MOST_CHARACTERS)
    # A number ends where all further bits repeat the sign bit of the character before.
    rest = values[:, None] >> places[None]
    is_last = (rest >= -16) & (rest < 16)
    last = is_last.argmax(axis=1)
    used = np.arange(len(places))[None] <= last[:, None]
    more = np.arange(len(places))[None] < last[:, None]
    characters = (rest & 31) + 32 * more + FIRST_CHARACTER
    return characters[used].astype(np.uint8).tobytes()


def _find_damage(counts: Sequence[bytes], num_pixels: np.ndarray) -> tuple[int, str] | None:
    """Find an RLE whose counts do not fill its picture: its number and the reason, or None.

    Many strings are read together, so that NumPy works on long arrays, which yet fit the processor's cache.
    """
    lengths = np.array([len(text) for text in counts], dtype=np.int64)
    batch = np.cumsum(lengths) // _CHARACTERS_AT_ONCE
    for begin, end in pairwise([*np.unique(batch, return_index=True)[1], len(counts)]):
        damage = _find_damage_of(b"".join(counts[begin:end]), lengths[begin:end], num_pixels[begin:end])
        if damage is not None:
            return begin + damage[0], damage[1]
    return None


def _find_damage_of(text: bytes, lengths: np.ndarray, num_pixels: np.ndarray) -> tuple[int, str] | None:
    """`_find_damage` of strings of `lengths` (N,) that were joined to one."""
    if (lengths == 0).any():
        return int(np.argmax(lengths == 0)), "it has no counts"
    # Characters before the alphabet wrap around and lie behind it too.
    bits = np.frombuffer(text, np.uint8) - np.uint8(FIRST_CHARACTER)
    ends = np.cumsum(lengths)
    if (bits > LAST_CHARACTER - FIRST_CHARACTER).any():
        wrong = np.argmax(bits > LAST_CHARACTER - FIRST_CHARACTER)
        return int(np.searchsorted(ends, wrong, side="right")), "it has characters that no RLE has"
    is_last = bits < 32
    if not is_last[ends - 1].all():
        return int(np.argmin(is_last[ends - 1])), "its last number is cut off"
    stops = np.flatnonzero(is_last)
    starts = np.concatenate([[0], stops[:-1] + 1])
    sizes = stops - starts + 1
    owner = np.repeat(np.arange(len(lengths)), np.diff(np.searchsorted(stops, ends - 1, side="right"), prepend=0))
    if sizes.max() > _MOST_CHARACTERS:
        return int(owner[sizes.argmax()]), "a number in it is longer than any run"
    values = np.zeros(len(stops), np.int64)
    for place in range(sizes.max()):
        longer = np.flatnonzero(sizes > place)
        values[longer] += (bits[starts[longer] + place] & 31).astype(np.int64) << (5 * place)
    values -= np.where(bits[stops] & 16, 1 << (5 * sizes), 0)
    return _find_bad_runs(values, owner, num_pixels)


def _find_bad_runs(values: np.ndarray, owner: np.ndarray, num_pixels: np.ndarray) -> tuple[int, str] | None:
    """Undo the differences of the numbers (R,) of all RLEs and compare the runs with the pixels of their pictures."""
    first_of = np.searchsorted(owner, np.arange(len(num_pixels)))
    position = np.arange(len(values)) - first_of[owner]
    runs = values.copy()
    # Odd positions add up from the second number on, even ones from the third; the first stands alone.
    for begin in (1, 2):
        chosen = np.flatnonzero((position % 2 == begin % 2) & (position >= begin))
        sums = np.cumsum(values[chosen])
        group_starts = np.flatnonzero(position[chosen] == begin)
        before = (sums - values[chosen])[group_starts]
        runs[chosen] = sums - np.repeat(before, np.diff(group_starts, append=len(chosen)))
    if (runs < 0).any():
        wrong = int(np.argmax(runs < 0))
        return int(owner[wrong]), f"a run of {runs[wrong]} pixels"
    filled = np.add.reduceat(runs, first_of)
    if (filled != num_pixels).any():
        wrong = int(np.argmax(filled != num_pixels))
        return wrong, f"its runs fill {filled[wrong]} pixels instead of {num_pixels[wrong]}"
    return None


def _check_polygons(polygons: Any, height: int, width: int, name: Any) -> list[list[float]]:
    expected = "polygons are lists of x, y, x, y, ... in pixels with at least three corners"
    if not isinstance(polygons, Sequence) or isinstance(polygons, str | bytes) or not len(polygons):
        raise ValueError(f"{name} has a segmentation that is neither polygons nor an RLE; {expected}")
    reach = _POLYGON_SLACK * max(height, width)
    for polygon in polygons:
        try:
            corners = np.asarray(polygon, dtype=np.float64)
        except (TypeError, ValueError):
            corners = np.empty(0)
        if corners.ndim != 1 or len(corners) < 6 or len(corners) % 2:
            raise ValueError(f"{name} has a polygon of {np.shape(polygon)} numbers; {expected}")
        if not np.isfinite(corners).all() or corners.min() < -reach or corners.max() > max(height, width) + reach:
            raise ValueError(
                f"{name} has a polygon with coordinates from {corners.min():g} to {corners.max():g} in a picture of "
                f"{height} x {width} pixels; {expected}"
            )
    return [list(map(float, polygon)) for polygon in polygons]
