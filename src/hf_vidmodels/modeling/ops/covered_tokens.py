"""Tokens of a grid that the windows of a pooling cover, where its strides jump over others.

What no window covers need not be projected before the pooling.
"""

import torch

Triple = tuple[int, int, int]


def jumps_over_tokens(kernel: Triple, stride: Triple) -> bool:
    """Tell whether some tokens of a large grid are in no window."""
    return any(step > size for size, step in zip(kernel, stride, strict=True))


def covered_tokens(
    tokens: torch.Tensor, grid: Triple, kernel: Triple, stride: Triple, has_class_token: bool
) -> tuple[torch.Tensor, Triple, Triple]:
    """Leave out the tokens that no window covers; the pooling gives the same of those left with a smaller stride.

    Windows have margins of half a kernel.

    Args:
        tokens: (B, N, C) on `grid`, frames outermost, behind a class token if there is one, which is kept.
        grid: (T, H, W).
        kernel: of the pooling, over time, height and width.
        stride: of the pooling.
        has_class_token: whether the first token is on no grid.

    Returns:
        (B, N', C), their grid and the stride for it.
    """
    positions, closer = zip(
        *(
            covered_positions(side, size, step, tokens.device)
            for side, size, step in zip(grid, kernel, stride, strict=True)
        ),
        strict=True,
    )
    frames, rows, columns = positions
    index = ((frames[:, None, None] * grid[1] + rows[:, None]) * grid[2] + columns).flatten()
    if has_class_token:
        index = torch.cat((index.new_zeros(1), index + 1))
    return tokens.index_select(1, index), tuple(map(len, positions)), closer


def covered_positions(side: int, size: int, step: int, device: torch.device) -> tuple[torch.Tensor, int]:
    """Give those of 0 to `side` - 1 that windows of a size cover, ascending, and the step of the windows over them."""
    margin = size // 2
    windows = (side + 2 * margin - size) // step + 1
    # PyTorch pools nothing that is smaller than a kernel, as what a single window leaves would be.
    if step <= size or windows == 1:
        return torch.arange(side, device=device), step
    starts = torch.arange(windows, device=device) * step - margin
    positions = (starts[:, None] + torch.arange(size, device=device)).flatten()
    # The first window begins in the margin, and the last may end in it.
    behind = max((windows - 1) * step - margin + size - side, 0)
    return positions[margin : len(positions) - behind], size
