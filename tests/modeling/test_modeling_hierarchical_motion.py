"""Hierarchical motion: what each phase trains, how levels predict each other, and what opens as what."""

import copy

import pytest
import torch
from transformers import AutoModelForPreTraining, AutoModelForVideoClassification

from hf_vidmodels import (
    HierarchicalMotionConfig,
    HierarchicalMotionForPreTraining,
    HierarchicalMotionForVideoClassification,
    VideoResNetForVideoClassification,
)
from hf_vidmodels.modeling.modeling_hierarchical_motion import pretraining_view
from hf_vidmodels.modeling.ops.contrastive_loss import contrastive_loss
from hf_vidmodels.modeling.ops.cost_volume import cost_volume
from hf_vidmodels.modeling.ops.frame_reconstruction import photometric_loss, warp

ARCHITECTURES = [
    {"arch": "slow"},
    {"arch": "r2d"},
    {"arch": "i3d"},
    {"arch": "c2d"},
    {"arch": "r2plus1d", "num_frames": 8},
    {"arch": "slowfast", "num_frames": 16, "beta_inv": 4, "fusion_kernel_size": 5},
]


def config(**fields):
    return HierarchicalMotionConfig.from_preset("tiny-motion", **({"num_labels": 5} | fields))


def learner(phase="joint", **fields):
    torch.manual_seed(0)
    return HierarchicalMotionForPreTraining(config(training_phase=phase, **fields))


def classifier(**fields):
    torch.manual_seed(0)
    return HierarchicalMotionForVideoClassification(config(**fields))


def clips(batch_size=2, frames=4, side=32):
    return torch.randn(batch_size, frames, 3, side, side, generator=torch.Generator().manual_seed(1))


def moving_texture(shift, frames=3, side=24):
    """A texture that moves by `shift` (y, x) pixels a frame: (1, 8, T, side, side)."""
    texture = torch.randn(8, side, side, generator=torch.Generator().manual_seed(2))
    moved = [torch.roll(texture, (shift[0] * t, shift[1] * t), (1, 2)) for t in range(frames)]
    return torch.stack(moved, dim=1)[None]


@pytest.mark.parametrize("shift", [(0, 0), (2, -1), (-3, 3)])
def test_a_cost_volume_is_greatest_at_the_displacement_of_a_texture(shift):
    d, inner = 3, slice(7, -7)
    volume = cost_volume(moving_texture(shift), d, similarity="cosine")
    best = volume[:, :, :-1].argmax(1)[..., inner, inner]
    assert (best == (shift[0] + d) * (2 * d + 1) + shift[1] + d).all()
    assert (volume[:, :, -1].argmax(1)[..., inner, inner] == d * (2 * d + 1) + d).all()


@pytest.mark.parametrize("shift", [(0, 0), (2, -1), (-3, 3)])
def test_a_texture_is_reconstructed_exactly_by_its_displacement(shift):
    frames = moving_texture(shift).transpose(1, 2)[0]
    flow = torch.tensor([shift[1], shift[0]], dtype=torch.float32).view(1, 2, 1, 1).expand(1, 2, 24, 24)
    made, mask = warp(frames[1:2], flow)
    inside = mask.bool().expand_as(made)
    torch.testing.assert_close(made[inside], frames[:1][inside], atol=1e-5, rtol=0)
    assert photometric_loss(frames[:1], made, mask, eps=1e-3).item() == pytest.approx(1e-3, rel=1e-2)
    assert mask.sum() == (24 - abs(shift[0])) * (24 - abs(shift[1]))


def test_a_cost_volume_with_a_stride_has_every_such_offset_of_the_whole_one():
    maps = moving_texture((1, 1))
    whole = cost_volume(maps, 4).unflatten(1, (9, 9))
    torch.testing.assert_close(cost_volume(maps, 4, 2).unflatten(1, (5, 5)), whole[:, ::2, ::2])


def test_nothing_valid_and_nothing_alike_leave_losses_finite():
    frames = torch.rand(1, 3, 8, 8)
    made, mask = warp(frames, torch.full((1, 2, 8, 8), 100.0))
    assert mask.sum() == 0 and photometric_loss(frames, made, mask).item() == 0
    assert 0 < photometric_loss(frames, 1 - frames, torch.ones(1, 1, 8, 8), ssim_weight=0.85).item() < 1
    assert photometric_loss(frames, frames, torch.ones(1, 1, 8, 8), eps=1e-6, ssim_weight=0.85).item() < 1e-5


# -- contrastive loss


def plain_loss(predictions, targets, offset=1, temperature=0.07, negatives=None):
    """The definition with the matrix of all pairs and autograd."""
    times = predictions.shape[2] - offset
    rows, keys = predictions[:, :, :times], targets[:, :, offset:]
    place = torch.stack(torch.meshgrid(*(torch.arange(n) for n in (len(rows), *rows.shape[2:])), indexing="ij"))
    clip, time, y, x = place.flatten(1)
    rows, keys = (
        torch.nn.functional.normalize(maps.permute(0, 2, 3, 4, 1).flatten(0, 3), dim=1) for maps in (rows, keys)
    )
    same_clip, same_time = clip[:, None] == clip, time[:, None] == time
    same_place = (y[:, None] == y) & (x[:, None] == x)
    kinds = {
        "batch": ~same_clip,
        "spatial": same_clip & same_time & ~same_place,
        "temporal": same_clip & ~same_time & same_place,
        "spatiotemporal": same_clip & ~same_time & ~same_place,
    }
    allowed = sum(kinds[kind] for kind in negatives or kinds).bool() | torch.eye(len(rows), dtype=torch.bool)
    scores = (rows @ keys.T / temperature).masked_fill(~allowed, -torch.inf)
    return torch.nn.functional.cross_entropy(scores, torch.arange(len(rows)))


@pytest.mark.parametrize("negatives", [None, ["batch"], ["spatial", "temporal"], ["spatiotemporal"]])
def test_blocks_of_rows_give_the_loss_and_the_gradients_of_the_whole_matrix(negatives):
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(2, 6, 4, 3, 2, dtype=torch.float64, generator=generator) for _ in range(2)]
    ours, theirs = ([maps.clone().requires_grad_() for maps in made] for _ in range(2))
    options = {} if negatives is None else {"negatives": negatives}
    loss, _ = contrastive_loss(*ours, scores_at_a_time=100, **options)
    expected = plain_loss(*theirs, negatives=negatives)
    torch.testing.assert_close(loss, expected, atol=1e-9, rtol=1e-9)
    (2 * loss).backward()
    (2 * expected).backward()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-9, rtol=1e-9)


def test_drawn_negatives_follow_the_generator_and_their_gradients_are_right():
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(2, 3, 3, 2, 2, dtype=torch.float64, generator=generator).requires_grad_() for _ in range(2)]

    def loss(first, second, seed=5):
        torch.manual_seed(seed)
        return contrastive_loss(first, second, max_negatives=5, temperature=0.5)[0]

    assert loss(*made) == loss(*made) != loss(*made, seed=6)
    assert loss(*made) < contrastive_loss(*made, temperature=0.5)[0]
    assert torch.autograd.gradcheck(loss, made)


def test_static_clips_cannot_be_told_in_time_and_leave_the_loss_finite():
    still = torch.randn(1, 6, 1, 3, 3, generator=torch.Generator().manual_seed(0)).expand(1, 6, 5, 3, 3)
    loss, accuracy = contrastive_loss(still, still, negatives=["temporal"])
    assert loss.item() == pytest.approx(torch.tensor(4.0).log().item(), abs=1e-5)
    assert accuracy.item() == pytest.approx(1 / 4)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((2, 4, 1, 2, 2), {}, "maps of 1 frames have nothing 1 frames ahead"),
        ((2, 4, 3, 2, 2), {"offset": 3}, "maps of 3 frames have nothing 3 frames ahead"),
        ((1, 4, 3, 2, 2), {"negatives": ["batch"]}, "negatives batch: there are none in 1 clips"),
        ((2, 4, 3, 1, 1), {"negatives": ["spatial"]}, "with 1 places, so that there is nothing to learn"),
        ((2, 4, 2, 2, 2), {"negatives": ["temporal"]}, "of 1 predicted frames"),
    ],
)
def test_maps_without_future_or_negatives_are_refused(shape, options, message):
    with pytest.raises(ValueError, match=message):
        contrastive_loss(torch.randn(shape), torch.randn(shape), **options)


# -- phases


def learning(model):
    """Names of what gets a gradient, and of the buffers that a training step changes."""
    model.train()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model(clips()).loss.backward()
    trained = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    moved = {name for name, buffer in model.named_buffers() if not torch.equal(before[name], buffer)}
    return trained, moved


def beginnings(*prefixes):
    return lambda name: name.startswith(prefixes)


STEM, RES2, RES3, RES4 = (f"backbone.pathways.0.{part}" for part in ("stem", "stages.0", "stages.1", "stages.2"))
OF_PHASE = {
    0: beginnings(STEM, RES2, "motion_blocks.0", "displacement_head"),
    1: beginnings(RES3, "motion_blocks.1", "predictors.0"),
    2: beginnings(RES4, "motion_blocks.2", "predictors.1"),
    "joint": beginnings(STEM, RES2, RES3, RES4, "motion_blocks", "predictors", "displacement_head"),
}


@pytest.mark.parametrize("phase", OF_PHASE)
def test_a_phase_trains_its_level_alone_and_leaves_frozen_statistics_untouched(phase):
    model = learner(phase)
    expected = {name for name, _ in model.named_parameters() if OF_PHASE[phase](name)}
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == expected
    trained, moved = learning(model)
    assert trained == expected
    assert moved == {name for name, _ in model.named_buffers() if OF_PHASE[phase](name)}


def test_a_phase_of_slowfast_trains_the_lateral_connections_that_lead_to_its_level():
    model = learner(1, backbone_config=ARCHITECTURES[-1])
    model.train()
    model(clips(frames=16)).loss.backward()
    trained = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    parts = ("backbone.pathways.0.stages.1.", "backbone.pathways.1.stages.0.", "backbone.laterals.1.")
    assert trained == {
        name for name, _ in model.named_parameters() if name.startswith((*parts, "motion_blocks.1.", "predictors.0."))
    }
    assert trained == {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("backbone", ARCHITECTURES, ids=lambda fields: fields["arch"])
@pytest.mark.parametrize("block", ["conv", "cost_volume", "difference"])
def test_every_network_learns_motion_and_classifies(backbone, block):
    fields = {"backbone_config": backbone, "motion_block": block}
    frames = backbone.get("num_frames", 4)
    output = learner(**fields)(clips(frames=frames))
    assert output.loss.isfinite() and output.level_losses.shape == (3,) and output.contrastive_accuracies.shape == (2,)
    assert [features.shape[1] for features in output.motion_features] == [6, 8, 10]
    model = classifier(**fields).train()
    assert model(clips(frames=frames), labels=torch.tensor([0, 4])).loss.isfinite()


@torch.no_grad()
def test_a_new_classifier_answers_as_the_plain_network():
    model = classifier(training_phase="finetune").eval()
    plain = VideoResNetForVideoClassification(model.config.backbone_config).eval()
    plain.backbone.load_state_dict(model.backbone.state_dict())
    plain.head.classifier = model.classifier
    assert torch.equal(model(clips()).logits, plain(clips()).logits)
    assert set(dict(classifier(fusion_type="none").named_children())) == {"backbone", "motion_blocks", "fusions"} | {
        "dropout",
        "classifier",
    }


def test_reconstructing_moving_textures_is_learned():
    model = learner(0).train()
    texture = torch.rand(4, 3, 40, 40, generator=torch.Generator().manual_seed(3))
    texture = torch.nn.functional.interpolate(texture[..., ::4, ::4], size=40, mode="bilinear")
    batch = torch.stack([torch.roll(texture, 2 * t, -1)[..., :32, :32] for t in range(4)], dim=1) * 4 - 2
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        loss = model(batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.75 * losses[0]


def test_targets_carry_gradients_where_they_are_asked_to():
    for stops in (True, False):
        model = learner("joint", target_stop_gradient=stops).train()
        motion = model.motion_features(clips())
        for features in motion:
            features.retain_grad()
        model.level_loss(1, motion, clips())[0].backward()
        assert (motion[0].grad is None) == stops and motion[1].grad is not None


# -- checkpoints


def test_a_pretrained_model_opens_as_a_classifier_without_a_word_of_what_it_drops(tmp_path, caplog):
    model = learner(2)
    model.save_pretrained(tmp_path)
    found, info = HierarchicalMotionForVideoClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["unexpected_keys"]
    assert {name.split(".")[0] for name in info["missing_keys"]} == {"fusions", "classifier"}
    ours, theirs = model.state_dict(), found.state_dict()
    shared = [name for name in ours if name.startswith(("backbone.", "motion_blocks."))]
    assert shared and all(torch.equal(ours[name], theirs[name]) for name in shared)
    assert found.displacement_head is None


def test_a_classifier_opened_for_pretraining_says_what_is_missing(tmp_path):
    classifier(training_phase="finetune").save_pretrained(tmp_path)
    model = HierarchicalMotionForPreTraining.from_pretrained(tmp_path)
    assert {name.split(".")[0] for name in model.random_weights} == {"displacement_head", "predictors"}


def test_a_checkpoint_opens_by_its_auto_class_in_its_phase(tmp_path):
    learner(1).save_pretrained(tmp_path)
    model = AutoModelForPreTraining.from_pretrained(tmp_path)
    assert list(model.learning_levels) == [1]
    assert not any(parameter.requires_grad for parameter in model.motion_blocks[0].parameters())
    assert all(parameter.requires_grad for parameter in model.motion_blocks[1].parameters())
    assert type(AutoModelForVideoClassification.from_pretrained(tmp_path)) is HierarchicalMotionForVideoClassification


def test_a_view_for_pretraining_trains_the_classifiers_own_network():
    model = classifier()
    view = pretraining_view(model)
    view.start_phase(0)
    before = copy.deepcopy(model.state_dict())
    view.train()
    view(clips()).loss.backward()
    torch.optim.SGD(view.parameters(), lr=1.0).step()
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {name.split(".")[0] for name in changed} == {"backbone", "motion_blocks", "displacement_head"}
    assert model.config.training_phase == "joint"


# -- configuration


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_displacement": 5, "displacement_stride": 2}, "displacement_stride 2 must divide max_displacement 5"),
        ({"motion_stages": ["res2", "res6", "res7"]}, "motion_stages must name some of res2, res3, res4, res5"),
        ({"motion_stages": ["res3", "res2", "res4"]}, "motion_stages must ascend"),
        ({"motion_stages": ["res2", "res2", "res4"]}, "motion_stages must ascend"),
        ({"motion_stages": ["res2", "res3"]}, "a number for each of the 2 motion_stages"),
        ({"negatives": ["elsewhere"]}, "negatives must be some of 'spatial', 'temporal', 'spatiotemporal', 'batch'"),
        ({"training_phase": 3}, "training_phase must be one of 0, 1, 2, 'joint', 'finetune' for 3 levels, got 3"),
        ({"prediction_offset": 4}, "prediction_offset 4 must be below the frames at res3, which are 4"),
        ({"backbone_config": {"num_frames": 1}}, "num_frames 1 leaves 1 frames at res2, but motion needs 2"),
        ({"backbone_config": {"arch": "i3d", "num_frames": 2}}, "below the frames at res3, which are 1"),
        ({"pixel_mean": [0.5]}, "pixel_mean must have a number for each of the 3 channels"),
        ({"ssim_weight": 1.0}, r"ssim_weight must be in \[0, 1\)"),
    ],
)
def test_settings_that_do_not_fit_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        config(**fields)


def test_frames_are_shown_as_they_were_before_their_normalisation():
    for arch in ("slow", "r2d"):
        model = learner(backbone_config={"arch": arch})
        mean, std = (
            torch.tensor(values).view(3, 1, 1) for values in (model.config.pixel_mean, model.config.pixel_std)
        )
        frames = torch.rand(1, 4, 3, 32, 32)
        torch.testing.assert_close(model.frames_of((frames - mean) / std), frames)
    assert learner(backbone_config={"arch": "r2d"}).config.pixel_mean == [0.485, 0.456, 0.406]


def test_training_of_classes_and_motion_without_labels_is_refused():
    with pytest.raises(ValueError, match="training in phase 'joint' needs labels"):
        classifier().train()(clips())
    assert classifier().eval()(clips()).loss is None


def test_clips_of_a_single_frame_are_refused():
    with pytest.raises(ValueError, match="motion needs clips of 2 frames or more, got 1"):
        learner(0)(clips(frames=1))
