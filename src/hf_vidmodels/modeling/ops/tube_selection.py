"""Which tubes a step learns from: positives, of which each person gets one whatever the overlap, and drawn negatives.

STEP, section 3.3; constants and order of the official code (59da38a). Everything here has a fixed shape, with masks,
and runs over all clips at once, so that nothing waits for the device.
"""

from dataclasses import dataclass

import torch
from torch.nn.functional import one_hot

# Below any score: what must not be chosen.
NEVER = float("-inf")
LEAST_SCORE = 1e-12


@dataclass
class TubeSelection:
    """The chosen tubes of B clips, K of each.

    Attributes:
        tubes: (B, K) int64, place among the clip's candidates.
        persons: (B, K) int64, the person that each belongs to (of a negative: the nearest).
        is_positive: (B, K) bool.
        is_used: (B, K) bool; the others fill up and count nothing.
        moves: (B, K) bool, whether the box is learned.
    """

    tubes: torch.Tensor
    persons: torch.Tensor
    is_positive: torch.Tensor
    is_used: torch.Tensor
    moves: torch.Tensor


def pairwise_iou(boxes: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Give the overlaps (..., n, m) of boxes (..., n, 4) and (..., m, 4), without the +1 of the box coding."""
    first, second = boxes[..., :, None, :], others[..., None, :, :]
    common = (
        torch.minimum(first[..., 2:], second[..., 2:]) - torch.maximum(first[..., :2], second[..., :2])
    ).clamp_min(0)
    areas = [(box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1]) for box in (first, second)]
    intersection = common.clamp_min(0).prod(-1)
    return intersection / (areas[0] + areas[1] - intersection).clamp_min(LEAST_SCORE)


def candidate_scores(probabilities: torch.Tensor, topk: int) -> torch.Tensor:
    """Say which tubes of an earlier step may be chosen from, by the score with which each was first taken.

    For each class the best 2 * floor(topk / C) tubes come in question, and of all of them the best `topk`.

    Args:
        probabilities: (B, M, C).
        topk: most tubes of a clip.

    Returns:
        (B, M), minus infinity for tubes that are not taken.
    """
    count, classes = probabilities.shape[1:]
    of_class = min(max(2 * (topk // classes), 1), count)
    floor = probabilities.topk(of_class, dim=1).values[:, -1:]
    scores = probabilities.masked_fill(probabilities < floor, NEVER).amax(-1)
    if count > topk:
        scores = scores.masked_fill(scores < scores.topk(topk, dim=1).values[:, -1:], NEVER)
    return scores


def select_tubes(
    overlaps: torch.Tensor,
    is_person: torch.Tensor,
    is_candidate: torch.Tensor,
    scores: torch.Tensor | None,
    *,
    threshold: float,
    reg_threshold: float,
    max_positives: int,
    negative_ratio: int,
    sampling: str,
    generator: torch.Generator | None = None,
) -> TubeSelection:
    """Choose the tubes that a step learns from.

    A clip without people gives as many negatives as one with a single positive tube (ours; the official training has
    no such clips).

    Args:
        overlaps: (B, n, M) of the persons' boxes and the candidates' boxes in the key frame.
        is_person: (B, n) bool, False for rows that fill up.
        is_candidate: (B, M) bool.
        scores: (B, M) of the candidates; None takes their best overlaps.
        threshold: overlap above which a tube is positive.
        reg_threshold: overlap from which a negative's box is learned too.
        max_positives: most positives of a clip.
        negative_ratio: negatives for each positive.
        sampling: `"softmax"`, `"uniform"` (by the scores) or `"random"`.
        generator: of all draws.

    Returns:
        K = max_positives * (1 + negative_ratio) tubes of each clip, or fewer where there are fewer candidates.
    """
    count = overlaps.shape[2]
    overlaps = overlaps.masked_fill(~(is_person[:, :, None] & is_candidate[:, None]), -1)
    best, nearest = overlaps.max(1)
    forced = forced_positives(overlaps, is_person)
    is_forced = (forced >= 0).any(1)
    persons = torch.where(is_forced, forced.max(1).values, nearest)
    is_above = is_candidate & (best > threshold)

    def draw(shape: torch.Size) -> torch.Tensor:
        return torch.rand(shape, generator=generator, device=overlaps.device)

    # Persons' own tubes come first, in random order, then others above the threshold.
    order = draw(best.shape)
    rank = torch.where(is_forced, 1 + order, order).masked_fill(~(is_forced | is_above), NEVER)
    keys, positives = rank.topk(min(max_positives, count), dim=1)
    is_positive = keys > NEVER

    logits = negative_logits(best.clamp_min(0) if scores is None else scores, sampling)
    gumbel = -(-draw(best.shape).clamp_min(LEAST_SCORE).log()).clamp_min(LEAST_SCORE).log()
    # The largest sums of logarithms and Gumbel noise are draws without replacement.
    may_be_negative = is_candidate & ~is_above & ~is_forced
    num_drawn = min(max_positives * negative_ratio, count)
    keys, negatives = (logits + gumbel).masked_fill(~may_be_negative, NEVER).topk(num_drawn, dim=1)
    wanted = negative_ratio * is_positive.sum(1, keepdim=True).clamp_min(1)
    is_negative = (keys > NEVER) & (torch.arange(num_drawn, device=keys.device) < wanted)

    tubes = torch.cat((positives, negatives), dim=1)
    is_used = torch.cat((is_positive, is_negative), dim=1)
    is_positive = torch.cat((is_positive, torch.zeros_like(is_negative)), dim=1)
    moves = is_positive | (is_used & (best.gather(1, tubes) >= reg_threshold))
    return TubeSelection(tubes, persons.gather(1, tubes), is_positive, is_used, moves)


def forced_positives(overlaps: torch.Tensor, is_person: torch.Tensor) -> torch.Tensor:
    """Give every person a tube of its own, whatever the overlap: those with the largest overlap choose first.

    Args:
        overlaps: (B, n, M), -1 where person or candidate only fill up.
        is_person: (B, n) bool.

    Returns:
        (B, n, M) int64, at the tube of a person the person's number, and -1 elsewhere.
    """
    batch, people, count = overlaps.shape
    free = overlaps
    chosen = torch.full_like(overlaps, -1, dtype=torch.int64)
    number = torch.arange(people, device=overlaps.device)[:, None]
    for _ in range(people):
        largest, place = free.flatten(1).max(1)
        is_pair = one_hot(place, people * count).view(batch, people, count).bool() & (largest >= 0)[:, None, None]
        chosen = torch.where(is_pair, number, chosen)
        taken = is_pair.any(1, keepdim=True) | is_pair.any(2, keepdim=True)
        free = free.masked_fill(taken, -1)
    return chosen


def negative_logits(scores: torch.Tensor, sampling: str) -> torch.Tensor:
    """Give the logarithms, up to a constant, of the chances (B, M) with which negatives are drawn."""
    if sampling == "softmax":
        return scores
    return scores.clamp_min(LEAST_SCORE).log() if sampling == "uniform" else torch.zeros_like(scores)
