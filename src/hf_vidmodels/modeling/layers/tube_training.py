"""What the steps of STEP learn from: tubes are chosen among what each step is given, looked at again with gradients,
and compared with people and their classes (section 3.3; order and constants of the official code 59da38a).
"""

import torch

from ..ops.tube_losses import box_loss, class_loss
from ..ops.tube_selection import TubeSelection, candidate_scores, pairwise_iou, select_tubes
from .tube_cascade import ClipFeatures, TubeCascade, clip_of_tubes


def cascade_losses(
    cascade: TubeCascade,
    features: ClipFeatures,
    tubes: torch.Tensor,
    mask: torch.Tensor,
    labels: torch.Tensor,
    box_labels: torch.Tensor,
    generator: torch.Generator | None,
) -> dict[str, torch.Tensor]:
    """Give the loss of all steps, and its parts.

    Every step but the last one is looked at twice: once without gradients and dropout on all tubes, which gives the
    next step its candidates, and once with them on the chosen ones. What is cut out of the feature frames is shared by
    both looks.

    Args:
        cascade: the heads.
        features: of B clips.
        tubes: (B * M, T_1, 4) in pixels, clip by clip.
        mask: (B, M) bool, tubes that do not only fill up.
        labels: (B, n, C) of 0 and 1.
        box_labels: (B, n, num_chunks, 4) in pixels, zeros where unknown.
        generator: of all draws; None for torch's own.

    Returns:
        `loss`, the weighted sum, and without gradients `cls_loss`, `reg_loss` and `neighbor_loss`; float32.
    """
    config, (batch, count) = cascade.config, mask.shape
    quiet, clips = features.detach(), clip_of_tubes(features, tubes)
    first_row = torch.arange(batch, device=tubes.device)[:, None] * count
    candidates, scores, is_candidate = tubes, None, mask
    sums: dict[str, torch.Tensor] = {}
    for step in range(config.num_steps):
        chosen = choose(cascade, candidates, is_candidate, scores, box_labels, step, generator)
        rows = (chosen.tubes + first_row).flatten()
        chosen_tubes, chosen_clips = candidates[rows], clips[rows]
        if step == config.num_steps - 1:
            regions = cascade.cut(features, chosen_tubes, chosen_clips, step)
        else:
            all_regions = cascade.cut(features, candidates, clips, step)
            regions = all_regions.index_select(0, rows)
            with torch.no_grad():
                seen = cascade.predict(quiet, all_regions.detach(), candidates, clips, step, drops=False)
                probabilities = seen.scores.logits.float().sigmoid().unflatten(0, (batch, count))
                scores = candidate_scores(probabilities.masked_fill(~mask[..., None], 0), config.train_topk)
                is_candidate = mask & scores.isfinite()
                candidates = cascade.next_tubes(seen, step, cuts_first=True)
        of_step = compare(cascade, features, regions, chosen_tubes, chosen_clips, chosen, labels, box_labels, step)
        sums = {name: sums.get(name, 0) + value for name, value in of_step.items()}
    weights = {"cls_loss": 1.0, "reg_loss": config.loss_reg_weight, "neighbor_loss": config.loss_neighbor_weight}
    loss = sum(weights[name] * value for name, value in sums.items())
    return {"loss": loss, **{name: value.detach() for name, value in sums.items()}}


@torch.no_grad()
def choose(
    cascade: TubeCascade,
    candidates: torch.Tensor,
    is_candidate: torch.Tensor,
    scores: torch.Tensor | None,
    box_labels: torch.Tensor,
    step: int,
    generator: torch.Generator | None,
) -> TubeSelection:
    """Choose tubes for a step by their overlap with people in the key frame; arguments as of `cascade_losses`."""
    config = cascade.config
    middle = candidates[:, candidates.shape[1] // 2].unflatten(0, is_candidate.shape)
    people = box_labels[:, :, config.num_chunks // 2].float()
    thresholds, reg_thresholds = config.cls_iou_thresholds, config.reg_iou_thresholds
    return select_tubes(
        pairwise_iou(people, middle),
        people.any(-1),
        is_candidate,
        scores,
        threshold=thresholds[min(step, len(thresholds) - 1)],
        reg_threshold=reg_thresholds[min(step, len(reg_thresholds) - 1)],
        max_positives=config.max_positives,
        negative_ratio=config.negative_ratio,
        sampling=config.negative_sampling,
        generator=generator,
    )


def compare(
    cascade: TubeCascade,
    features: ClipFeatures,
    regions: torch.Tensor,
    tubes: torch.Tensor,
    clips: torch.Tensor,
    chosen: TubeSelection,
    labels: torch.Tensor,
    box_labels: torch.Tensor,
    step: int,
) -> dict[str, torch.Tensor]:
    """Give the three losses of one step on chosen tubes, before they are weighted.

    Args:
        cascade: the heads.
        features: of B clips.
        regions: (B * K, T_s, C, P, P) what is cut out of them at the tubes.
        tubes: (B * K, T_s, 4).
        clips: (B * K,) the clip of each tube.
        chosen: what the tubes are, (B, K).
        labels: (B, n, C).
        box_labels: (B, n, num_chunks, 4).
        step: from 0.
    """
    config, count = cascade.config, tubes.shape[1]
    half, middle = config.chunk_length // 2, count // 2
    ends = (half, count - 1 - half)
    learns_neighbors = config.learns_neighbors(step)
    # Boxes are compared in the middle of chunks alone, so no others are asked for.
    frames = sorted({middle, *ends}) if learns_neighbors else [middle]
    places = tuple([frames.index(end)] for end in ends) if learns_neighbors else None
    scores = cascade[step](regions, cascade.context_of(features, clips, step), frames, places)
    shape, people = chosen.tubes.shape, chosen.persons
    targets = labels.gather(1, people[..., None].expand(-1, -1, labels.shape[-1])) * chosen.is_positive[..., None]
    losses = {"cls_loss": class_loss(scores.logits.unflatten(0, shape), targets, chosen.is_used)}
    losses["reg_loss"] = losses["neighbor_loss"] = losses["cls_loss"].new_zeros(())
    if scores.deltas is None:
        return losses
    boxes = box_labels.float().gather(1, people[..., None, None].expand(-1, -1, *box_labels.shape[2:]))
    key = config.num_chunks // 2
    losses["reg_loss"] = box_loss(
        scores.deltas[:, frames.index(middle)].unflatten(0, shape),
        boxes[:, :, key],
        tubes[:, middle].unflatten(0, shape),
        chosen.moves & chosen.is_used,
    )
    if learns_neighbors:
        reach = config.chunks_per_step[step] // 2 + 1
        wanted = torch.stack((boxes[:, :, key - reach], boxes[:, :, key + reach]))
        losses["neighbor_loss"] = box_loss(
            torch.stack((scores.first_deltas[:, 0], scores.last_deltas[:, 0])).unflatten(1, shape),
            wanted,
            torch.stack([tubes[:, end] for end in ends]).unflatten(1, shape),
            chosen.is_positive & wanted.any(-1),
        )
    return losses
