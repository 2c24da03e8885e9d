"""Collaborative Memory as a model: what clips of a video may and may not change, three ways to compute a training
step, streams, detection, and what is refused.
"""

import copy

import numpy as np
import pytest
import torch

from hf_vidmodels import (
    CollaborativeMemoryConfig,
    CollaborativeMemoryForActionDetection,
    CollaborativeMemoryForVideoClassification,
)
from hf_vidmodels.processing.processing_collaborative_memory import CollaborativeMemoryVideoProcessor
from method_examples import collaborative_memory_batch, collaborative_memory_config

BOXES = torch.tensor([[0, 2.0, 3.0, 20.0, 30.0], [1, 0.0, 0.0, 31.0, 31.0], [1, 5.0, 5.0, 9.0, 12.0]])


def classifier(**overrides):
    torch.manual_seed(0)
    return CollaborativeMemoryForVideoClassification(collaborative_memory_config(**overrides))


def detector(**overrides):
    torch.manual_seed(0)
    return CollaborativeMemoryForActionDetection(collaborative_memory_config(**overrides)).eval()


def videos(num_videos=2, num_clips=3):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(num_videos, num_clips, 4, 3, 32, 32, generator=generator)


@torch.no_grad()
def test_neither_the_order_of_clips_nor_other_videos_change_a_video():
    model, clips = classifier().eval(), videos()
    logits = model(clips).logits
    torch.testing.assert_close(model(clips[:, [2, 0, 1]]).logits, logits)
    torch.testing.assert_close(model(clips.flip(0)).logits, logits.flip(0))
    torch.testing.assert_close(model(clips[1:]).logits, logits[1:])


@torch.no_grad()
def test_any_number_of_clips_can_be_given_and_masked_ones_count_nowhere():
    model, clips = classifier().eval(), videos(2, 5)
    mask = torch.tensor([[True, True, False, False, True], [True, False, False, False, False]])
    output = model(clips, labels=torch.tensor([1, 2]), clip_mask=mask)
    alone = [model(clips[i : i + 1, kept], labels=torch.tensor([i + 1])) for i, kept in enumerate(mask)]
    torch.testing.assert_close(output.logits, torch.cat([one.logits for one in alone]))
    torch.testing.assert_close(output.clip_logits[0, mask[0]], alone[0].clip_logits[0])
    video = torch.nn.functional.cross_entropy(output.logits, torch.tensor([1, 2]))
    clip = torch.nn.functional.cross_entropy(output.clip_logits[mask], torch.tensor([1, 1, 1, 2]))
    torch.testing.assert_close(output.loss, video + 0.5 * clip)


@torch.no_grad()
@pytest.mark.parametrize("infusion_type", ["gating", "gating_residual", "residual"])
def test_a_new_residual_memory_changes_nothing_and_gates_do(infusion_type):
    model, clips = classifier(infusion_type=infusion_type).eval(), videos()
    plain = model(clips, use_memory=False)
    assert plain.memory is None and plain.gates is None and plain.plain_clip_logits is None
    both = model(clips, output_plain_clip_logits=True)
    torch.testing.assert_close(both.plain_clip_logits, plain.clip_logits)
    torch.testing.assert_close(both.clip_logits, model(clips).clip_logits)
    changed = not torch.allclose(model(clips).logits, plain.logits)
    assert changed == (infusion_type != "residual")


def test_a_gate_starts_where_the_configuration_says():
    model = classifier(gate_bias_init=2.0)
    assert torch.equal(model.memory.gate.bias, torch.full((256,), 2.0))
    assert 0.005 < model.memory.gate.weight.std() < 0.015
    # He's rule for 256 channels.
    assert float(model.memory.key.weight.detach().std()) == pytest.approx((2 / 256) ** 0.5, rel=0.1)


@torch.no_grad()
@pytest.mark.parametrize("memory_type", ["associative", "associative_softmax", "average"])
def test_a_film_goes_through_clip_by_clip(memory_type):
    model, clips = classifier(memory_type=memory_type).eval(), videos(1, 6)
    past = None
    for clip in clips.split(1, dim=1):
        past = model(clip, past_memory=past).memory
    read = [model(clip, past_memory=past, update_memory=False).clip_logits for clip in clips.split(2, dim=1)]
    whole = model(clips)
    torch.testing.assert_close(torch.cat(read, dim=1), whole.clip_logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(past, whole.memory, atol=1e-4, rtol=1e-5)


def gradients(model, batch):
    model.zero_grad()
    model(**batch).loss.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("memory_type", ["associative", "self_attention"])
def test_two_passes_give_the_gradients_of_one_where_statistics_rest(memory_type):
    model, batch = classifier(memory_type=memory_type), collaborative_memory_batch()
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm3d):
            layer.requires_grad_(True).eval()
    model.training = True
    expected = gradients(model, batch)
    model.config.training_mode = "two_pass"
    torch.testing.assert_close(gradients(model, batch), expected, atol=1e-5, rtol=1e-5)


def test_two_passes_count_every_clip_once_in_the_running_statistics():
    model, batch = classifier(training_mode="two_pass").train(), collaborative_memory_batch()
    twin = copy.deepcopy(model)
    gradients(model, batch)
    with torch.no_grad():
        for clip in batch["pixel_values"].unbind(1):
            twin.backbone(clip)
    torch.testing.assert_close(dict(model.named_buffers()), dict(twin.named_buffers()))
    assert all(layer.momentum == 0.1 for layer in model.modules() if isinstance(layer, torch.nn.BatchNorm3d))


def test_several_classes_may_be_joined_by_their_maximum():
    overrides = {"problem_type": "multi_label_classification", "clip_aggregation": "max"}
    model, clips = classifier(**overrides).eval(), videos()
    labels = torch.tensor([[1.0, 0, 1, 0, 0], [0, 0, 0, 0, 1]])
    output = model(clips, labels=labels, clip_mask=torch.tensor([[True, True, False], [True, True, True]]))
    torch.testing.assert_close(output.logits[0], output.clip_logits[0, :2].amax(0))
    assert output.loss.isfinite()


@torch.no_grad()
def test_transformers_and_slowfast_have_a_memory_too():
    slowfast = {"arch": "slowfast", "num_frames": 8, "embedding_size": 16, "depths": (1, 1, 1, 1), "image_size": 32}
    mvit = {"model_type": "hfvid_mvit", "num_frames": 4, "image_size": 32, "hidden_size": 8, "num_hidden_layers": 2}
    mvit |= {"dim_mul": ((1, 2.0),), "head_mul": ((1, 2.0),), "pool_q_stride": ((1, 1, 2, 2),)}
    swin = {"model_type": "hfvid_video_swin", "num_frames": 4, "image_size": 32, "hidden_size": 8, "depths": (1, 1)}
    swin |= {"num_attention_heads": (1, 2), "window_size": (2, 4, 4)}
    for backbone, width, stride in ((slowfast, 512 + 64, 32), (mvit, 16, 8), (swin, 16, 8)):
        config = CollaborativeMemoryConfig(backbone_config=backbone, num_labels=5)
        assert (config.feature_width, config.spatial_stride) == (width, stride)
        clips = torch.randn(2, 2, config.num_frames, 3, 32, 32)
        model = CollaborativeMemoryForVideoClassification(config).eval()
        assert model(clips).logits.shape == (2, 5)
        assert model.clip_features(clips).shape[2] == width
        again = CollaborativeMemoryConfig.from_dict(config.to_dict())
        assert type(again.backbone_config) is type(config.backbone_config)


@torch.no_grad()
def test_boxes_are_classified_by_their_clip_and_what_goes_on_around_it():
    model, clips = detector(), videos(2, 3)
    output = model(clips, BOXES)
    assert output.logits.shape == (3, 5) and output.gates.shape == (2, 1, 256)
    other = clips.clone()
    other[1, 0] = torch.randn_like(other[1, 0])
    moved = model(other, BOXES).logits
    torch.testing.assert_close(moved[0], output.logits[0])
    assert not torch.allclose(moved[1:], output.logits[1:])
    mask = torch.tensor([[True, True, True], [False, True, True]])
    torch.testing.assert_close(model(other, BOXES, clip_mask=mask).logits, model(clips, BOXES, clip_mask=mask).logits)


@torch.no_grad()
@pytest.mark.parametrize("overrides", [{}, {"memory_type": "self_attention"}, {"memory_type": "none"}])
def test_key_times_of_a_film_are_seen_together_with_the_clips_around_them(overrides, monkeypatch):
    model = detector(context_seconds=4.0, **overrides)
    processor = CollaborativeMemoryVideoProcessor.from_config(model.config, size={"shortest_edge": 32})
    film = np.random.default_rng(0).integers(0, 255, (200, 32, 48, 3), dtype=np.uint8)
    times = [1.0, 2.0, 3.0, 4.0, 5.0, 7.5]
    proposals = [np.array([[0.1, 0.2, 0.6, 0.9]])] * 5 + [np.zeros((0, 4))]
    seen = []
    monkeypatch.setattr(model, "_map", lambda clips, inner=model._map: seen.append(len(clips)) or inner(clips))
    found = list(model.detect_actions(film, processor, times, proposals, batch_size=2, fps=25))
    assert [answer["timestamp"] for answer in found] == times
    assert found[-1]["scores"].shape == (0, 5)
    # Clips at 0 to 7 seconds, and 5.5, 7.5 and 8 for the last key time.
    assert sum(seen) == (6 if overrides.get("memory_type") == "none" else 11)
    _, clips = processor.key_frame_clips(film, [1.0, 3.0, 5.0], fps=25)
    box = torch.tensor([[0, 0.1 * 48, 0.2 * 32, 0.6 * 48, 0.9 * 32]])
    expected = model(torch.stack(list(clips))[None], box).logits.sigmoid().numpy()
    np.testing.assert_allclose(found[2]["scores"], expected, atol=1e-5)


def test_a_detector_in_training_mode_does_not_answer():
    model = detector().train()
    with pytest.raises(ValueError, match=r"call model.eval\(\) before"):
        model.detect_actions(np.zeros((30, 32, 32, 3), np.uint8), None)


def test_no_boxes_give_no_answers_and_a_loss_of_nothing():
    model = detector()
    output = model(videos(), torch.zeros(0, 5), labels=torch.zeros(0, 5))
    assert output.logits.shape == (0, 5) and output.loss == 0
    output.loss.backward()


@torch.no_grad()
def test_without_a_memory_clips_only_vote_together():
    model, clips = classifier(memory_type="none").eval(), videos()
    assert not any(name.startswith("memory") for name, _ in model.named_parameters())
    alone = torch.cat([model(clip).logits[:, None] for clip in clips.split(1, dim=1)], dim=1)
    torch.testing.assert_close(model(clips).logits, alone.mean(1))
    assert detector(memory_type="none")(clips, BOXES).gates is None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"memory_type": "lstm"}, "memory_type must be one of 'associative', 'associative_softmax'"),
        ({"infusion_type": "sum"}, "infusion_type must be one of 'gating', 'gating_residual', 'residual', got 'sum'"),
        ({"center_clip": 3}, r"center_clip must be one of the clips 0\.\.2, got 3"),
        ({"num_clips": 0}, "num_clips must be positive, got 0"),
        (
            {"memory_type": "self_attention", "training_mode": "multi_iteration"},
            "which memory_type 'self_attention' does not have",
        ),
    ],
)
def test_configurations_that_cannot_be_are_refused(overrides, message):
    with pytest.raises(Exception, match=message):
        collaborative_memory_config(**overrides)


def test_inputs_that_do_not_fit_are_refused():
    model, clips = classifier().eval(), videos()
    with pytest.raises(ValueError, match=r"pixel_values must be \(batch, clips, frames, channels, height, width\)"):
        model(clips[:, 0])
    with pytest.raises(ValueError, match="leaves out all its clips of video 1 of the batch"):
        model(clips, clip_mask=torch.tensor([[True, True, True], [False, False, False]]))
    with pytest.raises(ValueError, match=r"clip_mask must be \(batch, clips\) = \(2, 3\)"):
        model(clips, clip_mask=torch.ones(2, 2))
    with pytest.raises(ValueError, match="labels must be class ids of shape"):
        model(clips, labels=torch.tensor([[1, 2]]))
    with pytest.raises(ValueError, match="target probabilities must sum to 1"):
        model(clips, labels=torch.tensor([[1.0, 1, 0, 0, 0], [0, 0, 1, 0, 0]]))
    with pytest.raises(ValueError, match=r"boxes must be \(N, 5\): number of the clip"):
        detector()(clips, BOXES[:, 1:])
    with pytest.raises(ValueError, match="clip 1 with its key frame of video 0"):
        detector()(clips, BOXES, clip_mask=torch.tensor([[True, False, True], [True, True, True]]))
    with pytest.raises(ValueError, match="center_clip is 2, but only 2 clips"):
        detector(center_clip=2)(clips[:, :2], BOXES)
