"""MAL against values that the official code produced (see tests/fixtures/mal/README.md), through the converter."""

import numpy as np
import PIL
import pytest
import torch
from packaging.version import Version
from pycocotools import mask as coco_mask
from safetensors.torch import load_file

from hf_vidmodels.configuration.configuration_vit import VisionTransformerConfig
from hf_vidmodels.conversion.convert_checkpoint import convert_official_checkpoint
from hf_vidmodels.conversion.convert_mal import convert_mal, our_name
from hf_vidmodels.modeling.backbones.vit import ConvStem
from hf_vidmodels.modeling.ops.mask_losses import box_bag_loss, crf_loss
from hf_vidmodels.modeling.ops.mean_field import colour_affinity, mean_field, refine_masks
from hf_vidmodels.processing.box_crops import cut_box_mask, extend_boxes, shared_margins
from hf_vidmodels.processing.processing_mal import MalImageProcessor
from mal_cases import CASES, FIXTURES, load_case

TIGHT = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(params=CASES, ids=lambda folder: f"{folder.name}-{'part' if FIXTURES in folder.parents else 'whole'}")
def case(request):
    return load_case(request.param)


@pytest.fixture
def model(case):
    return convert_official_checkpoint("mal", case.state_dict, case.config)


@pytest.fixture
def forward(case):
    return case.tensors("forward.")


def close(ours, theirs, **tolerance):
    torch.testing.assert_close(ours, theirs, **(TIGHT | tolerance))


def close_logits(ours, theirs):
    # Some CPUs round a logit near 0, a sum of products as large as the largest logits, by a little more than 1e-5.
    close(ours, theirs, atol=1e-5 * max(theirs.abs().max().item(), 1))


def test_the_encoder_gives_the_official_tokens_positions_and_attention(model, forward):
    pixel_values, encoder = forward["pixel_values"], model.student.encoder
    with torch.no_grad():
        close(encoder.embeddings.patch_embeddings(pixel_values).flatten(2).transpose(1, 2), forward["patch_tokens"])
        size = pixel_values.shape[-2:]
        close(encoder.embeddings.interpolated_positions(*size), forward["pos_embed_interpolated"])
        output = encoder(pixel_values, output_hidden_states=True)
        close(output.hidden_states[1], forward["tokens_after_block0"])
        close(output.last_hidden_state, forward["encoder_output"])
        model.set_attn_implementation("eager")
        attention = encoder(pixel_values, output_attentions=True).attentions[-1]
    close(attention[:, :, 0], forward["last_attention_cls_row"])


def test_the_heads_give_the_official_vectors(model, case, forward):
    network, pixel_values = model.student, forward["pixel_values"]
    with torch.no_grad():
        tokens = network.encoder(pixel_values).last_hidden_state
        grid = pixel_values.shape[-1] // 16
        feature_map = tokens[:, 1:].transpose(1, 2).unflatten(2, (grid, grid))
        close(network.instance_head(feature_map), forward["roi_embedding"])
        for name, scale in (
            ("small", 0.5),
            ("medium", 1),
            ("large", 2),
            ("", case.config["args"]["mask_scale_ratio_pre"]),
        ):
            expected = forward.get(f"pixel_features_{name}" if name else "pixel_features")
            if expected is None:
                continue
            rows = forward[f"bucket_{name}"].bool() if name else slice(None)
            side = int(grid * scale)
            resized = torch.nn.functional.interpolate(feature_map[rows], (side, side), mode="bilinear")
            close(network.pixel_head(resized), expected)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_both_networks_and_decoders_give_the_official_logits(model, forward, attention):
    model.set_attn_implementation(attention)
    pixel_values, boxes = forward["pixel_values"], forward["boxes"]
    with torch.no_grad():
        student = model(pixel_values, boxes, network="student").logits
        teacher = model(pixel_values, boxes, network="teacher").logits
        close_logits(student, forward["student_seg_logits"])
        close_logits(teacher, forward["teacher_seg_logits"])
        close(model(pixel_values, boxes, network="mixed").logits, (student + teacher) / 2)
        if "student_seg_logits_flipped_input" in forward:
            flipped = model(pixel_values.flip(-1), boxes, network="student").logits
            close_logits(flipped, forward["student_seg_logits_flipped_input"])
        if "student_seg_logits_single_scale" in forward:
            model.config.use_size_buckets = False
            for ratio, name in ((1, "student_seg_logits_single_scale"), (2, "student_seg_logits_single_scale_pre2")):
                model.config.single_scale_ratio = ratio
                close_logits(model(pixel_values, network="student").logits, forward[name])


def test_the_convolutional_stem_alone_gives_the_official_tokens():
    stored = load_file(FIXTURES / "conv_stem" / "stem.safetensors")
    weights = {our_name(name.removeprefix("student.")): value for name, value in stored.items() if "backbone" in name}
    prefix = "encoder.embeddings.patch_embeddings."
    width = weights[f"{prefix}12.bias"].numel()
    stem = ConvStem(VisionTransformerConfig(hidden_size=width, num_attention_heads=4, patch_embed_type="conv_stem"))
    stem.load_state_dict({name.removeprefix(prefix): value for name, value in weights.items()})
    with torch.no_grad():
        tokens = stem(stored["forward.pixel_values"]).flatten(2).transpose(1, 2)
    close(tokens, stored["forward.patch_tokens"])


def test_mean_field_gives_the_official_soft_and_binary_fields(case):
    given = case.tensors("mean_field.")
    settings = case.mean_field_settings(**case.config["mean_field_standalone"])
    image, start, box_mask = given["image"], given["prob"], given["box_mask"]
    affinity = colour_affinity(image, settings["kernel_size"], settings["zeta"])
    close(affinity.flatten(2), given["kernel"])
    for name, expected in given.items():
        if name.startswith("soft_iter_"):
            count = int(name.removeprefix("soft_iter_"))
            close(mean_field(image, start, box_mask, **(settings | {"num_iterations": count})), expected, atol=1e-4)
    assert torch.equal(refine_masks(image, start, box_mask, **settings), given["refined"])
    close(mean_field(image, start, **settings), given["soft_no_box_last"], atol=1e-4)
    assert torch.equal(refine_masks(image, start, **settings), given["refined_no_box"])


def test_both_losses_and_their_gradients_are_the_official_ones(case):
    given = case.tensors("mean_field.")
    probabilities = given["prob"].clone().requires_grad_()
    loss = box_bag_loss(probabilities, given["box_mask"])
    loss.sum().backward()
    close(loss.detach(), case.io["mil.loss_per_sample"])
    close(probabilities.grad, case.io["mil.grad_pred"])

    crf = case.tensors("crf.")
    probabilities = crf["student_prob"].clone().requires_grad_()
    settings = case.mean_field_settings()
    loss, refined = crf_loss(probabilities, crf["mean_prob"], given["image"], given["box_mask"], **settings)
    loss.backward()
    close(loss.detach()[None], crf["loss"])
    assert torch.equal(refined, crf["refined"])
    close(probabilities.grad, crf["grad_student_prob"])


def assert_official_crop(found, expected):
    if Version(PIL.__version__) >= Version("13"):
        np.testing.assert_array_equal(found, expected)
    else:
        # Rows and columns of tall crops were filtered in the other order, and rounded in between.
        assert np.abs(found - expected).max() < 0.2 and np.abs(found - expected).mean() < 0.005


def test_crops_are_the_official_ones_bit_by_bit(model, case):
    processor = MalImageProcessor.from_config(model.config)
    for index, crop in enumerate(case.expected["crops"]):
        given = case.tensors(f"crop.{index}.")
        picture, box = given["image_u8"].numpy(), np.array(crop["bbox_xyxy"], dtype=np.float32)
        test = processor(picture, [crop["bbox_xyxy"]])
        assert test["crop_boxes"][0].tolist() == crop["test"]["ext_box"]
        assert torch.equal(test["box_mask"][0], given["test_box_mask"])
        if "test_pixel_values" in given:
            assert_official_crop(test["pixel_values"][0].numpy(), given["test_pixel_values"].numpy())

        train = crop["train"]
        margins = shared_margins(train["margin_uniform"], train["gate_uniform"], processor.train_margin_rate)
        np.testing.assert_array_equal(margins, train["effective_margins"])
        extended = extend_boxes(box[None], margins)[0]
        assert extended.tolist() == train["ext_box"]
        crop = torch.from_numpy(processor.cut(picture, extended).copy())
        pixel_values = processor.normalize_crops(crop[None])[0].numpy()
        box_mask = cut_box_mask(box, picture.shape[:2], extended, processor.side, processor.resample, "wrap")
        step = -1 if train["flipped"] else 1
        assert_official_crop(pixel_values[..., ::step], case.io["train.timage"][index].numpy())
        np.testing.assert_array_equal(box_mask[:, ::step], case.io["train.mask"][index, 0].numpy())


def test_training_steps_and_the_teacher_follow_the_official_ones(model, case):
    options, parameters = case.config["args"], dict(model.train().named_parameters())
    optimizer = torch.optim.AdamW(
        [parameter for parameter in parameters.values() if parameter.requires_grad],
        betas=options["optim_betas"],
        eps=options["optim_eps"],
        weight_decay=options["wd"],
    )
    batch = case.tensors("train.")
    for index, step in enumerate(case.expected["train_steps"]):
        optimizer.param_groups[0]["lr"] = step["lr_used_by_this_step"]
        output = model(
            batch["image"],
            batch["bbox"],
            batch["mask"],
            batch["timage"],
            loss_step=step["local_step"],
            epoch=step["epoch"],
        )
        output.loss.backward()
        for ours, theirs in (("loss", "loss"), ("loss_mil", "loss_mil"), ("loss_crf", "loss_crf")):
            assert float(output[ours].detach()) == pytest.approx(step[theirs], abs=1e-5)
        if (refined := batch.get(f"step{index}.refined_mask")) is not None:
            assert torch.equal(output.refined_masks, refined)
        for name, gradient in case.tensors(f"train.step{index}.grad.").items():
            close(parameters[f"student.{our_name(name)}"].grad, gradient)
        optimizer.step()
        optimizer.zero_grad()
        model.update_teacher()
        for network in ("student", "teacher"):
            for name, value in case.tensors(f"train.step{index}.{network}.").items():
                close(parameters[f"{network}.{our_name(name)}"].detach(), value)


def test_labelling_runs_give_the_official_masks(model, case):
    main_run, margin = case.config["label_main_run"], 1e-4
    for name, run in case.expected["label_runs"].items():
        results = label_as_run(model, case, run)
        assert set(results) == {annotation["id"] for annotation in run["annotations"]}
        for annotation, facts in zip(run["annotations"], run["per_instance"], strict=True):
            result = results[annotation["id"]]
            ours, theirs = (coco_mask.decode(rle) for rle in (result["segmentation"], annotation["segmentation"]))
            assert (ours != theirs).sum() <= facts["near_threshold_pixels"] + 2
            assert result["crop_box"] == facts["ext_box"]
            assert result["box_area"] == pytest.approx(annotation["area"], rel=1e-6)
            if name == main_run and f"label.{annotation['id']}.prob_crop" in case.io:
                close(result["probabilities"], case.io[f"label.{annotation['id']}.prob_crop"][0, 0], atol=margin)


def label_as_run(model, case, run):
    """Label the pictures of a run in one call per stage, as `label_masks` does; by annotation id."""
    flags = set(run["flags"])
    network = "teacher" if "use_teacher_test" in flags else "mixed" if "use_mixed_model_test" in flags else "student"
    options = {"network": network, "flip": "use_flip_test" in flags}
    image_ids = sorted({annotation["image_id"] for annotation in run["annotations"]})
    annotations = [[one for one in run["annotations"] if one["image_id"] == image_id] for image_id in image_ids]
    boxes = [
        [[x, y, x + width, y + height] for x, y, width, height in (one["bbox"] for one in rows)]
        for rows in annotations
    ]
    pictures = [case.io[f"label.image_{image_id - 1}_u8"].numpy() for image_id in image_ids]
    processor = MalImageProcessor.from_config(model.config)
    crops = processor(pictures, boxes)
    probabilities = model.mask_probabilities(crops["pixel_values"], crops["boxes"], crops["box_mask"], **options)
    answers = model.label_masks(pictures, boxes, encode_rle=True, batch_size=3, **options)
    flat = [one for rows in annotations for one in rows]
    segmentations = [rle for answer in answers for rle in answer["segmentation"]]
    areas = torch.cat([answer["box_areas"] for answer in answers]).tolist()
    return {
        one["id"]: {
            "segmentation": segmentation,
            "box_area": area,
            "crop_box": crops["crop_boxes"][row].tolist(),
            "probabilities": probabilities[row],
        }
        for row, (one, segmentation, area) in enumerate(zip(flat, segmentations, areas, strict=True))
    }


def test_wrapped_checkpoints_of_one_network_convert_too(case):
    wrapped = {
        name.replace("student.", "module.student._fsdp_wrapped_module."): value
        for name, value in case.state_dict.items()
        if name.startswith("student.")
    }
    model = convert_mal({"state_dict": wrapped}, case.config)
    assert model.teacher is None
    assert model.config.inference_network == "student"
    both = convert_mal(case.state_dict, case.config)
    forward = case.tensors("forward.")
    with torch.no_grad():
        ours = model(forward["pixel_values"], forward["boxes"]).logits
        assert torch.equal(ours, both(forward["pixel_values"], forward["boxes"], network="student").logits)


def test_weights_left_over_and_missing_are_named(case):
    extra = case.state_dict | {"student.backbone.mask_token": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"has no place for: student\.backbone\.mask_token"):
        convert_mal(extra, case.config)
    lacking = {name: value for name, value in case.state_dict.items() if name != "teacher.backbone.cls_token"}
    with pytest.raises(ValueError, match=r"lacks weights of the model: teacher\.encoder\.embeddings\.cls_token"):
        convert_mal(lacking, case.config)


def test_the_arch_option_describes_the_encoder_where_no_block_does(case):
    with pytest.raises(ValueError, match="'arch' must be one of .*vit-mae-base/16.*, got 'resnet50'"):
        convert_mal(case.state_dict, {"arch": "resnet50"})
    with pytest.raises(ValueError, match=r"lacks weights of the model: student\.encoder\.blocks\.10"):
        convert_mal(case.state_dict, {"args": {"arch": "vit-deit-tiny/16"}})
