from itertools import product

import pytest
import torch

from hf_vidmodels.modeling.layers.shifted_windows import (
    MASK_VALUE,
    MAX_LAYOUTS,
    fit_window,
    relative_position_index,
    window_layout,
)

CPU = torch.device("cpu")


def rolled_windows(grid, window, shift):
    """Pad, roll and cut step by step: tokens (windows, n) with -1 for padding, and the mask of every window."""
    padded = [-(-side // size) * size for side, size in zip(grid, window, strict=True)]
    tokens = torch.full(padded, -1)
    tokens[: grid[0], : grid[1], : grid[2]] = torch.arange(grid[0] * grid[1] * grid[2]).view(grid)
    tokens = tokens.roll([-step for step in shift], (0, 1, 2))
    regions = torch.zeros(padded)
    slices = [
        (slice(0, -size), slice(-size, -step or None), slice(-step, None)) if step else (slice(0, None),)
        for size, step in zip(window, shift, strict=True)
    ]
    for number, place in enumerate(product(*slices)):
        regions[place] = number
    found = []
    for start in product(*(range(0, side, size) for side, size in zip(padded, window, strict=True))):
        place = tuple(slice(first, first + size) for first, size in zip(start, window, strict=True))
        region = regions[place].flatten()
        mask = torch.where(region[:, None] == region, 0.0, MASK_VALUE)
        found.append((tokens[place].flatten().tolist(), mask))
    return found


@pytest.mark.parametrize(
    ("grid", "window_size"),
    [
        ((8, 14, 14), (8, 7, 7)),
        ((16, 14, 7), (8, 7, 7)),
        ((9, 10, 5), (4, 3, 3)),
        ((5, 4, 11), (2, 7, 3)),
        ((3, 3, 3), (4, 4, 4)),
    ],
)
@pytest.mark.parametrize("is_shifted", [False, True])
def test_one_gather_does_what_padding_rolling_and_cutting_do(grid, window_size, is_shifted):
    window, shift = fit_window(grid, window_size, is_shifted)
    layout = window_layout(grid, window, shift, CPU)
    masks = [mask for count, mask in layout.kinds for _ in range(count)]
    windows = layout.gather.view(layout.num_windows, layout.window_tokens)
    num_tokens = grid[0] * grid[1] * grid[2]
    ours = {}
    for tokens, mask in zip(windows.tolist(), masks, strict=True):
        key = tuple(-1 if token == num_tokens else token for token in tokens)
        ours[key] = torch.zeros(len(tokens), len(tokens)) if mask is None else mask
    expected = rolled_windows(grid, window, shift)
    assert len(expected) == layout.num_windows
    for tokens, mask in expected:
        assert torch.equal(ours[tuple(tokens)], mask)
    assert torch.equal(layout.gather[layout.scatter], torch.arange(num_tokens))
    assert layout.is_padded == bool((layout.gather == num_tokens).any())


def test_windows_shrink_to_short_axes_and_stop_shifting_there():
    assert fit_window((6, 56, 7), (8, 7, 7), True) == ((6, 7, 7), (0, 3, 0))
    assert fit_window((16, 14, 14), (8, 7, 7), True) == ((8, 7, 7), (4, 3, 3))


def test_masks_are_kept_once_for_each_kind_of_window():
    layout = window_layout((16, 56, 56), (8, 7, 7), (4, 3, 3), CPU)
    assert layout.num_windows == 128
    assert [count for count, _ in layout.kinds] == [49, 7, 7, 1, 49, 7, 7, 1]
    assert layout.kinds[0][1] is None


def test_positions_are_numbered_by_offset_with_time_slowest():
    index = relative_position_index((2, 3, 3), CPU)
    assert index.shape == (18, 18)
    assert index[0, 0] == 1 * 25 + 2 * 5 + 2
    assert index[9, 0] - index[0, 0] == 25
    assert index[3, 0] - index[0, 0] == 5
    assert torch.equal(index + index.T, torch.full_like(index, 2 * int(index[0, 0])))


def test_layouts_are_remembered_but_not_without_end_and_serve_training_after_inference():
    window_layout.cache_clear()
    with torch.inference_mode():
        layout = window_layout((4, 6, 6), (2, 3, 3), (1, 1, 1), CPU)
    assert window_layout((4, 6, 6), (2, 3, 3), (1, 1, 1), CPU) is layout
    assert not layout.gather.is_inference()
    assert window_layout.cache_info().maxsize == relative_position_index.cache_info().maxsize == MAX_LAYOUTS
