"""The ASM-Loc networks against the values of the official code (tests/fixtures/asm_loc, see the README there)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from hf_vidmodels import AsmLocForTemporalActionLocalization
from hf_vidmodels.conversion.convert_checkpoint import convert_official_checkpoint
from hf_vidmodels.metrics.temporal_detection import temporal_detection_map
from method_examples import asm_loc_batch, asm_loc_config

FIXTURES = Path(__file__).parents[1] / "fixtures" / "asm_loc"
CASES = ("thumos_tiny", "activitynet_tiny")
NETWORKS = (("base", 0), ("full", 1))
OFFICIAL_MODULES = {
    "MHSA_Intra.conv_query": "intra_attention.query",
    "MHSA_Intra.conv_key": "intra_attention.key",
    "MHSA_Intra.conv_value": "intra_attention.value",
    "MHSA_Intra.conv_out": "intra_attention.output",
    "MHSA_Intra.bn": "intra_attention.batch_norm",
    "MHSA_Inter.conv_query": "inter_attention.query",
    "MHSA_Inter.conv_key": "inter_attention.key",
    "MHSA_Inter.conv_value": "inter_attention.value",
    "MHSA_Inter.conv_out": "inter_attention.output",
    "MHSA_Inter.bn": "inter_attention.batch_norm",
    # Batch-norm statistics are stored without the name of the batch norm.
    "MHSA_Intra": "intra_attention.batch_norm",
    "MHSA_Inter": "inter_attention.batch_norm",
    "att_branch": "attention_head",
    "snippet_cls": "classifier",
    "uncertainty_branch": "uncertainty_head",
    "feature_embedding.0": "embedding",
    "feature_embedding.1": "embedding",
}


class FixedDropout(nn.Module):
    """Drops what the stored mask drops, so that a training step can be compared with the official one."""

    def __init__(self, keep_mask, rate):
        super().__init__()
        self.scaled_mask = keep_mask.float() / (1 - rate)

    def forward(self, hidden_states):
        return hidden_states * self.scaled_mask


@pytest.fixture(scope="module", params=CASES)
def case(request):
    folder = FIXTURES / request.param
    return {
        "name": request.param,
        "config": json.loads((folder / "config.json").read_text()),
        "io": load_file(folder / "io.safetensors"),
        "pipeline": json.loads((folder / "pipeline.json").read_text()),
        "tensors": load_file(folder / "pipeline.safetensors"),
        "weights": [load_file(folder / f"{name}.safetensors") for name in ("state_dict_base", "state_dict")],
    }


@pytest.fixture
def model(case):
    return convert_official_checkpoint("asm_loc", case["weights"], case["config"]).eval()


def forward(case, model, step):
    io = case["io"]
    return model(
        input_features=io["in.input_feature"],
        proposal_boxes=io["in.proposal_bbox"].long(),
        num_proposals=io["in.proposal_count"],
        labels=io["in.vid_label"],
        pseudo_labels=io["in.pseudo_instance_label"] if step else None,
        step=step,
    )


def our_name(official):
    module, _, parameter = official.rpartition(".")
    return f"{OFFICIAL_MODULES[module]}.{parameter}"


def assert_close(ours, official, tolerance=1e-5):
    torch.testing.assert_close(ours.detach(), official.reshape(ours.shape), atol=tolerance, rtol=tolerance)


def assert_losses_equal(output, case, prefix):
    names = {"fg_loss": "foreground_loss", "bg_loss": "background_loss", "abg_loss": "context_loss"}
    names |= {"pseudo_instance_loss": "instance_loss", "total": "loss"}
    stored = {name: ours for name, ours in names.items() if f"{prefix}.loss.{name}" in case["io"]}
    assert len(stored) >= 4
    for name, ours in stored.items():
        assert_close(getattr(output, ours), case["io"][f"{prefix}.loss.{name}"])


@pytest.mark.parametrize(("network", "step"), NETWORKS)
def test_evaluation_outputs_intermediates_and_losses_equal_the_official_ones(case, model, network, step):
    io, prefix = case["io"], f"eval.{network}"
    intermediates = {}
    modules = {"feature_embedding": "embedding", "after_intra": "intra_attention", "after_inter": "inter_attention"}
    for official, ours in modules.items():
        if f"{prefix}.{official}" in io:
            module = getattr(model.steps[step], ours)
            module.register_forward_hook(lambda _, __, result, key=official: intermediates.update({key: result}))
    with torch.no_grad():
        output = forward(case, model, step)
    intermediates["feature_embedding"] = intermediates["feature_embedding"].relu()
    assert len(intermediates) == (3 if step else 1)
    for official, value in intermediates.items():
        assert_close(value, io[f"{prefix}.{official}"])
    foreground_logits = output.cas_logits * output.attention[..., :1]
    background_logits = output.cas_logits * output.attention[..., 1:]
    pairs = {
        "cas_logits": output.cas_logits,
        "cas": output.cas_logits.softmax(-1),
        "temp_att": output.attention,
        "fg_cls": output.class_scores,
        "bg_cls": output.background_logits.softmax(-1),
        "fg_cas": output.foreground_cas,
        "bg_cas": background_logits.softmax(-1),
    }
    assert_close(foreground_logits.softmax(-1), io[f"{prefix}.fg_cas"])
    for official, value in pairs.items():
        assert_close(value, io[f"{prefix}.{official}"])
    if step:
        assert_close(output.uncertainty, io[f"{prefix}.uncertainty"])
    assert_losses_equal(output, case, prefix)


@pytest.mark.parametrize(("network", "step"), NETWORKS)
def test_a_training_step_equals_the_official_one(case, model, network, step):
    io, prefix, part = case["io"], f"train.{network}", model.steps[step]
    model.train()
    drops = {"input": "input_dropout", "attention": "attention_dropout", "uncertainty": "uncertainty_dropout"}
    drops |= {"snippet": "snippet_dropout", "feature": "feature_dropout"}
    masks = {key.rsplit(".", 1)[1]: value for key, value in io.items() if key.startswith(f"{prefix}.keep_mask.")}
    assert {"snippet", "feature"} <= set(masks)
    for name, mask in masks.items():
        setattr(part, drops[name], FixedDropout(mask, case["config"]["dropout"]))
    optimizer = torch.optim.Adam(
        part.parameters(), lr=case["config"]["adam_lr_in_train_fixture"], weight_decay=case["config"]["weight_decay"]
    )
    output = forward(case, model, step)
    assert_close(output.class_scores, io[f"{prefix}.fg_cls"])
    assert_close(output.cas_logits.softmax(-1), io[f"{prefix}.cas"])
    assert_close(output.attention, io[f"{prefix}.temp_att"])
    assert_losses_equal(output, case, prefix)
    output.loss.backward()
    parameters = dict(part.named_parameters())
    buffers = dict(part.named_buffers())
    compared = 0
    for key, value in io.items():
        if key.startswith(f"{prefix}.grad_norm."):
            name = our_name(key.removeprefix(f"{prefix}.grad_norm."))
            assert_close(parameters[name].grad.norm(), value, 2e-5)
            compared += 1
        elif key.startswith(f"{prefix}.grad."):
            name = our_name(key.removeprefix(f"{prefix}.grad."))
            assert_close(parameters[name].grad, value)
        elif key.startswith(f"{prefix}.bn_after."):
            assert_close(buffers[our_name(key.removeprefix(f"{prefix}.bn_after."))], value)
    assert compared == len(parameters), "the gradient of every parameter is compared"
    optimizer.step()
    for key, value in io.items():
        if key.startswith(f"{prefix}.after_adam."):
            assert_close(parameters[our_name(key.removeprefix(f"{prefix}.after_adam."))], value)


def test_the_two_step_cascade_gives_the_official_predictions_and_map(case, model):
    pipeline, names = case["pipeline"], case["pipeline"]["class_names"]
    videos = pipeline["split"]["test"]
    per_step = model.localize([case["tensors"][f"feature.{video}"] for video in videos], return_all_steps=True)
    assert len(per_step) == 2
    database = pipeline["gt"]["database"]
    references = {
        video: {
            "segments": np.array([item["segment"] for item in database[video]["annotations"]]).reshape(-1, 2),
            "labels": np.array([names.index(item["label"]) for item in database[video]["annotations"]], dtype=int),
        }
        for video in videos
    }
    for step, predictions in enumerate(per_step):
        for video, prediction in zip(videos, predictions, strict=True):
            official = pipeline[f"test_result_step{step}"][video]
            assert [names[label] for label in prediction["labels"]] == [item["label"] for item in official]
            np.testing.assert_allclose(prediction["scores"], [item["score"] for item in official], atol=1e-5)
            np.testing.assert_allclose(prediction["segments"], [item["segment"] for item in official], atol=1e-5)
        metrics = pipeline[f"metrics_step{step}"]
        result = temporal_detection_map(
            dict(zip(videos, predictions, strict=True)), references, metrics["tiou_thresholds"]
        )
        np.testing.assert_allclose(result.mAP, metrics["mAP"], atol=1e-9)


def test_step_outputs_of_the_cascade_equal_the_official_ones(case, model):
    tensors = case["tensors"]
    for video in case["pipeline"]["split"]["test"]:
        with torch.no_grad():
            output = model(
                input_features=tensors[f"test1.{video}.input_feature"].reshape(1, -1, model.config.hidden_size),
                proposal_boxes=tensors[f"item_step1.{video}.proposal_bbox"][None].long(),
                num_proposals=tensors[f"item_step1.{video}.proposal_count"],
                step=1,
            )
        assert_close(output.class_scores[0], tensors[f"test1.{video}.fg_cls"])
        assert_close(output.foreground_cas[0], tensors[f"test1.{video}.fg_cas"])
        assert_close(output.attention[0], tensors[f"test1.{video}.temp_att"])


def test_padded_batches_equal_single_videos(case, model):
    videos = [case["tensors"][f"feature.{video}"] for video in case["pipeline"]["split"]["test"]]
    together = model.localize(videos, batch_size=len(videos), return_curves=True)
    for video, batched in zip(videos, together, strict=True):
        (alone,) = model.localize(video, return_curves=True)
        assert alone["labels"].tolist() == batched["labels"].tolist()
        for key in ("segments", "scores", "attention", "class_scores", "curve_times"):
            np.testing.assert_allclose(batched[key], alone[key], atol=1e-5)


def test_batch_norm_statistics_ignore_padding(case):
    def statistics_after(features, attention_mask):
        model = convert_official_checkpoint("asm_loc", case["weights"], case["config"]).train()
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        model(features, attention_mask, proposal_boxes=torch.tensor([[[3, 9]]]), step=1)
        return model.steps[1].inter_attention.batch_norm.running_mean

    features = case["io"]["in.input_feature"][:1]
    length = features.shape[1]
    padded = nn.functional.pad(features, (0, 0, 0, 7), value=5.0)
    mask = (torch.arange(length + 7) < length)[None]
    torch.testing.assert_close(statistics_after(padded, mask), statistics_after(features, None))


def test_fresh_segment_attention_is_the_identity_and_initialisation_follows_the_official_code(case, model):
    fresh = type(model)(model.config)
    network = fresh.steps[1]
    assert float(network.intra_attention.batch_norm.weight.detach().abs().sum()) == 0
    assert float(network.inter_attention.batch_norm.bias.detach().abs().sum()) == 0
    assert 0 < float(network.uncertainty_head.weight.detach().std()) < 5e-4
    bound = 1 / np.sqrt(model.config.hidden_size * 3)
    assert 0.9 * bound < float(network.embedding.weight.detach().abs().max()) <= bound
    hidden = torch.randn(2, model.config.hidden_size, 11)
    boxes, counts = torch.tensor([[[0, 4]], [[3, 8]]]), torch.tensor([1, 1])
    torch.testing.assert_close(network.eval().attend_to_proposals(hidden, None, boxes, counts), hidden)


def test_a_saved_model_loads_equal_buffers_and_all(case, model, tmp_path):
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    for (name, ours), (other, theirs) in zip(model.state_dict().items(), loaded.state_dict().items(), strict=True):
        assert name == other
        assert torch.equal(ours, theirs), name
    ours, theirs = model.config.to_dict(), loaded.config.to_dict()
    assert {key for key in ours if ours[key] != theirs[key]} <= {"transformers_version", "_name_or_path"}


def test_bfloat16_answers_and_keeps_its_loss_in_float32(case, model):
    model = model.to(torch.bfloat16)
    io = case["io"]
    output = model(
        input_features=io["in.input_feature"].bfloat16(),
        proposal_boxes=io["in.proposal_bbox"].long(),
        num_proposals=io["in.proposal_count"],
        labels=io["in.vid_label"],
        pseudo_labels=io["in.pseudo_instance_label"],
    )
    assert output.logits.dtype == torch.bfloat16
    assert output.loss.dtype == torch.float32
    assert torch.isfinite(output.loss)
    assert len(model.localize(io["in.input_feature"][0])) == 1


def test_the_step_of_the_configuration_answers_unless_another_is_asked_for(case, model):
    features = case["io"]["in.input_feature"][0]
    whole = model.localize(features, return_all_steps=True)
    model.config.answering_step = 0
    assert len(model.localize(features, return_all_steps=True)) == len(whole)
    for step, expected in ((None, 0), (0, 0), (1, 1)):
        (answer,) = model.localize(features, step=step)
        np.testing.assert_array_equal(answer["segments"], whole[expected][0]["segments"])


@torch.no_grad()
@pytest.mark.parametrize(("is_symmetric", "step"), [(True, 0), (True, 1), (False, 0)])
def test_with_a_symmetric_convolution_reversed_time_reverses_the_answer(is_symmetric, step):
    config = asm_loc_config(use_symmetric_convolution=is_symmetric, conv_kernel_size=5)
    model = AsmLocForTemporalActionLocalization(config).eval()
    batch = asm_loc_batch()
    features, boxes = batch["input_features"], batch["proposal_boxes"]
    mirrored = (features.shape[1] - 1 - boxes).flip(-1)
    ahead = model(features, proposal_boxes=boxes if step else None, step=step).attention
    back = model(features.flip(1), proposal_boxes=mirrored if step else None, step=step).attention
    assert torch.allclose(ahead, back.flip(1), atol=1e-6) is is_symmetric


def test_a_partially_trained_cascade_answers_with_the_steps_it_has(case, model):
    features = case["io"]["in.input_feature"][0]
    whole = model.localize(features, return_all_steps=True)
    model.config.num_trained_steps = 1
    (answer,) = model.localize(features)
    np.testing.assert_array_equal(answer["segments"], whole[0][0]["segments"])
    model.config.num_trained_steps = 0
    with pytest.raises(ValueError, match="num_trained_steps is 0"):
        model.localize(features)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_features": torch.zeros(2, 9, 7)}, r"input_features must have shape \(batch, snippets"),
        ({"attention_mask": torch.ones(2, 3)}, "attention_mask must have shape"),
        ({"attention_mask": torch.tensor([[1] * 9, [0] * 9])}, "attention_mask is 0 for every snippet of video 1"),
        ({"step": 2}, "step must be between 0 and 1"),
        ({"proposal_boxes": None}, "step 1 needs proposal_boxes from step 0; `localize`"),
        ({"proposal_boxes": torch.zeros(1, 4, 2)}, "proposal_boxes must have shape"),
        ({"labels": torch.ones(2, 1)}, "labels must be multi-hot of shape"),
    ],
)
def test_bad_input_is_named(case, model, change, message):
    size, classes = model.config.hidden_size, model.config.num_labels
    arguments = {
        "input_features": torch.zeros(2, 9, size),
        "proposal_boxes": torch.zeros(2, 1, 2, dtype=torch.long),
        "labels": torch.ones(2, classes),
    }
    with pytest.raises(ValueError, match=message):
        model(**(arguments | change))


def test_a_video_without_any_class_is_named(case, model):
    labels = torch.ones(2, model.config.num_labels)
    labels[1] = 0
    with pytest.raises(ValueError, match="labels of video 1 of this batch name no class"):
        model(input_features=torch.zeros(2, 9, model.config.hidden_size), labels=labels, step=0)


def test_localize_names_bad_features(case, model):
    size = model.config.hidden_size
    broken = np.zeros((4, size), dtype=np.float32)
    broken[2, 0] = np.nan
    with pytest.raises(ValueError, match="features of video 1 hold NaN or infinite values, first in row 2"):
        model.localize([np.zeros((4, size)), broken])
    with pytest.raises(ValueError, match="features of video 0 must have shape"):
        model.localize(np.zeros((4, size + 1)))
