"""The detector: sizes, training, answers over a film, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hf_vidmodels import StepConfig, StepForActionDetection, StepVideoProcessor
from hf_vidmodels.modeling.layers.tube_training import cascade_losses
from hf_vidmodels.modeling.ops.tube_selection import select_tubes
from method_examples import step_batch, step_config
from model_checks import assert_checkpointing_changes_no_gradient


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return StepForActionDetection(step_config(freeze_batch_norm_stats=True)).eval()


@pytest.fixture(scope="module")
def processor(model):
    return StepVideoProcessor.from_config(model.config)


@pytest.fixture(scope="module")
def clips():
    return step_batch()["pixel_values"]


@pytest.fixture(scope="module")
def film():
    return np.random.default_rng(0).integers(0, 256, (100, 36, 48, 3), dtype=np.uint8)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_full_model_has_the_published_numbers_of_weights():
    with torch.device("meta"):
        model = StepForActionDetection(StepConfig())
    assert count(model.backbone) == 7_528_256
    assert count(model.context) == 4_759_008
    assert count(model.heads[0]) == 10_721_320
    assert count(model) == 44_451_224


def test_a_batch_gives_what_its_clips_give(model, clips):
    with torch.no_grad():
        together = model(clips)
        for number in range(2):
            alone = model(clips[number : number + 1])
            torch.testing.assert_close(alone.logits[0], together.logits[number], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(alone.pred_boxes[0], together.pred_boxes[number], atol=1e-3, rtol=1e-4)


def test_proposals_replace_the_cuboids_and_what_fills_up_changes_nothing(model, clips):
    boxes = torch.tensor([[4.0, 4, 30, 30], [20, 10, 60, 44]])
    filled = torch.stack((torch.cat((boxes, torch.zeros(1, 4))), torch.cat((boxes[:1], torch.zeros(2, 4)))))
    mask = torch.tensor([[True, True, False], [True, False, False]])
    with torch.no_grad():
        output = model(clips, proposals=filled, proposal_mask=mask)
        alone = model(clips[:1], proposals=boxes[None])
    torch.testing.assert_close(output.logits[0, :2], alone.logits[0], atol=1e-5, rtol=1e-4)
    assert torch.equal(output.tubes.shape and output.proposal_mask, mask)


def test_training_gives_losses_alone_and_follows_the_generator(model, clips):
    batch = {name: value for name, value in step_batch().items() if name != "pixel_values"}
    model.train()
    losses = [model(clips, **batch, generator=torch.Generator().manual_seed(seed)).loss.item() for seed in (1, 1, 2)]
    output = model(clips, **batch)
    model.eval()
    assert losses[0] == losses[1] != losses[2]
    assert output.logits is None and output.cls_loss > 0 and output.reg_loss > 0 and output.neighbor_loss > 0


def test_rows_of_people_that_fill_up_and_clips_without_people_change_no_other(model, clips):
    batch = step_batch()
    labels = torch.cat((batch["labels"], torch.ones(2, 1, 5)), dim=1)
    boxes = torch.cat((batch["box_labels"], torch.zeros(2, 1, 3, 4)), dim=1)
    with torch.no_grad():
        expected = model(**batch)
        filled = model(clips, labels=labels, box_labels=boxes)
        nobody = model(clips, labels=torch.zeros(2, 1, 5), box_labels=torch.zeros(2, 1, 3, 4))
    torch.testing.assert_close(filled.loss, expected.loss)
    assert torch.isfinite(nobody.loss) and nobody.reg_loss == 0 and nobody.cls_loss > 0


def test_gradients_of_all_steps_reach_the_features(model, clips):
    features = model.features(clips)
    features = replace(features, frames=features.frames.detach().requires_grad_(True))
    tubes, mask = model._first_tubes(clips, None, None)
    batch = step_batch()
    losses = cascade_losses(model.heads, features, tubes, mask, batch["labels"], batch["box_labels"], None)
    losses["loss"].backward()
    # The outer chunks are seen by the last step alone.
    assert features.frames.grad[:, :3].any() and features.frames.grad[:, 3:6].any()


def test_norms_stay_as_they_are_unless_the_configuration_lets_them_learn(model):
    assert not model.config.freeze_batch_norm_affine
    frozen = StepForActionDetection(step_config(freeze_batch_norm_stats=True, freeze_batch_norm_affine=True)).train()
    norms = [part for part in frozen.modules() if isinstance(part, torch.nn.BatchNorm3d)]
    assert norms and not any(norm.training or norm.weight.requires_grad for norm in norms)
    assert frozen.heads.training


def test_checkpointing_changes_no_gradient():
    def make_model():
        torch.manual_seed(0)
        return StepForActionDetection(step_config(freeze_batch_norm_stats=True, num_steps=2, chunks_per_step=[1, 3]))

    def loss_of(model):
        return model(**step_batch(), generator=torch.Generator().manual_seed(0)).loss

    assert_checkpointing_changes_no_gradient(make_model, loss_of, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("mode", ["extrapolate", "mean"])
def test_tubes_become_longer_in_every_way(mode, clips):
    model = StepForActionDetection(step_config(temporal_mode=mode, roi_pool_mode="pool", use_context=False)).eval()
    with torch.no_grad():
        output = model(**step_batch())
    assert output.tubes.shape[2] == 9 and output.neighbor_loss == 0 and torch.isfinite(output.loss)


def test_a_film_gives_the_same_as_its_clips_one_by_one(model, processor, film):
    found = list(model.detect_actions(film, processor, fps=25, batch_size=3))
    assert [one["timestamp"] for one in found] == [0, 1, 2, 3]
    for one in found:
        with torch.no_grad():
            outputs = model(**processor(film, timestamps=one["timestamp"], fps=25))
        (alone,) = processor.post_process_action_detection(outputs)
        ours = sorted(one["scores"][one["scores"] > 0].tolist(), reverse=True)
        np.testing.assert_allclose(ours, alone["scores"], atol=1e-5)
        assert one["boxes"].min() >= 0 and one["boxes"].max() <= 1 and one["boxes"].dtype == np.float32
        middle = one["tubes"][:, 1]
        np.testing.assert_allclose(middle, one["boxes"], atol=1e-6)
        assert one["tube_times"] == pytest.approx(one["timestamp"] + (np.array([-4, 0, 4]) - 0.5) / 12)


def test_a_stopped_film_goes_on_with_the_key_times_that_are_left(model, processor, film):
    whole = list(model.detect_actions(film, processor, fps=25))
    rest = list(model.detect_actions(film, processor, timestamps=[2, 3], fps=25))
    for expected, found in zip(whole[2:], rest, strict=True):
        np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-5)


def test_an_earlier_step_may_answer(model, processor, film):
    (first,) = model.detect_actions(film, processor, timestamps=[1.0], fps=25, step=0)
    with torch.no_grad():
        outputs = model(**processor(film, timestamps=1.0, fps=25))
    (alone,) = processor.post_process_action_detection(outputs, step=0)
    np.testing.assert_allclose(first["scores"].max(), alone["scores"].max(), atol=1e-5)
    with pytest.raises(ValueError, match="step must be one of the model's 3 steps from 0 on, got 3"):
        model.detect_actions(film, processor, fps=25, step=3)
    with pytest.raises(ValueError, match="step must be one of the model's 3 steps, counted from 0, got 3"):
        processor.post_process_action_detection(outputs, step=3)


def test_a_model_that_moves_no_boxes_classifies_those_it_is_given(film):
    config = step_config(num_steps=1, chunk_length=9, chunks_per_step=[1], use_local_branch=False)
    model, processor = StepForActionDetection(config).eval(), StepVideoProcessor.from_config(config)
    boxes = [np.array([[0.1, 0.1, 0.6, 0.7], [0.3, 0.2, 0.9, 0.9]]), np.zeros((0, 4))]
    first, second = model.detect_actions(film, processor, timestamps=[1, 2], proposals=boxes, fps=25, batch_size=2)
    np.testing.assert_allclose(first["boxes"], boxes[0], atol=1e-6)
    assert len(second["boxes"]) == 0
    with pytest.raises(ValueError, match="finds none itself: give proposals"):
        model.detect_actions(film, processor, fps=25)


@pytest.mark.parametrize(
    ("proposals", "sentence"),
    [
        ([[0.1, 0.1, 0.5, 0.5]] * 2, "for each of 1 key times, got 2"),
        ([np.array([[10, 10, 50, 40]])], "divide pixels by width and height"),
        ([np.array([[0.5, 0.1, 0.2, 0.4]])], "must be x0 < x1 and y0 < y1 relative"),
        ([np.array([[np.nan, 0.1, 0.2, 0.4]])], "must be x0 < x1 and y0 < y1 relative"),
    ],
)
def test_proposals_of_a_film_are_relative_boxes(model, processor, film, proposals, sentence):
    with pytest.raises(ValueError, match=sentence):
        model.detect_actions(film, processor, timestamps=[1], proposals=proposals, fps=25)


def test_a_film_is_not_searched_in_training(processor, film):
    with pytest.raises(ValueError, match="call model.eval"):
        StepForActionDetection(step_config()).train().detect_actions(film, processor, fps=25)


BOX = [[4.0, 4, 30, 30], [20, 10, 60, 44]]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"pixel_values": torch.zeros(2, 36, 48, 64)}, r"must be \(batch, 36, 3, 48, 64\)"),
        ({"pixel_values": torch.zeros(2, 35, 3, 48, 64)}, r"got shape \(2, 35, 3, 48, 64\)"),
        ({"pixel_values": torch.zeros(2, 36, 1, 48, 64)}, r"got shape \(2, 36, 1, 48, 64\)"),
        ({"proposals": torch.tensor(BOX)}, r"proposals must be \(2, M, 4\) or \(2, M, 3, 4\)"),
        ({"proposals": torch.zeros(2, 0, 4)}, "proposals hold no box"),
        (
            {"proposals": torch.tensor([BOX, [[4, 4, 30, 30], [20, 10, 90, 44]]])},
            "proposal 1 of clip 1 must be x0",
        ),
        ({"proposals": torch.tensor([BOX, [[4, 4, 4, 30], [20, 10, 60, 44]]])}, "proposal 0 of clip 1"),
        ({"proposals": torch.tensor([[[float("nan"), 4, 30, 30]]] * 2)}, "proposal 0 of clip 0"),
        ({"proposals": torch.tensor([BOX, BOX]) / 64}, r"all of them lie in \[0, 1\]: multiply them"),
        (
            {"proposals": torch.tensor([BOX, BOX]), "proposal_mask": torch.ones(2, 3)},
            r"must be \(2, 2\)",
        ),
        ({"labels": torch.zeros(3, 2, 5)}, r"labels must be \(2, 2, 5\)"),
        ({"labels": torch.zeros(2, 2, 80)}, r"labels must be \(2, 2, 5\) for 2 clips, 5 classes"),
        ({"box_labels": torch.zeros(2, 2, 4)}, r"box_labels must be \(2, 2, 3, 4\)"),
        ({"box_labels": None}, "labels come with box_labels"),
        ({"box_labels": step_batch()["box_labels"] / 64}, "box_labels must be in pixels"),
    ],
)
def test_inputs_that_do_not_fit_are_told_in_one_sentence(model, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        model(**{**step_batch(), **changes})


def test_choosing_tubes_never_waits_for_the_device():
    # Shapes follow from arguments alone: the same on a device that computes nothing.
    chosen = select_tubes(
        torch.empty(2, 3, 30, device="meta"),
        torch.empty(2, 3, dtype=torch.bool, device="meta"),
        torch.empty(2, 30, dtype=torch.bool, device="meta"),
        None,
        threshold=0.5,
        reg_threshold=0.5,
        max_positives=5,
        negative_ratio=2,
        sampling="softmax",
    )
    assert chosen.tubes.shape == (2, 15)
