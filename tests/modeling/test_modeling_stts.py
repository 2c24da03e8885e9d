import copy

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from hf_vidmodels.configuration.configuration_stts import SttsConfig
from hf_vidmodels.modeling.modeling_stts import SttsForVideoClassification, SttsOutput, kept_regions
from model_checks import assert_checkpointing_changes_no_gradient

PRESETS = ("tiny-mvit", "tiny-video-swin")
SWIN_WITH_WINDOWS = {"image_size": 48, "spatial_select_layers": [1], "spatial_keep_ratios": [0.5]}


def model_of(preset="tiny-mvit", **overrides):
    torch.manual_seed(0)
    config = SttsConfig.from_preset(preset, **({"num_labels": 5, "num_noise_samples": 30} | overrides))
    model = SttsForVideoClassification(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def clips_of(model, clips=3):
    config = model.config
    shape = (clips, config.num_frames, config.num_channels, *config.frame_size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=[("tiny-mvit", {}), ("tiny-video-swin", {}), ("tiny-video-swin", SWIN_WITH_WINDOWS)])
def model(request):
    preset, overrides = request.param
    return model_of(preset, **overrides)


@torch.no_grad()
def test_evaluation_knows_neither_sigma_nor_chance(model):
    clips = clips_of(model)
    first = model(clips)
    torch.manual_seed(99)
    second = model(clips, sigma=0.7)
    assert torch.equal(first.logits, second.logits)
    assert all((indices.diff(dim=-1) > 0).all() for indices in first.temporal_indices)


@torch.no_grad()
def test_permuting_clips_permutes_the_answers(model):
    clips, order = clips_of(model), torch.tensor([2, 0, 1])
    one, other = model(clips), model(clips[order])
    torch.testing.assert_close(other.logits, one.logits[order])
    for name in ("temporal_indices", "spatial_indices", "temporal_scores", "spatial_scores"):
        for ours, theirs in zip(getattr(one, name), getattr(other, name), strict=True):
            torch.testing.assert_close(theirs, ours[order])


@pytest.mark.parametrize("preset", PRESETS)
def test_before_one_layer_time_is_selected_first(preset):
    both = {"temporal_select_layers": [1], "temporal_keep_ratios": [0.5]}
    both |= {"spatial_select_layers": [1], "spatial_keep_ratios": [0.6]}
    model = model_of(preset, **both)
    assert [plan.kind for plan in model.config.selector_plans()] == ["temporal", "spatial"]
    frames, side = 2, model.config.selector_plans()[1].kept
    with torch.no_grad():
        output = model(clips_of(model), output_hidden_states=True)
    assert output.spatial_indices[0].shape == (3, frames)
    assert side < model.config.selector_plans()[1].grid[1]
    model.train()
    rows = (3, 3 * frames)
    candidates = (4, output.spatial_scores[0].shape[-1])
    noise = [torch.randn(count, 20, size) for count, size in zip(rows, candidates, strict=True)]
    model(clips_of(model), labels=torch.tensor([0, 1, 2]), noise=noise).loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@torch.no_grad()
def test_keeping_every_frame_changes_nothing():
    model = model_of(temporal_keep_ratios=[1.0], spatial_select_layers=[], spatial_keep_ratios=[])
    full = SttsForVideoClassification(SttsConfig(**{**model.config.to_dict(), "selection_mode": "none"})).eval()
    missing, unexpected = full.load_state_dict(model.state_dict(), strict=False)
    assert not missing and all(key.startswith("temporal_selectors.0.") for key in unexpected)
    assert torch.equal(full(clips_of(model)).logits, model(clips_of(model)).logits)


def test_training_mixes_and_follows_the_noise_level(model):
    clips = clips_of(model)
    model.train()

    def logits(**settings):
        return model(clips, generator=torch.Generator().manual_seed(3), **settings).logits

    assert torch.equal(logits(), logits())
    assert not torch.equal(logits(), logits(sigma=0.5))
    torch.testing.assert_close(logits(), logits(sigma=model.config.sigma_at(0.0)))
    torch.testing.assert_close(logits(sigma=0.0), logits(soft_selection=False))


def test_soft_selection_can_be_asked_for_in_evaluation(model):
    clips = clips_of(model)
    with torch.no_grad():
        soft = model(clips, soft_selection=True, generator=torch.Generator().manual_seed(3), sigma=0.5)
    assert not torch.equal(soft.logits, model(clips).logits)
    assert len(soft.temporal_indices) == len(soft.temporal_scores) == 1


def test_given_noise_decides_the_mixture():
    model = model_of().train()
    clips = clips_of(model)
    noise = [torch.randn(3, 7, 4), torch.randn(6, 9, 4)]
    assert torch.equal(model(clips, noise=noise).logits, model(clips, noise=noise).logits)
    with pytest.raises(ValueError, match="noise must hold one tensor for each selector"):
        model(clips, noise=noise[:1])
    with pytest.raises(ValueError, match=r"noise must have shape \(3, samples, 4\), got \(6, 9, 4\)"):
        model(clips, noise=noise[::-1])


def test_the_full_gradient_and_its_reduced_variance_can_be_chosen():
    gradients = []
    for settings in ({}, {"topk_gradient": "full"}, {"topk_variance_reduction": True}):
        model = model_of(**settings).train()
        generator = torch.Generator().manual_seed(3)
        model(clips_of(model), labels=torch.tensor([0, 1, 2]), generator=generator).loss.backward()
        gradients.append(model.temporal_selectors[0].scorer.embedding.weight.grad)
    assert len({round(float(gradient.norm()), 9) for gradient in gradients}) == 3


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("mode", ["random", "uniform"])
def test_baselines_keep_the_same_budget_without_scorers(preset, mode):
    learned, baseline = model_of(preset), model_of(preset, selection_mode=mode)
    clips = clips_of(learned)
    with torch.no_grad():
        ours, theirs = (model(clips, output_hidden_states=True) for model in (learned, baseline))
    assert [state.shape for state in ours.hidden_states] == [state.shape for state in theirs.hidden_states]
    assert theirs.temporal_scores == () and len(theirs.temporal_indices) == 1
    assert not any("scorer" in name for name, _ in baseline.named_parameters())
    with torch.no_grad():
        torch.testing.assert_close(baseline(clips).logits, theirs.logits)


def test_random_training_choices_follow_torchs_generator():
    model = model_of(selection_mode="random").train()
    clips = clips_of(model)
    torch.manual_seed(5)
    first, second = model(clips), model(clips)
    torch.manual_seed(5)
    assert torch.equal(model(clips).logits, first.logits)
    assert not torch.equal(first.temporal_indices[0], second.temporal_indices[0])


def test_class_ids_and_target_probabilities_give_the_same_loss(model):
    clips, labels = clips_of(model), torch.tensor([0, 4, 2])
    with torch.no_grad():
        ids = model(clips, labels=labels).loss
        soft = model(clips, labels=torch.nn.functional.one_hot(labels, 5).float()).loss
        logits = model(clips).logits
    torch.testing.assert_close(ids, soft)
    torch.testing.assert_close(ids, -logits.log_softmax(-1)[torch.arange(3), labels].mean())
    mixed = torch.rand(3, 5).softmax(-1)
    with torch.no_grad():
        torch.testing.assert_close(model(clips, labels=mixed).loss, -(mixed * logits.log_softmax(-1)).sum(-1).mean())


def test_hidden_states_and_attentions_come_on_request(model):
    clips = clips_of(model)
    with torch.no_grad():
        plain, full = model(clips), model(clips, output_hidden_states=True, output_attentions=True)
    assert plain.hidden_states is None and plain.attentions is None
    torch.testing.assert_close(full.logits, plain.logits, atol=1e-5, rtol=1e-5)
    for weights in full.attentions:
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))


def test_checkpointing_changes_no_gradient(model):
    clips, labels = clips_of(model), torch.tensor([0, 1, 2])

    def loss_of(one: torch.nn.Module) -> torch.Tensor:
        return one(clips, labels=labels, generator=torch.Generator().manual_seed(3)).loss

    assert_checkpointing_changes_no_gradient(lambda: copy.deepcopy(model), loss_of)


def test_autocast_keeps_the_choice(model):
    clips = clips_of(model)
    with torch.no_grad():
        plain = model(clips)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cast = model(clips)
    assert torch.equal(plain.temporal_indices[0], cast.temporal_indices[0])
    assert cast.temporal_scores[0].dtype == torch.float32
    torch.testing.assert_close(cast.logits.float(), plain.logits, atol=0.1, rtol=0.1)


def test_a_distributed_step_uses_every_parameter(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        model = model_of().train()
        parallel = DistributedDataParallel(model)
        for _ in range(2):
            parallel(clips_of(model), labels=torch.tensor([0, 1, 2])).loss.backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
    finally:
        torch.distributed.destroy_process_group()


def test_a_few_steps_teach_the_scorer_which_frame_tells_the_class():
    """Of four planes of tokens one shows the class by its colour; with three colours, none can be told by absence."""
    torch.manual_seed(0)
    config = SttsConfig.from_preset(
        "tiny-mvit",
        num_labels=3,
        temporal_keep_ratios=[0.25],
        spatial_select_layers=[],
        spatial_keep_ratios=[],
        num_noise_samples=50,
        sigma=0.3,
        topk_variance_reduction=True,
    )
    model = SttsForVideoClassification(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)

    def batch(size):
        labels, places = torch.randint(3, (size,)), torch.randint(4, (size,))
        clips = 0.3 * torch.randn(size, 8, 3, 32, 32)
        # Odd frames belong to the kernels of two planes, even ones to that of one.
        clips[torch.arange(size), 2 * places, labels] += 6.0
        return clips, labels, places

    num_steps = 100
    for step in range(num_steps):
        clips, labels, _ = batch(12)
        model(clips, labels=labels, sigma=config.sigma_at(step / num_steps)).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    clips, labels, places = batch(100)
    with torch.no_grad():
        output = model.eval()(clips)
    assert (output.temporal_indices[0][:, 0] == places).float().mean() > 0.6
    assert (output.logits.argmax(-1) == labels).float().mean() > 0.8


def output_of(temporal=(), spatial=(), clips=1):
    return SttsOutput(logits=torch.zeros(clips, 2), temporal_indices=temporal, spatial_indices=spatial)


def test_kept_regions_are_frames_and_boxes_of_the_clip():
    config = SttsConfig.from_preset("mvit-b-16x4-t0.5-s0.7")
    output = output_of((torch.tensor([[0, 3, 4, 7]]),), (torch.tensor([[0, 2, 4, 8]]),))
    assert kept_regions(output, config) == [
        [
            {"frames": [0, 1], "box": [0, 0, 192, 192]},
            {"frames": [6, 7], "box": [32, 0, 224, 192]},
            {"frames": [8, 9], "box": [16, 16, 208, 208]},
            {"frames": [14, 15], "box": [32, 32, 224, 224]},
        ]
    ]


def test_kept_regions_follow_one_selector_after_the_other():
    config = SttsConfig(
        temporal_select_layers=[0, 4],
        temporal_keep_ratios=[0.5, 0.5],
        spatial_select_layers=[2, 4],
        spatial_keep_ratios=[0.25, 0.25],
    )
    # 28 x 28 cells of 8 pixels, windows of 14, 7 apart; after pooling 7 x 7 cells of 16 pixels, windows of 3, 2 apart.
    plans = config.selector_plans()
    assert [(plan.kind, plan.kept, plan.anchor_stride) for plan in plans] == [
        ("temporal", 4, 0),
        ("spatial", 14, 7),
        ("temporal", 2, 0),
        ("spatial", 3, 2),
    ]
    output = output_of(
        (torch.tensor([[1, 2, 5, 6]]), torch.tensor([[1, 3]])),
        (torch.tensor([[0, 4, 8, 2]]), torch.tensor([[0, 4]])),
    )
    first, second = kept_regions(output, config)[0]
    assert first == {"frames": [4, 5], "box": [56, 56, 56 + 48, 56 + 48]}
    assert second == {"frames": [12, 13], "box": [112 + 32, 32, 112 + 80, 80]}


def test_without_selection_everything_is_kept_up_to_the_edge_of_the_frame():
    config = SttsConfig.from_preset("tiny-video-swin", num_frames=5, image_size=[30, 46], selection_mode="none")
    regions = kept_regions(output_of(clips=2), config)
    assert regions[0] == regions[1]
    assert regions[0][-1] == {"frames": [4], "box": [0, 0, 46, 30]}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((8, 3, 32, 32), r"pixel_values must be \(batch, frames, channels, height, width\)"),
        ((1, 3, 8, 32, 32), r"with 3 channels, got shape \(1, 3, 8, 32, 32\)"),
        ((1, 6, 3, 32, 32), "has 6 frames"),
        ((1, 8, 3, 40, 32), "of 40 x 32 pixels"),
    ],
)
def test_clips_of_another_size_are_refused(preset, shape, message):
    with pytest.raises(ValueError, match=message):
        model_of(preset)(torch.zeros(shape))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 1, 5]), r"labels must be class ids 0\.\.4 for num_labels=5, got 5"),
        (torch.tensor([0, -1, 2]), r"labels must be class ids 0\.\.4 for num_labels=5, got -1"),
        (torch.zeros(3, 4), r"labels of floating point must be target probabilities of shape \(3, 5\), got \(3, 4\)"),
        (torch.tensor([0.0, 1.0, 2.0]), r"labels of floating point must be target probabilities of shape \(3, 5\)"),
        (torch.tensor([[0, 1, 2]]), r"labels must be class ids of shape \(3,\) or target probabilities"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, message):
    model = model_of()
    with pytest.raises(ValueError, match=message):
        model(clips_of(model), labels=labels)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_pixels_that_are_no_numbers_are_refused_in_evaluation(model, value):
    clips = clips_of(model)
    clips[1, 3, 0, 5, 5] = value
    with pytest.raises(ValueError, match="got scores that are NaN or infinite; check that pixel_values"):
        model(clips)


def test_a_negative_noise_level_is_refused():
    model = model_of()
    with pytest.raises(ValueError, match="sigma must be 0 or more, got -0.5"):
        model(clips_of(model), sigma=-0.5)
