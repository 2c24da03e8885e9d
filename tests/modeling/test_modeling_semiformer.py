"""Semiformer beyond its parity: views and labels, single streams, sizes, options, kernels, and what is refused."""

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from hf_vidmodels import SemiformerConfig, SemiformerForImageClassification
from hf_vidmodels.modeling.ops.consistency_losses import consistency_loss
from method_examples import semiformer_batch, semiformer_config


def model_of(**fields):
    torch.manual_seed(0)
    return SemiformerForImageClassification(semiformer_config(**fields))


def views(count=3, side=64):
    generator = torch.Generator().manual_seed(3)
    strong = torch.randn(count, 3, side, side, generator=generator)
    return {"strong_pixel_values": strong, "weak_pixel_values": strong.flip(3)}


# -- the four heads


@torch.no_grad()
def test_logits_follow_the_prediction_head():
    pictures = semiformer_batch()["pixel_values"]
    found = {
        head: model_of(prediction_head=head).eval()(pictures) for head in ("sum", "conv", "transformer", "softmax_sum")
    }
    conv, transformer = found["sum"].conv_logits, found["sum"].transformer_logits
    torch.testing.assert_close(found["sum"].logits, conv + transformer)
    torch.testing.assert_close(found["conv"].logits, conv)
    torch.testing.assert_close(found["transformer"].logits, transformer)
    mean = (conv.softmax(-1) + transformer.softmax(-1)) / 2
    torch.testing.assert_close(found["softmax_sum"].logits.softmax(-1), mean)
    named = model_of().eval().head_probabilities(found["sum"])
    torch.testing.assert_close(named["softmax_sum"], mean)
    torch.testing.assert_close(named["sum"], (conv + transformer).softmax(-1))


# -- labels and views


def test_labels_alone_give_the_supervised_loss_of_both_heads():
    output = model_of().eval()(**semiformer_batch())
    torch.testing.assert_close(output.loss, output.conv_loss + output.transformer_loss)
    assert output.pseudo_labels is None and output.mask_ratio is None


def test_views_add_the_loss_on_pseudo_labels():
    model = model_of(pseudo_label_threshold=0.0, drop_path_rate=0.0)
    output = model(**semiformer_batch(), **views())
    unlabelled = output.unlabeled_conv_loss + output.unlabeled_transformer_loss
    torch.testing.assert_close(output.loss, output.conv_loss + output.transformer_loss + 4.0 * unlabelled)
    assert output.pseudo_labels.shape == (3,) and output.pseudo_weights.tolist() == [1.0] * 3
    assert output.mask_ratio == 1 and len(output.logits) == 4


def test_views_without_labels_are_learned_from_alone_and_say_so():
    model = model_of(pseudo_label_threshold=0.0)
    output = model(**views())
    assert output.logits is None and output.conv_loss == 0 == output.transformer_loss and output.loss > 0
    output.loss.backward()
    with_pictures = model(pixel_values=semiformer_batch()["pixel_values"], **views())
    assert with_pictures.conv_loss == 0 and len(with_pictures.logits) == 4


def test_pictures_that_do_not_count_change_nothing():
    model, batch = model_of().eval(), semiformer_batch()
    expected = model(batch["pixel_values"][:2], labels=batch["labels"][:2]).loss
    for ignored in (-1, -100):
        labels = torch.cat([batch["labels"][:2], torch.full((2,), ignored)])
        torch.testing.assert_close(model(batch["pixel_values"], labels=labels).loss, expected)
    assert model(batch["pixel_values"], labels=torch.full((4,), -1)).loss == 0


def test_labels_may_be_probabilities():
    model, batch = model_of(label_smoothing=0.0).eval(), semiformer_batch()
    targets = torch.nn.functional.one_hot(batch["labels"], 5).float()
    torch.testing.assert_close(model(batch["pixel_values"], labels=targets).loss, model(**batch).loss)


def test_the_weak_pass_sees_the_statistics_that_the_first_pass_moved_and_no_gradient():
    model, batch = model_of(), semiformer_batch()
    seen = []
    model.classifier["conv"].register_forward_hook(lambda _, inputs, logits: seen.append(logits))
    statistics = []
    model.stem.norm.register_forward_hook(lambda norm, *_: statistics.append(norm.running_mean.clone()))
    model(**batch, **views())
    assert [logits.requires_grad for logits in seen] == [True, False]
    assert torch.equal(statistics[0], statistics[1]) and statistics[0].abs().sum() > 0
    assert model.stem.norm.num_batches_tracked == 1


def test_every_part_is_in_its_mode_again_even_after_an_error(monkeypatch):
    model, batch = model_of(), semiformer_batch()
    model.stem.norm.eval()
    model(**batch, **views())
    assert model.training and not model.stem.norm.training and model.blocks[0].training
    run = type(model)._run_streams

    def fail_in_evaluation(self, pixel_values, wants_states=False):
        if not self.training:
            raise RuntimeError("no memory")
        return run(self, pixel_values, wants_states)

    monkeypatch.setattr(type(model), "_run_streams", fail_in_evaluation)
    with pytest.raises(RuntimeError, match="no memory"):
        model(**batch, **views())
    assert model.training and not model.stem.norm.training and model.blocks[0].training


def test_the_consistency_loss_counts_from_when_it_is_asked_for():
    model, batch = model_of(consistency_loss="infonce"), semiformer_batch()
    without = model.eval()(**batch, **views(), with_consistency=False)
    with_it = model(**batch, **views())
    assert without.consistency_loss is None and with_it.consistency_loss > 0
    torch.testing.assert_close(with_it.loss, without.loss + 0.5 * with_it.consistency_loss)


def test_the_triplet_loss_has_a_gradient_for_equal_features():
    features = torch.ones(3, 4, requires_grad=True)
    consistency_loss(torch.ones(3, 4), features, kind="triplet", anchor="weak", distance="l2").backward()
    assert torch.isfinite(features.grad).all()


# -- networks


@pytest.mark.parametrize("streams", ["conv", "transformer"])
def test_a_network_of_one_stream_learns_from_its_own_labels(streams):
    model = model_of(streams=streams, pseudo_label_threshold=0.0)
    output = model(**semiformer_batch(), **views())
    assert output[f"{streams}_logits"].shape == (4, 5)
    other = {"conv": "transformer", "transformer": "conv"}[streams]
    assert f"{other}_logits" not in output and f"{other}_loss" not in output
    torch.testing.assert_close(output.logits, output[f"{streams}_logits"])
    assert model.head_probabilities(output) == {}
    output.loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_without_fusion_the_units_stay_in_the_checkpoint_and_do_not_learn():
    fused, apart = model_of(), model_of(use_fusion=False)
    assert fused.state_dict().keys() == apart.state_dict().keys()
    units = [name for name, parameter in apart.named_parameters() if not parameter.requires_grad]
    assert units and all(".down." in name or ".up." in name for name in units)
    apart(**semiformer_batch()).loss.backward()
    assert all(parameter.grad is not None for parameter in apart.parameters() if parameter.requires_grad)


@torch.no_grad()
@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({"image_size": [64, 96]}, (64, 96)),
        ({}, (47, 62)),
        ({"patch_size": 32}, (64, 96)),
        ({"num_med_blocks": 1}, (64, 64)),
        ({"qkv_bias": False, "qk_scale": 0.5}, (64, 64)),
        ({"conv_stream": "convmixer", "num_hidden_layers": 12, "convmixer_dim": 8}, (48, 64)),
        ({"use_position_embeddings": True, "image_size": [64, 96]}, (64, 96)),
        ({"use_position_embeddings": True, "interpolate_position_embeddings": True}, (96, 64)),
        ({"streams": "transformer", "patch_size": 8}, (64, 40)),
    ],
)
def test_other_sizes_and_parts_work(fields, size):
    output = model_of(**fields).eval()(torch.randn(2, 3, *size))
    assert output.logits.shape == (2, 5) and output.logits.isfinite().all()


@torch.no_grad()
def test_states_and_attentions_are_given_on_request():
    model = model_of().eval()
    output = model(semiformer_batch()["pixel_values"], output_hidden_states=True)
    assert [tuple(state.shape) for state in output.hidden_states] == [(4, 17, 24)] * 3
    assert [tuple(state.shape[1:]) for state in output.conv_hidden_states] == [(32, 16, 16), (64, 8, 8), (128, 2, 2)]
    with pytest.raises(ValueError, match="computes no probabilities to give"):
        model(semiformer_batch()["pixel_values"], output_attentions=True)
    model.set_attn_implementation("eager")
    attentions = model(semiformer_batch()["pixel_values"], output_attentions=True).attentions
    assert len(attentions) == 3
    torch.testing.assert_close(attentions[0].sum(-1), torch.ones(4, 3, 17))


def test_gradient_checkpointing_gives_the_same_gradients():
    plain, saving = model_of().train(), model_of().train()
    saving.gradient_checkpointing_enable()
    for model in (plain, saving):
        model(**semiformer_batch()).loss.backward()
    for (name, ours), theirs in zip(plain.named_parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, msg=name)


@torch.no_grad()
def test_attention_runs_in_a_fused_kernel():
    model = model_of().eval()
    with profile(activities=[ProfilerActivity.CPU]) as found:
        model(semiformer_batch()["pixel_values"])
    assert any("flash_attention" in event.key for event in found.key_averages())


def test_initial_weights_are_those_of_the_official_code():
    torch.manual_seed(0)
    model = SemiformerForImageClassification(SemiformerConfig(num_hidden_layers=3, use_position_embeddings=True))
    kernel = model.blocks[0].conv.spatial.weight
    assert kernel.std().item() == pytest.approx((2 / (kernel.shape[0] * 9)) ** 0.5, rel=0.05)
    for weights in (model.blocks[0].transformer.mlp[0].weight, model.embeddings.positions):
        assert weights.std().item() == pytest.approx(0.02, rel=0.05)
    bias = model.blocks[0].down.projection.bias
    assert 0 < bias.abs().max() <= model.blocks[0].down.projection.weight[0].numel() ** -0.5
    assert model.blocks[0].fusion_conv.expand_norm.weight.eq(1).all()


# -- what is refused


@pytest.mark.parametrize(
    ("batch", "sentence"),
    [
        ({"pixel_values": torch.zeros(2, 4, 64, 64)}, r"pixel_values must be pictures \(B, 3, H, W\), got shape"),
        ({"pixel_values": torch.zeros(3, 64, 64)}, "must be pictures"),
        ({"pixel_values": torch.zeros(2, 3, 64, 64, dtype=torch.uint8)}, "floating-point numbers, got torch.uint8"),
        ({"pixel_values": torch.zeros(2, 3, 70, 64)}, "height of 70 pixels.* nearest are 64 or 77"),
        ({}, "pixel_values are missing"),
        ({"strong_pixel_values": torch.zeros(2, 3, 64, 64)}, "weak_pixel_values are missing; give both or neither"),
        ({"weak_pixel_values": torch.zeros(2, 3, 64, 64)}, "strong_pixel_values are missing"),
        (
            {"strong_pixel_values": torch.zeros(2, 3, 64, 64), "weak_pixel_values": torch.zeros(3, 3, 64, 64)},
            "views of the same pictures, got shapes",
        ),
        (
            {"pixel_values": torch.zeros(2, 3, 48, 48), **views()},
            r"must have one size, got \(48, 48\) and \(64, 64\)",
        ),
        (
            {"pixel_values": torch.zeros(2, 3, 64, 64), "labels": torch.tensor([0, 5])},
            r"class ids 0..4 for num_labels=5, or -1 or -100 .* got 5",
        ),
        ({"pixel_values": torch.zeros(2, 3, 64, 64), "labels": torch.tensor([0, -2])}, "got -2"),
        (
            {"pixel_values": torch.zeros(2, 3, 64, 64), "labels": torch.tensor([0])},
            r"labels must be class ids of shape \(2,\)",
        ),
    ],
)
def test_pictures_views_and_labels_that_do_not_fit_are_refused(batch, sentence):
    with pytest.raises(ValueError, match=sentence):
        model_of().eval()(**batch)


def test_positions_of_another_size_are_refused_with_both_grids():
    with pytest.raises(ValueError, match="grid of 6 x 4 tokens, but .* learned on 4 x 4"):
        model_of(use_position_embeddings=True).eval()(torch.zeros(1, 3, 96, 64))
