"""Single operations of STEP against the official ones, and what must hold beyond these."""

import numpy as np
import pytest
import torch
from torchvision.ops import roi_align, roi_pool

from hf_vidmodels.configuration.configuration_step import proposal_grid
from hf_vidmodels.modeling.ops.box_coding import decode_boxes, encode_boxes
from hf_vidmodels.modeling.ops.detections import (
    keep_best,
    list_detections,
    suppress_by_class,
)
from hf_vidmodels.modeling.ops.tube_extension import extend_linearly, keep_in_frame
from hf_vidmodels.modeling.ops.tube_losses import box_loss, class_loss
from hf_vidmodels.modeling.ops.tube_selection import (
    candidate_scores,
    forced_positives,
    negative_logits,
    pairwise_iou,
    select_tubes,
)
from step_cases import operations

PARAMETERS, VALUES = operations()
SIZE = (400, 400)


def select(overlaps, **changes):
    overlaps = overlaps[None] if overlaps.ndim == 2 else overlaps
    people = changes.pop("is_person", torch.ones(overlaps.shape[:2], dtype=torch.bool))
    candidates = torch.ones(len(overlaps), overlaps.shape[2], dtype=torch.bool)
    settings = {"threshold": 0.35, "reg_threshold": 0.35, "max_positives": 5, "negative_ratio": 2}
    settings |= {"sampling": "softmax", "scores": None, "generator": torch.Generator().manual_seed(0)}
    return select_tubes(overlaps, people, candidates, **(settings | changes))


@pytest.mark.parametrize("mode", "1234")
def test_cuboids_are_the_official_ones(mode):
    boxes = torch.tensor(proposal_grid(*PARAMETERS["proposals"][mode]))
    torch.testing.assert_close(boxes, VALUES[f"proposals.mode{mode}"], atol=1e-6, rtol=0)


def test_boxes_are_coded_as_officially():
    targets, boxes = VALUES["coding.gt"], VALUES["coding.proposals"]
    torch.testing.assert_close(encode_boxes(targets, boxes), VALUES["coding.encoded"])
    torch.testing.assert_close(decode_boxes(VALUES["coding.deltas"], boxes), VALUES["coding.decoded"])
    torch.testing.assert_close(decode_boxes(encode_boxes(targets, boxes), boxes), targets, atol=1e-3, rtol=0)


def test_boxes_without_a_person_become_the_whole_frame():
    torch.testing.assert_close(keep_in_frame(VALUES["valid.in"], SIZE), VALUES["valid.out"])
    broken = torch.tensor([[float("nan"), 0, 9, 9], [5, 5, float("inf"), 50], [float("-inf"), 1, 3, 4]])
    kept = keep_in_frame(broken, (60, 80))
    assert kept.tolist() == [[0, 0, 80, 60], [5, 5, 80, 50], [0, 1, 3, 4]]


@pytest.mark.parametrize("length", [3, 5])
def test_tubes_go_on_along_their_line(length):
    extended = extend_linearly(VALUES[f"extrapolate.T{length}.in"], length, SIZE)
    torch.testing.assert_close(extended, VALUES[f"extrapolate.T{length}.out"])


def test_overlaps_are_the_official_ones():
    torch.testing.assert_close(pairwise_iou(VALUES["iou.a"], VALUES["iou.b"]), VALUES["iou.out"])
    frames = pairwise_iou(VALUES["tube_iou.a"].transpose(0, 1), VALUES["tube_iou.b"].transpose(0, 1))
    torch.testing.assert_close(frames.mean(0), VALUES["tube_iou.out"])


def test_torchvision_pools_regions_as_the_official_kernels():
    settings = VALUES["roi.features"], VALUES["roi.rois"], (7, 7), PARAMETERS["roi"]["spatial_scale"]
    aligned = roi_align(*settings, sampling_ratio=0, aligned=False)
    torch.testing.assert_close(aligned, VALUES["roi.align"])
    torch.testing.assert_close(roi_pool(*settings), VALUES["roi.pool"])


@pytest.mark.parametrize(("boxes", "threshold"), [("nms", 0.3), ("nms", 0.4), ("nms", 0.6), ("nms_small", 0.4)])
def test_suppression_keeps_the_official_boxes(boxes, threshold):
    scores = VALUES[f"{boxes}.scores"][None, :, None]
    found = suppress_by_class(VALUES[f"{boxes}.boxes"][None], scores, 0.0, threshold)
    assert found[0, :, 0].nonzero().flatten().tolist() == VALUES[f"{boxes}.keep_{threshold}"].tolist()


def test_suppression_of_a_batch_is_that_of_its_classes_and_clips():
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(3, 20, 2, generator=generator) * 60
    boxes = torch.cat((corners, corners + 10 + 30 * torch.rand(3, 20, 2, generator=generator)), dim=-1)
    scores = torch.rand(3, 20, 4, generator=generator)
    together = suppress_by_class(boxes, scores, 0.2, 0.4)
    for clip in range(3):
        for label in range(4):
            alone = suppress_by_class(boxes[clip, None], scores[clip, None, :, label, None], 0.2, 0.4)
            assert torch.equal(together[clip, :, label], alone[0, :, 0])


def test_detections_are_sorted_cut_and_the_same_in_both_forms():
    boxes = torch.tensor([[[0.0, 0, 9, 9], [20, 20, 40, 40]]])
    scores = torch.tensor([[[0.2, 0.9], [0.5, 0.1]]])
    found = torch.tensor([[[True, True], [True, False]]])
    (best,) = list_detections(boxes, scores, found, 2)
    assert best["scores"].tolist() == pytest.approx([0.9, 0.5]) and best["labels"].tolist() == [1, 0]
    (everything,) = list_detections(boxes, scores, found, 0)
    assert everything["labels"].tolist() == [0, 0, 1]
    kept = keep_best(scores, found, 2)
    torch.testing.assert_close(kept, torch.tensor([[[0, 0.9], [0.5, 0]]]))


@pytest.mark.parametrize("tag", ["step1", "later", "uniform"])
def test_tubes_are_chosen_from_the_official_sets(tag):
    expected, overlaps = PARAMETERS["sampling"][tag], VALUES[f"sampling.{tag}.iou"]
    torch.testing.assert_close(pairwise_iou(VALUES["sampling.gt"], VALUES["sampling.anchors"]), overlaps)
    forced = forced_positives(overlaps[None], torch.ones(1, 3, dtype=torch.bool))[0]
    pairs = {(int(forced[:, tube].max()), tube) for tube in range(34) if (forced[:, tube] >= 0).any()}
    assert pairs == {tuple(pair) for pair in expected["forced_positives"]}
    own = {tube for _, tube in pairs}
    best = overlaps.max(0).values
    above = set((best > expected["cls_thresh"]).nonzero().flatten().tolist())
    assert sorted(above - own) == expected["extra_positive_candidates"]
    negatives = expected["negative_candidates"]
    assert sorted(set(range(34)) - above - own) == negatives
    scores = VALUES.get(f"sampling.{tag}.scores", best)
    chances = negative_logits(scores, expected["mode"])[negatives].double().softmax(0)
    np.testing.assert_allclose(chances, expected["negative_probabilities"], atol=1e-6)

    chosen = select(overlaps, scores=VALUES.get(f"sampling.{tag}.scores", best)[None], sampling=expected["mode"])
    assert own <= set(chosen.tubes[0, :5].tolist()) <= own | above and chosen.is_positive[0, :5].all()
    assert set(chosen.tubes[0, 5:].tolist()) <= set(negatives) and not chosen.is_positive[0, 5:].any()
    assert chosen.is_used.all() and len(set(chosen.tubes[0].tolist())) == 15
    assert [[int(p), int(t)] for p, t in zip(chosen.persons[0, :5], chosen.tubes[0, :5], strict=True) if int(t) in own]


def test_negatives_are_drawn_by_their_chances():
    overlaps = torch.tensor([[0.9, 0.0, 0.0, 0.0]])
    scores = torch.tensor([[1.0, 3.0, 1.0, 0.5]])
    counts = torch.zeros(4)
    generator = torch.Generator().manual_seed(0)
    for _ in range(600):
        chosen = select(
            overlaps, scores=scores, sampling="uniform", max_positives=1, negative_ratio=1, generator=generator
        )
        counts[chosen.tubes[0, 1]] += 1
    np.testing.assert_allclose(counts / 600, [0, 3 / 4.5, 1 / 4.5, 0.5 / 4.5], atol=0.06)


def test_more_people_than_positives_are_cut_at_random():
    overlaps = torch.eye(8) * 0.5 + 0.1
    seen = set()
    for seed in range(8):
        chosen = select(overlaps, max_positives=3, generator=torch.Generator().manual_seed(seed))
        assert chosen.is_positive[0, :3].all()
        assert torch.equal(chosen.tubes[0, :3], chosen.persons[0, :3])
        seen |= set(chosen.tubes[0, :3].tolist())
    assert len(seen) > 3


def test_a_clip_without_people_is_all_negative():
    chosen = select(torch.zeros(1, 2, 9), is_person=torch.zeros(1, 2, dtype=torch.bool))
    assert not chosen.is_positive.any() and not chosen.moves.any()
    assert int(chosen.is_used.sum()) == 2


def test_a_later_step_chooses_from_the_best_tubes_of_each_class():
    probabilities = torch.tensor([[[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.1, 0.05]]])
    scores = candidate_scores(probabilities, 2)
    # Two of each class come in question, and of these the best two of all.
    assert scores[0].tolist() == pytest.approx([0.9, 0.8, float("-inf"), float("-inf")])
    assert candidate_scores(probabilities, 4)[0].isfinite().sum() == 4


def test_losses_are_means_over_what_counts():
    logits, targets = torch.zeros(4, 3), torch.zeros(4, 3)
    used = torch.tensor([True, True, False, False])
    assert class_loss(logits, targets, used) == pytest.approx(0.693147, abs=1e-5)
    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 19, 19]])
    nothing = torch.zeros(2, 4, requires_grad=True)
    empty = torch.zeros(2, 4)
    loss = box_loss(nothing, empty, boxes, torch.zeros(2, dtype=torch.bool))
    loss.backward()
    assert loss == 0 and torch.equal(nothing.grad, torch.zeros(2, 4))
