"""Where the tokens of a grid go when attention runs inside (shifted) windows.

Padding, shifting and cutting a grid into windows only move tokens, and so do their inverses: each way is one gather.
Windows that need the same mask are put side by side, so that a mask is kept once for each of the at most eight kinds
and not once for each window.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod

import torch

from ...configuration.configuration_backbones import Grid

# Layouts in memory: a network needs two for each stage and grid.
MAX_LAYOUTS = 64
# What the official code adds between tokens that are no neighbours in the video.
MASK_VALUE = -100.0


@dataclass(frozen=True)
class WindowLayout:
    """Windows of `window_tokens` tokens over a grid of N, `num_windows` in all.

    Attributes:
        gather: (num_windows * window_tokens,) token of the grid at every place; N stands for padding.
        scatter: (N,) place of every token of the grid.
        window_tokens: tokens of a window.
        num_windows: windows of a clip.
        kinds: neighbouring windows that share a mask: how many, and the mask (window_tokens, window_tokens), 0 or
            `MASK_VALUE`, or None where nothing is masked.
        is_padded: whether any place is padding.
    """

    gather: torch.Tensor
    scatter: torch.Tensor
    window_tokens: int
    num_windows: int
    kinds: tuple[tuple[int, torch.Tensor | None], ...]
    is_padded: bool


def fit_window(grid: Grid, window_size: Grid, is_shifted: bool) -> tuple[Grid, Grid]:
    """Give window and shift at run time: along an axis that a window covers it shrinks to the axis and stays put."""
    window = tuple(min(side, size) for side, size in zip(grid, window_size, strict=True))
    shift = tuple(size // 2 if is_shifted and side > size else 0 for side, size in zip(grid, window_size, strict=True))
    return window, shift


@lru_cache(maxsize=MAX_LAYOUTS)
def window_layout(grid: Grid, window: Grid, shift: Grid, device: torch.device) -> WindowLayout:
    """Lay windows over a grid that is padded at its ends to multiples of the window and rolled back by the shift.

    Args:
        grid: (T, H, W).
        window: (t, h, w), as `fit_window` gives it.
        shift: along each axis, less than the window.
        device: of the index tensors.
    """
    # Cached tensors must serve training too, whoever asks first.
    with torch.inference_mode(False), torch.no_grad():
        num_tokens = prod(grid)
        padded = [-(-side // size) * size for side, size in zip(grid, window, strict=True)]
        tokens = torch.full(padded, num_tokens)
        tokens[: grid[0], : grid[1], : grid[2]] = torch.arange(num_tokens).view(grid)
        tokens = tokens.roll([-step for step in shift], (0, 1, 2))
        counts = [side // size for side, size in zip(padded, window, strict=True)]
        for axis, size in enumerate(window):
            tokens = tokens.unflatten(2 * axis, (counts[axis], size))
        windows = tokens.permute(0, 2, 4, 1, 3, 5).flatten(3)
        gather, kinds = [], []
        for is_last in product(*((False, True) if step else (None,) for step in shift)):
            part = windows
            for axis, last in enumerate(is_last):
                if last is not None:
                    start, length = (counts[axis] - 1, 1) if last else (0, counts[axis] - 1)
                    part = part.narrow(axis, start, length)
            if part.numel():
                gather.append(part.reshape(-1))
                kinds.append((len(gather[-1]) // prod(window), _region_mask(window, shift, is_last, device)))
        places = torch.cat(gather)
        scatter = torch.empty(num_tokens + 1, dtype=torch.long)
        scatter[places] = torch.arange(len(places))
        return WindowLayout(
            gather=places.to(device),
            scatter=scatter[:num_tokens].to(device),
            window_tokens=prod(window),
            num_windows=prod(counts),
            kinds=tuple(kinds),
            is_padded=padded != list(grid),
        )


def _region_mask(
    window: Grid, shift: Grid, is_last: tuple[bool | None, ...], device: torch.device
) -> torch.Tensor | None:
    """Part the last window of a shifted axis where the roll joined both ends of that axis."""
    if not any(is_last):
        return None
    regions = torch.zeros(window, dtype=torch.long)
    for axis, last in enumerate(is_last):
        if last:
            regions.narrow(axis, window[axis] - shift[axis], shift[axis]).add_(2**axis)
    regions = regions.flatten()
    return torch.where(regions[:, None] == regions, 0.0, MASK_VALUE).to(device)


@lru_cache(maxsize=MAX_LAYOUTS)
def relative_position_index(window_size: Grid, device: torch.device) -> torch.Tensor:
    """Number the offset of every pair of tokens of a window.

    Returns:
        (n, n) int64 for n tokens of `window_size`: row of the bias table for query and key.
    """
    with torch.inference_mode(False), torch.no_grad():
        positions = torch.cartesian_prod(*(torch.arange(size) for size in window_size)).view(-1, 3)
        offsets = positions[:, None] - positions + torch.tensor(window_size) - 1
        sides = [2 * size - 1 for size in window_size]
        weights = torch.tensor([sides[1] * sides[2], sides[2], 1])
        return (offsets * weights).sum(-1).to(device)
