"""How MAL's networks are held, saved, trained and asked; the numbers themselves are in test_parity_mal.py."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from hf_vidmodels import AutoModelForMaskLabeling, MalConfig, MalForMaskLabeling, MalImageProcessor
from method_examples import mal_batch, mal_config
from model_checks import assert_checkpointing_changes_no_gradient


def make_model(**settings):
    torch.manual_seed(0)
    return MalForMaskLabeling(mal_config(**settings))


def apart(model):
    """Move the teacher away from the student it is a copy of."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.teacher.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


@pytest.fixture
def batch():
    return mal_batch()


@pytest.fixture
def crops(batch):
    return {"pixel_values": batch["pixel_values"], "boxes": batch["boxes"]}


# -- student and teacher


def test_the_teacher_starts_as_a_copy_and_never_asks_for_gradients():
    model = make_model()
    for ours, theirs in zip(model.student.parameters(), model.teacher.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        assert ours.requires_grad
        assert not theirs.requires_grad
    independent = make_model(teacher_init="independent")
    assert not torch.equal(independent.student.instance_head.fc1.weight, independent.teacher.instance_head.fc1.weight)


def test_the_teacher_moves_by_the_formula_of_the_average_and_only_then():
    model = apart(make_model(teacher_momentum=0.9))
    before = {name: value.clone() for name, value in model.teacher.state_dict().items()}
    student = model.student.state_dict()
    model.update_teacher()
    for name, value in model.teacher.state_dict().items():
        torch.testing.assert_close(value, 0.9 * before[name] + (1 - 0.9) * student[name], atol=1e-7, rtol=1e-6)


def test_training_mode_reaches_the_student_but_not_the_teacher():
    model = make_model(drop_path_rate=0.5).train()
    assert model.student.training
    assert not any(module.training for module in model.teacher.modules())


def test_the_teacher_sees_its_own_view_and_gives_no_gradients(batch):
    model = apart(make_model())
    view = batch["pixel_values"].flip(-1)
    output = model(**batch, teacher_pixel_values=view)
    with torch.no_grad():
        expected = model(view, batch["boxes"], network="teacher").logits
    assert torch.equal(output.teacher_logits, expected)
    assert not output.teacher_logits.requires_grad
    output.loss.backward()
    assert all(parameter.grad is None for parameter in model.teacher.parameters())


def test_saving_keeps_both_networks_and_loading_for_inference_takes_one(crops, tmp_path):
    model = apart(make_model()).eval()
    model.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    assert {name.partition(".")[0] for name in stored} == {"student", "teacher"}
    both = AutoModelForMaskLabeling.from_pretrained(tmp_path)
    assert not any(parameter.requires_grad for parameter in both.teacher.parameters())
    one = AutoModelForMaskLabeling.from_pretrained(tmp_path, inference_only=True)
    assert one.student is None
    assert one.num_parameters() == model.num_parameters() // 2
    with torch.no_grad():
        assert torch.equal(one(**crops).logits, model(**crops, network="teacher").logits)
        assert torch.equal(both(**crops).logits, model(**crops, network="teacher").logits)
    student = MalForMaskLabeling.from_pretrained(tmp_path, inference_only=True, inference_network="student")
    assert student.teacher is None
    with pytest.raises(ValueError, match="holds the student only, but network 'teacher' needs the teacher"):
        student(**crops, network="teacher")


def test_a_model_of_one_network_saves_and_loads_as_such(crops, tmp_path):
    model = apart(make_model()).eval()
    with torch.no_grad():
        expected = model(**crops).logits
    model.drop_network("student")
    assert model.config.use_student is False
    model.save_pretrained(tmp_path)
    loaded, info = MalForMaskLabeling.from_pretrained(tmp_path, output_loading_info=True)
    assert loaded.student is None
    assert not info["missing_keys"]
    with torch.no_grad():
        assert torch.equal(loaded(**crops).logits, expected)
    with pytest.raises(ValueError, match="cannot drop 'teacher'"):
        loaded.drop_network("teacher")
    with pytest.raises(ValueError, match="update_teacher needs a model with use_student and use_teacher"):
        loaded.update_teacher()


@pytest.mark.parametrize(("kept", "added"), [("teacher", "student"), ("student", "teacher")])
def test_training_goes_on_from_a_checkpoint_of_one_network_with_two_copies_of_it(kept, added, tmp_path):
    model = apart(make_model())
    model.drop_network(added)
    model.save_pretrained(tmp_path)
    again = MalForMaskLabeling.from_pretrained(tmp_path, use_student=True, use_teacher=True)
    stored = load_file(tmp_path / "model.safetensors")
    for name, value in again.state_dict().items():
        assert torch.equal(value, stored[f"{kept}.{name.partition('.')[2]}"])
    assert all(parameter.requires_grad for parameter in again.student.parameters())
    assert not any(parameter.requires_grad for parameter in again.teacher.parameters())


@pytest.mark.parametrize("through_loading", [False, True])
def test_frozen_stages_do_not_learn(through_loading, tmp_path):
    model = make_model(frozen_stages=[0, 1])
    if through_loading:
        model.save_pretrained(tmp_path)
        model = MalForMaskLabeling.from_pretrained(tmp_path)
    encoder = model.student.encoder
    frozen = {name for name, parameter in encoder.named_parameters() if not parameter.requires_grad}
    assert {name.split(".")[1] for name in frozen} == {"patch_embeddings", "0"}
    assert all(parameter.requires_grad for parameter in encoder.blocks[1].parameters())


# -- what it computes


def test_gradient_checkpointing_changes_no_gradient(batch):
    assert_checkpointing_changes_no_gradient(make_model, lambda model: model(**batch).loss, atol=1e-7, rtol=1e-5)


def test_rows_do_not_depend_on_what_else_is_in_the_batch(crops):
    model = make_model().eval()
    with torch.no_grad():
        together = model(**crops).logits
        for row in range(3):
            alone = model(crops["pixel_values"][row : row + 1], crops["boxes"][row : row + 1]).logits
            torch.testing.assert_close(together[row : row + 1], alone, atol=1e-6, rtol=1e-5)


def test_boxes_on_a_bound_belong_to_the_smaller_bucket_or_to_none(crops):
    boxes = [[0, 0, 64, 16], [0, 0, 96, 96], [0, 0, 33, 33]]
    ours, official = make_model().eval(), make_model(strict_bucket_bounds=True).eval()
    with torch.no_grad():
        kept = ours(crops["pixel_values"], boxes).logits
        holes = official(crops["pixel_values"], boxes).logits
        near = ours(crops["pixel_values"], [[0, 0, 63, 16], [0, 0, 95, 96], [0, 0, 33, 33]]).logits
    assert torch.equal(kept, near)
    assert not holes[:2].any()
    # Another number of boxes is decoded, which some CPUs round in another way.
    torch.testing.assert_close(holes[2], kept[2], atol=1e-6, rtol=1e-5)


def test_every_parameter_gets_a_gradient_even_when_no_box_is_in_a_bucket(batch):
    model = make_model(strict_bucket_bounds=True).train()
    output = model(batch["pixel_values"], [[0, 0, 32, 32]] * 3, batch["box_mask"])
    output.loss.backward()
    assert not output.logits.any()
    assert all(parameter.grad is not None for parameter in model.student.parameters())


def test_odd_grids_work_in_all_buckets():
    model = make_model(image_size=80).eval()
    boxes = [[0, 0, 10, 10], [0, 0, 50, 50], [0, 0, 200, 200]]
    with torch.no_grad():
        logits = model(torch.randn(3, 3, 80, 80), boxes).logits
    assert logits.shape == (3, 1, 20, 20)
    assert logits.isfinite().all()
    assert logits.flatten(1).std(1).all()


def test_a_position_table_of_its_own_grid_is_used_as_it_is():
    embeddings = make_model().student.encoder.embeddings
    assert embeddings.interpolated_positions(64, 64) is embeddings.position_embeddings
    assert embeddings.interpolated_positions(96, 96).shape == (1, 37, 32)


def test_loss_weights_warm_up_in_the_first_epoch_or_over_the_run(batch):
    def terms(model, **where):
        output = model(**batch, **where)
        return torch.stack([output.loss_mil, output.loss_crf])

    model = make_model(loss_mil_warmup_steps=4, loss_crf_warmup_steps=8)
    full = terms(model)
    torch.testing.assert_close(terms(model, loss_step=2, epoch=0), full * torch.tensor([0.5, 0.25]))
    assert torch.equal(terms(model, loss_step=0, epoch=1), full)
    assert torch.equal(terms(model, loss_step=100, epoch=0), full)
    over_run = make_model(loss_mil_warmup_steps=4, loss_crf_warmup_steps=8, loss_warmup_scope="run")
    torch.testing.assert_close(terms(over_run, loss_step=2, epoch=3), full * torch.tensor([0.5, 0.25]))


def test_losses_are_float32_under_bfloat16_autocast(batch):
    model = make_model().train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(**batch)
    exact = model(**batch)
    assert output.loss.dtype == torch.float32
    torch.testing.assert_close(output.loss, exact.loss, atol=0.02, rtol=0.02)


def test_attentions_need_the_eager_implementation(crops):
    model = make_model().eval()
    with pytest.raises(
        ValueError, match=r"computes no probabilities to give; call .*set_attn_implementation\('eager'\)"
    ):
        model(**crops, output_attentions=True)
    model.set_attn_implementation("eager")
    output = model(**crops, output_attentions=True, output_hidden_states=True)
    assert [tuple(attention.shape) for attention in output.attentions] == [(3, 4, 17, 17)] * 2
    torch.testing.assert_close(output.attentions[0].sum(-1), torch.ones(3, 4, 17))
    assert len(output.hidden_states) == 3


# -- bad input


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"pixel_values": torch.zeros(3, 3, 64, 80)}, "crop size must be square and a multiple of 16, got 64 x 80"),
        ({"pixel_values": torch.zeros(3, 3, 72, 72)}, "crop size must be square and a multiple of 16, got 72 x 72"),
        (
            {"pixel_values": torch.zeros(3, 1, 64, 64)},
            r"pixel_values must have shape \(B, 3, S, S\), got \(3, 1, 64, 64\)",
        ),
        ({"boxes": None}, r"boxes \(B, 4\) are missing"),
        ({"boxes": torch.ones(2, 4)}, r"boxes must have shape \(3, 4\), one for each crop, got \(2, 4\)"),
        ({"boxes": torch.ones(3, 5)}, r"boxes must have shape \(3, 4\), one for each crop, got \(3, 5\)"),
        ({"boxes": [[0, 0, 5, 5], [4, 0, 4, 9], [0, 0, 1, 1]]}, r"box 1 must be .* got \[4\.0, 0\.0, 4\.0, 9\.0\]"),
        (
            {"boxes": [[0, 0, 5, 5], [0, 0, 4, float("nan")], [0, 0, 1, 1]]},
            r"box 1 must be .* got \[0\.0, 0\.0, 4\.0, nan\]",
        ),
        ({"box_mask": torch.ones(3, 1, 16, 16)}, r"box_mask must have shape \(3, 1, 64, 64\), got \(3, 1, 16, 16\)"),
        ({"box_mask": None, "loss_step": 3}, "a loss needs box_mask"),
        (
            {"network": "average", "box_mask": None},
            "network must be one of 'student', 'teacher', 'mixed', got 'average'",
        ),
        ({"network": "teacher"}, "a loss is for the student"),
    ],
)
def test_wrong_calls_are_refused_in_a_sentence(batch, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        make_model()(**(batch | changes))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"image_size": 72}, "crop size must be square and a multiple of 16, got image_size 72"),
        ({"num_attention_heads": 5}, "hidden_size 32 must be divisible by num_attention_heads 5"),
        ({"hidden_size": 36, "patch_embed_type": "conv_stem"}, "needs a hidden_size divisible by 8"),
        ({"patch_embed_type": "stem"}, "patch_embed_type must be 'linear' or 'conv_stem', got 'stem'"),
        ({"mask_head_num_layers": 3}, "mask_head_num_layers must be at least 4"),
        ({"crf_kernel_size": 4}, "crf_kernel_size must be odd and positive, got 4"),
        ({"crf_low": 0.6}, "must be 0 < low < 0.5 < high < 1, got 0.6 and 0.9"),
        ({"crf_high": 1.0}, "must be 0 < low < 0.5 < high < 1, got 0.1 and 1.0"),
        ({"mask_thresholds": [0.1, 0.2]}, "mask_thresholds must be one number or three"),
        ({"test_margin_rate": -0.1}, "test_margin_rate must not be negative, got -0.1"),
        ({"train_margin_rate": [0.5, 0.1]}, "train_margin_rate must be two margins"),
        ({"use_student": False, "use_teacher": False}, "the model would hold no network"),
        ({"use_teacher": False, "inference_network": "mixed"}, "'mixed' needs the teacher, but use_teacher is false"),
        ({"teacher_momentum": 1.5}, r"teacher_momentum must be in \[0, 1\], got 1.5"),
        ({"size_bounds": [100, 10]}, "size_bounds must be two rising areas"),
        ({"frozen_stages": [0, 9]}, "frozen_stages must be .* with last at most 2"),
    ],
)
def test_contradictory_configurations_are_refused_in_a_sentence(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        mal_config(**settings)


def test_windows_that_the_official_formula_breaks_are_warned_of(caplog):
    MalConfig(crf_kernel_size=5)
    assert "crf_kernel_size 5 with crf_compat can turn all of a mask into background" in caplog.text
    caplog.clear()
    MalConfig(crf_kernel_size=5, crf_compat=False)
    assert not caplog.text


@pytest.mark.parametrize("name", sorted(MalConfig.presets))
def test_every_preset_builds_a_network_of_its_table(name):
    config = MalConfig.from_preset(name)
    with torch.device("meta"):
        model = MalForMaskLabeling(config)
    heads = {"mal-vit-mae-base": 89_601_280, "mal-vit-mae-base-convstem": 93_090_400}
    count = sum(parameter.numel() for parameter in model.student.parameters())
    if name in heads:
        assert count == heads[name]
    assert len(model.student.encoder.blocks) == config.num_hidden_layers
    rows = 257 if "huge" in name else 197
    assert model.student.encoder.embeddings.position_embeddings.shape == (1, rows, config.hidden_size)


# -- label_masks


@pytest.fixture
def pictures():
    generator = np.random.default_rng(0)
    return [
        generator.integers(0, 256, (50, 70, 3), dtype=np.uint8),
        generator.integers(0, 256, (90, 40, 3), dtype=np.uint8),
    ]


BOXES = [[[5.0, 6.0, 40.5, 44.0], [20.0, 0.0, 69.0, 30.0]], [[1.0, 1.0, 39.0, 80.0]]]


def test_label_masks_answers_in_pictures_and_does_not_depend_on_the_batch_size(pictures):
    model = apart(make_model()).train()
    answers = model.label_masks(pictures, BOXES, batch_size=2)
    alone = [
        model.label_masks(picture, boxes, batch_size=8)[0] for picture, boxes in zip(pictures, BOXES, strict=True)
    ]
    assert model.training
    for answer, single, picture, boxes in zip(answers, alone, pictures, BOXES, strict=True):
        assert answer["masks"].shape == (len(boxes), *picture.shape[:2])
        assert answer["masks"].dtype == torch.bool
        assert torch.equal(answer["masks"], single["masks"])
        assert answer["boxes"].tolist() == boxes
        assert torch.equal(answer["areas"], answer["masks"].sum((1, 2)))
        assert ((answer["scores"] > 0) & (answer["scores"] <= 1)).all()


def test_flip_averaging_of_a_mirrored_picture_gives_the_mirrored_mask(pictures):
    model = make_model(test_margin_rate=0.0)
    processor = MalImageProcessor.from_config(model.config)
    crop = processor(pictures[0], [BOXES[0][0]])
    mirrored = {**crop, "pixel_values": crop["pixel_values"].flip(-1)}
    options = {"flip": True}
    ours = model.mask_probabilities(crop["pixel_values"], crop["boxes"], **options)
    theirs = model.mask_probabilities(mirrored["pixel_values"], crop["boxes"], **options)
    torch.testing.assert_close(ours, theirs.flip(-1), atol=1e-6, rtol=1e-5)
    once = model.mask_probabilities(crop["pixel_values"], crop["boxes"])
    assert not torch.allclose(ours, once)


def test_several_scales_are_averaged_and_the_first_is_the_crop_itself(crops):
    model = make_model().eval()
    plain = model.mask_probabilities(**crops)
    assert torch.equal(model.mask_probabilities(**crops, scales=(1.0,)), plain)
    several = model.mask_probabilities(**crops, scales=(0.75, 1.0, 1.5))
    assert several.shape == plain.shape
    assert not torch.allclose(several, plain)
    for scale in (0.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="scales must be positive factors of the crop size"):
            model.mask_probabilities(**crops, scales=(scale,))


def test_a_picture_without_boxes_has_no_masks_and_does_not_disturb_others(pictures):
    model = make_model().eval()
    first, second = model.label_masks(pictures, [[], BOXES[1]])
    assert first["masks"].shape == (0, 50, 70)
    assert torch.equal(second["masks"], model.label_masks(pictures[1], BOXES[1])[0]["masks"])


def test_logits_that_are_no_numbers_stop_the_labelling(crops):
    model = make_model().eval()
    nn.init.constant_(model.teacher.instance_head.fc2.bias, float("nan"))
    with pytest.raises(ValueError, match="the logits of crop 0 of this batch are not finite; use float32 or bfloat16"):
        model.mask_probabilities(**crops)


def test_masks_are_found_whatever_the_configuration_says_of_tuples():
    torch.manual_seed(0)
    model = MalForMaskLabeling(mal_config()).eval()
    batch = {key: value for key, value in mal_batch().items() if key in ("pixel_values", "boxes")}
    expected = model.mask_probabilities(**batch, flip=True)
    model.config.return_dict = False
    torch.testing.assert_close(model.mask_probabilities(**batch, flip=True), expected)
