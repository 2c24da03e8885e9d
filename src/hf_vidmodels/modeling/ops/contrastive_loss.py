"""InfoNCE between predicted features of maps and the features that came, without the matrix of all pairs.

The loss is that of van den Oord et al., "Representation Learning with Contrastive Predictive Coding" (arXiv
1807.03748), over places of maps as in Han et al., "Video Representation Learning by Dense Predictive Coding" (ICCVW
2019). Which of its details Yang et al. (BMVC 2021) use is not public.
"""

from collections.abc import Collection
from typing import Any

import torch
from torch import nn

from ...configuration.configuration_hierarchical_motion import (
    BATCH,
    NEGATIVE_KINDS,
    SPATIAL,
    SPATIOTEMPORAL,
    TEMPORAL,
)

EPS = 1e-6
# Scores that are held at a time: few enough for the caches of a processor.
SCORES_AT_A_TIME = 2**21


def contrastive_loss(
    predictions: torch.Tensor,
    targets: torch.Tensor,
    *,
    offset: int = 1,
    similarity: str = "cosine",
    temperature: float = 0.07,
    negatives: Collection[str] = NEGATIVE_KINDS,
    max_negatives: int | None = None,
    scores_at_a_time: int = SCORES_AT_A_TIME,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ask of every prediction to be nearer to its feature than to others.

    The prediction made at time t is of the feature at t + `offset` at the same place. Memory grows with the number of
    predictions, not with its square: scores are made in blocks of rows, and so are the gradients, in the same pass.

    Args:
        predictions: (B, D, T, H, W).
        targets: (B, D, T, H, W).
        offset: frames, at least 1.
        similarity: `"cosine"` or `"dot"`.
        temperature: that scores are divided by.
        negatives: kinds of other features, see `HierarchicalMotionConfig`.
        max_negatives: features that are drawn, from torch's generator, for all predictions; those of them that are
            negatives of a prediction count. None for all.
        scores_at_a_time: numbers in a block.

    Returns:
        mean loss, and the share of predictions whose own feature has the highest score (an equal one counts if it
        comes later), both scalars of at least float32.

    Raises:
        ValueError: no more frames than `offset`, or no negative of these kinds in such maps.
    """
    batch_size, _, frames, height, width = predictions.shape
    if frames <= offset:
        raise ValueError(
            f"maps of {frames} frames have nothing {offset} frames ahead to be predicted; give longer clips or a "
            "smaller prediction_offset"
        )
    times, places = frames - offset, height * width
    _require_negatives(negatives, batch_size, times, places)
    with torch.autocast(predictions.device.type, enabled=False):
        dtype = torch.promote_types(predictions.dtype, torch.float32)
        anchors = _as_rows(predictions[:, :, :times].to(dtype))
        keys = _as_rows(targets[:, :, offset:].to(dtype))
        if similarity == "cosine":
            anchors, keys = (nn.functional.normalize(rows, dim=1, eps=EPS) for rows in (anchors, keys))
        columns = None
        if max_negatives is not None and max_negatives < len(keys):
            columns = torch.randperm(len(keys), device=keys.device)[:max_negatives].sort().values
        kinds = None if set(negatives) == set(NEGATIVE_KINDS) else frozenset(negatives)
        rows_at_a_time = max(scores_at_a_time // len(keys if columns is None else columns), 1)
        shape = (times * places, places)
        return _BlockwiseInfoNce.apply(anchors / temperature, keys, columns, kinds, shape, rows_at_a_time)


def _as_rows(maps: torch.Tensor) -> torch.Tensor:
    """Give (B * T * H * W, D)."""
    return maps.permute(0, 2, 3, 4, 1).flatten(0, 3)


def _require_negatives(kinds: Collection[str], batch_size: int, times: int, places: int) -> None:
    there = {
        SPATIAL: places > 1,
        TEMPORAL: times > 1,
        SPATIOTEMPORAL: places > 1 and times > 1,
        BATCH: batch_size > 1,
    }
    if not any(there[kind] for kind in kinds):
        raise ValueError(
            f"negatives {', '.join(kinds)}: there are none in {batch_size} clips of {times} predicted frames with "
            f"{places} places, so that there is nothing to learn; give more clips in a batch, or other kinds"
        )


class _BlockwiseInfoNce(torch.autograd.Function):
    """Rows against columns in blocks of rows, with the gradients of both, which follow from the same scores."""

    @staticmethod
    def forward(
        ctx: Any,
        anchors: torch.Tensor,
        keys: torch.Tensor,
        columns: torch.Tensor | None,
        kinds: frozenset[str] | None,
        shape: tuple[int, int],
        rows_at_a_time: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Give loss and accuracy; row i is of key i, and `columns` are the numbers of the keys that are negatives."""
        count = len(anchors)
        others = keys if columns is None else keys[columns]
        numbers = torch.arange(count, device=keys.device)
        others_numbers = numbers if columns is None else columns
        losses, own_shares = anchors.new_empty(count), anchors.new_empty(count)
        right = torch.empty(count, dtype=torch.bool, device=keys.device)
        wants_anchors, wants_keys = ctx.needs_input_grad[:2]
        of_anchors = torch.empty_like(anchors) if wants_anchors else None
        of_others = torch.zeros_like(others) if wants_keys else None
        for start in range(0, count, rows_at_a_time):
            rows = slice(start, start + rows_at_a_time)
            scores = anchors[rows] @ others.T
            # From the same product where it is there: summed in another order it would not equal its equals.
            own = scores.diagonal(start).clone() if columns is None else (anchors[rows] * keys[rows]).sum(1)
            if kinds is None and columns is None:
                scores.diagonal(start).fill_(-torch.inf)
            else:
                scores.masked_fill_(~_allowed(numbers[rows, None], others_numbers, kinds, *shape), -torch.inf)
            best, where = scores.max(1)
            right[rows] = (own > best) | ((own == best) & (others_numbers[where] > numbers[rows]))
            greatest = torch.maximum(best, own)
            # Softmax over the negatives and the row's own key, in place.
            shares, own_share = scores.sub_(greatest[:, None]).exp_(), (own - greatest).exp()
            total = shares.sum(1) + own_share
            losses[rows], own_shares[rows] = total.log() + greatest - own, own_share / total
            if wants_anchors or wants_keys:
                shares.div_(total[:, None])
            if wants_anchors:
                torch.mm(shares, others, out=of_anchors[rows])
            if wants_keys:
                of_others.addmm_(shares.T, anchors[rows])
        pull, of_keys = (own_shares - 1)[:, None], None
        if wants_anchors:
            of_anchors.addcmul_(pull, keys).div_(count)
        if wants_keys:
            of_keys = of_others if columns is None else torch.zeros_like(keys).index_add_(0, columns, of_others)
            of_keys.addcmul_(pull, anchors).div_(count)
        ctx.save_for_backward(of_anchors, of_keys)
        accuracy = right.to(losses.dtype).mean()
        ctx.mark_non_differentiable(accuracy)
        return losses.mean(), accuracy

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, of_loss: torch.Tensor, of_accuracy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Give the gradients that the forward pass made."""
        gradients = (None if gradient is None else gradient * of_loss for gradient in ctx.saved_tensors)
        return (*gradients, None, None, None, None)


def _allowed(
    rows: torch.Tensor, columns: torch.Tensor, kinds: frozenset[str] | None, clip_size: int, places: int
) -> torch.Tensor:
    """Tell which columns are negatives of which rows, by their numbers: bool (rows, columns)."""
    if kinds is None:
        return rows != columns
    same_clip = rows // clip_size == columns // clip_size
    same_time, same_place = rows // places == columns // places, rows % places == columns % places
    found = torch.zeros_like(same_clip)
    if BATCH in kinds:
        found |= ~same_clip
    if SPATIAL in kinds:
        found |= same_time & ~same_place
    if TEMPORAL in kinds:
        found |= same_clip & same_place & ~same_time
    if SPATIOTEMPORAL in kinds:
        found |= same_clip & ~same_place & ~same_time
    return found
