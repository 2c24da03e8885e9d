"""From attention maps to heat maps of the picture's size, and from those to boxes.

Heat maps are as the official display of L2-CAF draws them. Boxes follow the three protocols of the field, all by
OpenCV's contours: `threshold_boxes` is that of the evaluator `clovaai/wsolevaluation` (commit 96f4b88),
`fixed_threshold_box` that of `junsukchoe/ADL` (commit dab2e78), `distance_transform_boxes` that of `zhoubolei/CAM`
(commit c63f285). Written from facts about them, edges included: boxes of the first reach one pixel beyond their
region, inside the picture.
"""

from collections.abc import Sequence
from types import ModuleType

import numpy as np
import torch

from ...optional_packages import require

NO_BOX = (0, 0, 0, 0)
NO_FIXED_BOX = (0, 0, 1, 1)
FIXED_SIZE = 224
GREY_WEIGHTS = (0.299, 0.587, 0.114)
# The distance transform keeps what lies above this grey level, and rectangles stay this far from the far edges.
DISTANCE_LEVEL = 10
DISTANCE_MARGIN = 5


def resize_maps(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Enlarge (..., h, w) maps to `size` bilinearly; beyond the outer cells' centres the map is mirrored at them."""
    rows = _interpolation(maps.shape[-2], size[0]).to(maps)
    columns = _interpolation(maps.shape[-1], size[1]).to(maps)
    return rows @ maps @ columns.T


def scale_maps(maps: torch.Tensor) -> torch.Tensor:
    """Scale each of (..., h, w) maps to [0, 1] by its own minimum and maximum; a constant map becomes zero."""
    lowest = maps.amin((-2, -1), keepdim=True)
    span = maps.amax((-2, -1), keepdim=True) - lowest
    return torch.where(span > 0, (maps - lowest) / span.clamp_min(torch.finfo(maps.dtype).tiny), 0.0)


def make_heatmaps(attention: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resize attention (..., h, w) to pictures of `size` (H, W) and scale it to [0, 1]."""
    return scale_maps(resize_maps(attention.float(), size))


def normalize_map(score_map: np.ndarray) -> np.ndarray:
    """Scale a map (h, w) to [0, 1]; a constant map, or one with NaN, becomes zero."""
    lowest, highest = score_map.min(), score_map.max()
    if not np.isfinite(score_map).all() or highest == lowest:
        return np.zeros_like(score_map)
    shifted = score_map - lowest
    return shifted / shifted.max()


def evaluation_map(score_map: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a map bicubically to (height, width) and scale it to [0, 1], in float64 as the evaluator does."""
    cv2 = _opencv()
    score_map = np.asarray(score_map, dtype=np.float64)
    if score_map.max() == score_map.min():
        # Interpolation would turn a constant map into rounding noise, and scaling would blow that up.
        return np.zeros(size)
    return normalize_map(cv2.resize(score_map, (size[1], size[0]), interpolation=cv2.INTER_CUBIC))


def threshold_boxes(
    score_map: np.ndarray, thresholds: Sequence[float], multi_contour: bool = False
) -> list[np.ndarray]:
    """Box the regions above shares of the maximum.

    A map of 8 bits has at most 256 different thresholds: each is worked out once.

    Args:
        score_map: (H, W) in [0, 1].
        thresholds: in [0, 1).
        multi_contour: boxes of all regions instead of that with the largest outline.

    Returns:
        Per threshold (N, 4) int64 boxes (x0, y0, x1, y1); one box (0, 0, 0, 0) where nothing is above it.

    Raises:
        ValueError: for a map that is not 2-D or not in [0, 1], or a threshold outside [0, 1).
    """
    check_score_map(score_map)
    thresholds = np.asarray(thresholds, dtype=np.float64)
    if not ((thresholds >= 0) & (thresholds < 1)).all():
        raise ValueError(f"thresholds must be in [0, 1), got {thresholds.min()} to {thresholds.max()}")
    grey = (score_map * 255).astype(np.uint8)
    levels = (thresholds * grey.max()).astype(np.int64)
    boxes = {level: _boxes_above(grey, int(level), multi_contour) for level in np.unique(levels)}
    return [boxes[level] for level in levels]


def check_score_map(score_map: np.ndarray) -> None:
    """Refuse what is no score map.

    Raises:
        ValueError: when it is not 2-D or has values outside [0, 1].
    """
    if np.ndim(score_map) != 2:
        raise ValueError(f"a score map must be 2-D (height, width), got shape {np.shape(score_map)}")
    if not (score_map.min() >= 0 and score_map.max() <= 1):
        raise ValueError(
            f"a score map must be in [0, 1], got {score_map.min()} to {score_map.max()}; scale it with normalize_map"
        )


def fixed_threshold_box(score_map: np.ndarray, threshold: float = 0.2) -> np.ndarray:
    """Box the largest region of the colour-mapped heat map in grey, at 224 x 224.

    Args:
        score_map: (h, w) of any range.
        threshold: share of the greatest grey level.

    Returns:
        (4,) int64 box (x0, y0, x1, y1), (0, 0, 1, 1) where nothing is above the threshold.
    """
    cv2, colormaps = _opencv(), require("matplotlib", "the fixed-threshold protocol").colormaps
    resized = cv2.resize(score_map, (FIXED_SIZE, FIXED_SIZE), interpolation=cv2.INTER_LINEAR)
    colors = (colormaps["cubehelix"](normalize_map(resized))[..., :3] * 255).astype(np.uint8)
    grey = cv2.cvtColor(colors, cv2.COLOR_RGB2GRAY)
    _, binary = cv2.threshold(grey, int(threshold * grey.max()), 255, cv2.THRESH_TOZERO)
    contours, _ = cv2.findContours(binary, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return np.array(NO_FIXED_BOX, dtype=np.int64)
    x, y, width, height = cv2.boundingRect(max(contours, key=cv2.contourArea))
    return np.array((x, y, x + width, y + height), dtype=np.int64)


def distance_transform_boxes(grey: np.ndarray, levels: Sequence[int] = (20, 100, 110)) -> np.ndarray:
    """Box the cores of regions at several grey levels, largest first, with overlapping smaller ones removed.

    Args:
        grey: (H, W) uint8 heat map at the picture's size.
        levels: grey levels.

    Returns:
        (N, 4) int64 boxes (x0, y0, x1, y1).

    Raises:
        ValueError: when `grey` is not a 2-D uint8 array.
    """
    if grey.ndim != 2 or grey.dtype != np.uint8:
        raise ValueError(f"grey must be a 2-D uint8 array, got {grey.dtype} of shape {grey.shape}")
    rectangles = [rectangle for level in levels for rectangle in _core_rectangles(grey > level)]
    rectangles.sort(key=lambda rectangle: rectangle[2] * rectangle[3], reverse=True)
    merged = np.array(_without_overlaps(rectangles), dtype=np.int64).reshape(-1, 4)
    return np.concatenate([merged[:, :2], merged[:, :2] + merged[:, 2:]], axis=1)


def _interpolation(length: int, new_length: int) -> torch.Tensor:
    """Make the (new_length, length) matrix of linear interpolation between cell centres."""
    positions = (torch.arange(new_length, dtype=torch.float64) + 0.5) * length / new_length - 0.5
    last = length - 1
    positions = (last - (last - positions.abs()).abs()).clamp(0, last)
    lower = positions.floor().long().clamp(max=max(last - 1, 0))
    share = positions - lower
    matrix = torch.zeros(new_length, length, dtype=torch.float64)
    matrix.scatter_add_(1, lower[:, None], (1 - share)[:, None])
    matrix.scatter_add_(1, (lower + 1).clamp(max=last)[:, None], share[:, None])
    return matrix


def _opencv() -> ModuleType:
    return require("cv2", "making boxes of heat maps")


def _boxes_above(grey: np.ndarray, level: int, multi_contour: bool) -> np.ndarray:
    cv2 = _opencv()
    _, binary = cv2.threshold(grey, level, 255, cv2.THRESH_BINARY)
    contours, _ = cv2.findContours(binary, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return np.array([NO_BOX], dtype=np.int64)
    if not multi_contour:
        contours = [max(contours, key=cv2.contourArea)]
    rectangles = np.array([cv2.boundingRect(contour) for contour in contours], dtype=np.int64)
    boxes = np.concatenate([rectangles[:, :2], rectangles[:, :2] + rectangles[:, 2:]], axis=1)
    boxes[:, 2:] = np.minimum(boxes[:, 2:], np.array(grey.shape)[::-1] - 1)
    return boxes


def _core_rectangles(binary: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Rectangles (x, y, width, height) around what is far enough inside `binary`, holes included."""
    cv2 = _opencv()
    distance = cv2.distanceTransform(binary.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    if distance.max() > distance.min():
        distance = np.floor(distance / distance.max() * 255 + 0.5)
    core = (distance > DISTANCE_LEVEL).astype(np.uint8)
    contours, _ = cv2.findContours(core, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    height, width = binary.shape
    rectangles = []
    for contour in contours:
        x, y, box_width, box_height = cv2.boundingRect(contour)
        box_width = min(max(box_width, 0), width - x - DISTANCE_MARGIN)
        box_height = min(max(box_height, 0), height - y - DISTANCE_MARGIN)
        x, y = min(x, width - DISTANCE_MARGIN), min(y, height - DISTANCE_MARGIN)
        rectangles.append((x, y, box_width, box_height))
    return rectangles


def _without_overlaps(rectangles: list[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    """Remove rectangles that a larger one overlaps by more than half of the larger area.

    As in the released code, the one that moves into the place of a removed one is not compared with the same larger
    rectangle.
    """
    kept, first = list(rectangles), 0
    while first < len(kept):
        second = first + 1
        while second < len(kept):
            if _intersection(kept[first], kept[second]) > int(max(_area(kept[first]), _area(kept[second])) * 0.5):
                del kept[second]
            second += 1
        first += 1
    return kept


def _area(rectangle: tuple[int, int, int, int]) -> int:
    return rectangle[2] * rectangle[3]


def _intersection(first: tuple[int, int, int, int], second: tuple[int, int, int, int]) -> int:
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    return max(width, 0) * max(height, 0)
