"""Geometry of temporal segments `[start, end]`: intersection, intersection over union, and a validity check.

Segments are the last dimension of a tensor, `(..., N, 2)`; the unit of time does not matter as long as it is one.
"""

import torch


def temporal_intersection(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Length of the common part of every segment of `a` with every segment of `b`.

    Args:
        a: `(..., N, 2)` segments `[start, end]`.
        b: `(..., M, 2)` segments, with leading dimensions that broadcast against those of `a`.

    Returns:
        `(..., N, M)` lengths, 0 where two segments do not meet.
    """
    start = torch.maximum(a[..., :, None, 0], b[..., None, :, 0])
    end = torch.minimum(a[..., :, None, 1], b[..., None, :, 1])
    return (end - start).clamp(min=0)


def temporal_iou(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Temporal intersection over union (tIoU) of every segment of `a` with every segment of `b`.

    Args:
        a: `(..., N, 2)` segments `[start, end]`, with `end >= start`.
        b: `(..., M, 2)` segments, with leading dimensions that broadcast against those of `a`.

    Returns:
        `(..., N, M)` values in [0, 1], in the precision of the input. Two segments of length zero have tIoU 0, also
        with themselves.
    """
    intersection = temporal_intersection(a, b)
    length_a = (a[..., 1] - a[..., 0])[..., :, None]
    length_b = (b[..., 1] - b[..., 0])[..., None, :]
    union = length_a + length_b - intersection
    covers_time = union > 0
    return torch.where(covers_time, intersection / torch.where(covers_time, union, 1), 0)


def check_segments(segments: torch.Tensor, name: str = "segments") -> None:
    """Refuse what is not a list of segments.

    Args:
        segments: what should be `(N, 2)` finite numbers with `end >= start`.
        name: how the error calls them.

    Raises:
        ValueError: naming the first segment at fault.
    """
    if segments.ndim != 2 or segments.shape[1] != 2:
        raise ValueError(f"{name} must have shape (N, 2) with [start, end] rows, got {tuple(segments.shape)}")
    wrong = ~torch.isfinite(segments).all(dim=1) | (segments[:, 1] < segments[:, 0])
    if wrong.any():
        index = int(wrong.nonzero()[0, 0])
        raise ValueError(
            f"{name} must be finite with end >= start, got {segments[index].tolist()} at row {index}; drop such rows"
        )
