"""STEP's recipe: samples with boxes over time, augmentation, rates, two stages, and what a run leaves."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoVideoProcessor

from hf_vidmodels import StepForActionDetection, StepVideoProcessor
from hf_vidmodels.data.contracts import features_for
from hf_vidmodels.data.video_writing import write_video
from hf_vidmodels.training import loop
from hf_vidmodels.training.recipe_files import available_recipes, check_fields, find_recipe, read_recipe
from hf_vidmodels.training.recipes import action_detectors
from hf_vidmodels.training.recipes.recipe_step import (
    StepArguments,
    StepRecipe,
    classifying_view,
    spread_first_head,
)
from hf_vidmodels.training.recipes.step_augmentation import (
    TubeAugmentation,
    crop_boxes,
    draw_crop,
    erase_patches,
    mirror_boxes,
)
from hf_vidmodels.training.recipes.step_clips import (
    StepTrainingClips,
    collate_clips_with_people,
    draw_proposals,
)
from hf_vidmodels.training.recipes.step_schedules import cosine_share, stepped_share
from method_examples import step_config
from step_cases import operations

PARAMETERS, VALUES = operations()
PLAIN = TubeAugmentation(colors=0.0, crops=False, flip_probability=0.0, erase_probability=0.0)
TINY = {
    "dataset_name": "embedded/tubes",
    "model": {
        "preset": "step-tiny",
        "image_size": [32, 32],
        "hidden_size": 4,
        "roi_pool_size": 2,
        "num_steps": 2,
        "chunks_per_step": [1, 3],
        "chunk_length": 1,
        "proposal_scales": [2],
        "proposal_overlaps": [0.5],
    },
    "stages": [{"name": "classification"}, {"name": "detection"}],
    "num_train_epochs": 1,
    "per_device_train_batch_size": 2,
    "learning_rate": 0.001,
    "optim": "adam",
    "train_batch_norms": True,
    "logging_steps": 1,
    "disable_tqdm": True,
    "save_strategy": "steps",
    "save_steps": 1,
    "save_total_limit": None,
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Three key times of one film: a person who moves to the right, and another who comes late."""
    from datasets import Dataset

    path = tmp_path_factory.mktemp("film") / "film.mp4"
    write_video(path, list(np.random.default_rng(0).integers(0, 256, (100, 32, 48, 3), dtype=np.uint8)), 25)
    first = [[0.1 * second, 0.2, 0.1 * second + 0.3, 0.8] for second in (1, 2, 3)]
    second = [0.6, 0.1, 0.9, 0.9]
    columns = {
        "video_id": ["film"] * 3,
        "video": [str(path)] * 3,
        "timestamp": [1.0, 2.0, 3.0],
        "boxes": [[first[0]], [first[1], second], [second, first[2]]],
        "labels": [[[0]], [[1], [0, 2]], [[2], [1]]],
        "actor_ids": [[7], [7, 9], [9, 7]],
        "excluded": [False, False, False],
    }
    return Dataset.from_dict(columns, features=features_for("action-detection", columns, ["a", "b", "c"]))


def clips_of(rows, **changes):
    config = step_config(num_labels=3)
    settings = {"seed": 0, "augmentation": PLAIN} | changes
    return StepTrainingClips(rows, StepVideoProcessor.from_config(config), config, **settings)


# -- samples


def test_people_are_followed_into_the_seconds_before_and_after(rows):
    sample = clips_of(rows)[0, 1]
    assert sample["pixel_values"].shape == (36, 3, 48, 64)
    assert sample["labels"].tolist() == [[0, 1, 0], [1, 0, 1]]
    expected = np.array([[[0.1, 0.2, 0.4, 0.8], [0.2, 0.2, 0.5, 0.8], [0.3, 0.2, 0.6, 0.8]]]) * [64, 48, 64, 48]
    np.testing.assert_allclose(sample["box_labels"][:1], expected, atol=1e-4)
    assert not sample["box_labels"][1, 0].any() and sample["box_labels"][1, 1:].any(-1).all()


def test_a_sample_follows_from_its_epoch_and_index(rows):
    clips = clips_of(rows, augmentation=TubeAugmentation(), draws_proposals=True)
    first, again, other = clips[0, 1], clips[0, 1], clips[1, 1]
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert not torch.equal(first["pixel_values"], other["pixel_values"])


def test_excluded_rows_are_left_out(rows):
    assert len(clips_of(rows.remove_columns("excluded").add_column("excluded", [True, False, True]))) == 1
    with pytest.raises(ValueError, match="no key time that is not excluded"):
        clips_of(rows.remove_columns("excluded").add_column("excluded", [True] * 3))


def test_rows_of_people_and_proposals_are_filled_up(rows):
    clips = clips_of(rows, draws_proposals=True)
    batch = collate_clips_with_people([clips[0, 0], clips[0, 1]])
    assert batch["labels"].shape == (2, 2, 3) and batch["box_labels"].shape == (2, 2, 3, 4)
    assert not batch["box_labels"][0, 1].any()
    mask = batch["proposal_mask"]
    assert mask.sum(1).tolist() == [len(clips[0, index]["proposals"]) for index in (0, 1)]
    assert (batch["proposals"][~mask] == torch.tensor([0.0, 0, 64, 48])).all()


def test_proposals_lie_near_one_person_or_away_from_all():
    boxes = np.array([[0.05, 0.1, 0.35, 0.8], [0.6, 0.2, 0.9, 0.9]])
    generator = np.random.default_rng(0)
    for _ in range(20):
        drawn = draw_proposals(boxes, 3, generator)
        assert ((drawn >= 0) & (drawn <= 1)).all()
        common = (np.minimum(drawn[:, None, 2:], boxes[:, 2:]) - np.maximum(drawn[:, None, :2], boxes[:, :2])).clip(0)
        areas = [(one[:, 2:] - one[:, :2]).prod(-1) for one in (drawn, boxes)]
        overlaps = common.prod(-1) / (areas[0][:, None] + areas[1] - common.prod(-1))
        assert np.diag(overlaps[:2]).min() > 0.75 and overlaps[2:].max(initial=0) < 0.2
    assert draw_proposals(np.zeros((0, 4)), 3, generator).tolist() == [[0, 0, 1, 1]]


# -- augmentation


def test_boxes_are_cropped_and_mirrored_as_officially():
    height, width = VALUES["crop.frame_size_hw"].tolist()
    sides = np.array([width, height, width, height])
    rect = VALUES["crop.rect"].double().numpy()
    boxes = VALUES["crop.boxes_in"].double().numpy()
    found, kept = crop_boxes(boxes[..., :4] / sides, rect / sides)
    size = np.tile(rect[2:] - rect[:2], 2)
    np.testing.assert_allclose(found * size, VALUES["crop.boxes_out"][..., :4], atol=1e-4)
    np.testing.assert_array_equal(boxes[kept][..., 4:], VALUES["crop.boxes_out"][..., 4:])
    width = PARAMETERS["mirror"]["width"]
    mirrored = mirror_boxes(VALUES["mirror.boxes_in"][..., :4].double().numpy() / width)
    expected = VALUES["mirror.boxes_out"][..., :4].double().numpy() / width
    np.testing.assert_allclose(mirrored[..., [0, 2]], expected[..., [0, 2]], atol=1e-6)


def test_a_crop_shows_enough_of_every_person():
    boxes = np.array([[0.1, 0.1, 0.3, 0.5], [0.4, 0.3, 0.9, 0.9]])
    generator = np.random.default_rng(0)
    crops = {draw_crop(boxes, 90, 120, generator) for _ in range(30)}
    assert len(crops) > 5
    for left, top, right, bottom in crops:
        assert 0 <= left < right <= 120 and 0 <= top < bottom <= 90
        assert 0.5 <= (bottom - top) / (right - left) <= 2 or (left, top, right, bottom) == (0, 0, 120, 90)
        _, kept = crop_boxes(boxes[:, None], np.array([left / 120, top / 90, right / 120, bottom / 90]))
        assert len(kept)
    assert draw_crop(np.zeros((0, 4)), 90, 120, generator) == (0, 0, 120, 90)


def test_patches_are_erased_inside_boxes_the_same_in_all_frames():
    frames = torch.zeros(3, 3, 60, 80)
    erased = erase_patches(
        frames, np.array([[0.25, 0.25, 0.75, 0.75], [0.5, 0.5, 0.5, 0.5]]), np.random.default_rng(1)
    )
    assert erased.any() and not frames.any()
    outside = erased.clone()
    outside[..., 15:45, 20:60] = 0
    assert not outside.any() and torch.equal(erased[0], erased[2])


def test_colours_stay_colours():
    frames = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for seed in range(20):
        changed = TubeAugmentation(colors=1.0).change_colors(frames, np.random.default_rng(seed))
        assert changed.shape == frames.shape and changed.min() >= 0 and changed.max() <= 1


# -- rates


@pytest.mark.parametrize("case", PARAMETERS["lr_cosine"] + PARAMETERS["lr_step"], ids=str)
def test_rates_are_the_official_ones(case):
    options = case["args"]
    for iteration, *rates in case["step_lr"]:
        if "gamma" in options:
            share = stepped_share(iteration, options["milestones"], options["warmup_iters"], options["gamma"])
        else:
            share = cosine_share(
                iteration,
                options["milestones"],
                options["warmup_iters"],
                options.get("min_ratio", 0.0),
                options.get("cycle_decay", 1.0),
            )
        np.testing.assert_allclose(np.array(case["base_lrs"]) * share, rates, rtol=1e-9, atol=1e-15)


def test_parts_have_the_official_rates():
    recipe = StepRecipe(StepArguments(learning_rate=7.5e-4, weight_decay=1e-7))
    model = StepForActionDetection(step_config(freeze_batch_norm_affine=True))
    groups = {group["name"]: group for group in recipe.parameter_groups(model, 0)}
    rates = {name: group["lr"] for name, group in groups.items()}
    trunk = {f"trunk{depth}": 7.5e-5 / 2**depth for depth in range(4)}
    assert rates == pytest.approx({**trunk, "blocks": 1.5e-4, "heads": 7.5e-4, "heads_biases": 1.5e-3})
    assert groups["heads_biases"]["weight_decay"] == 0 and "weight_decay" not in groups["heads"]
    learning = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    assert {id(parameter) for group in groups.values() for parameter in group["params"]} == learning


def test_a_rise_that_takes_all_steps_is_refused():
    recipe = StepRecipe(StepArguments(warmup_steps=10))
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    with pytest.raises(ValueError, match="warmup_steps 10 leave nothing of the 8 steps of stage detection"):
        recipe.make_scheduler(optimizer, 0, 8, 4)


# -- stages


def test_the_view_of_the_first_stage_shares_its_weights_and_the_second_begins_with_copies():
    torch.manual_seed(0)
    model = StepForActionDetection(step_config())
    view = classifying_view(model, train_batch_norms=True)
    assert view.needs_boxes and view.config.num_frames == model.config.num_frames
    assert view.heads[0].blocks is model.heads[0].blocks and not any(value.is_meta for value in view.parameters())
    classifier = model.heads[0].classifier.weight.clone()
    spread_first_head(model)
    for head in model.heads:
        assert torch.equal(
            head.blocks[0].wide[1].convolution.weight, view.heads[0].blocks[0].wide[1].convolution.weight
        )
        assert not torch.equal(head.classifier.weight, classifier)


@pytest.fixture
def train(rows, monkeypatch, tmp_path):
    """Return a function that trains the tiny recipe into a folder and gives the folder."""

    def run(name, **changes):
        corpus = {"train": rows, "validation": rows.select([1])}
        monkeypatch.setattr(action_detectors, "load_corpus", lambda *args, **kwargs: corpus)
        monkeypatch.setattr(loop, "write_loss_curve", lambda folder, metric: None)
        monkeypatch.setattr(loop, "complete_repository", lambda training, has_results: None)
        args = StepArguments(**(TINY | {"output_dir": str(tmp_path / name)} | changes))
        loop.run(StepRecipe(args), args)
        return tmp_path / name

    return run


def test_both_stages_end_in_a_repository_and_resume_inside_either(train, tmp_path):
    folder = train("whole")
    assert type(AutoModel.from_pretrained(folder)) is StepForActionDetection
    assert AutoVideoProcessor.from_pretrained(folder).frame_size == (32, 32)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert "mAP@0.5" in json.dumps(metrics)
    log = [json.loads(line) for line in (folder / "training_log.jsonl").read_text().splitlines()]
    assert all(np.isfinite(line["loss"]) for line in log if "loss" in line)
    weights = load_file(folder / "model.safetensors")
    # What was done last is done again: half of the second stage, then half of the first as well.
    for kept in ("detection-3", "classification-1"):
        for checkpoint in (folder / "checkpoints").iterdir():
            if checkpoint.name not in (kept, "classification-1", "work"):
                shutil.rmtree(checkpoint)
        resumed = train("whole", resume_from_checkpoint="last")
        for name, value in load_file(resumed / "model.safetensors").items():
            assert torch.equal(weights[name], value), name


def test_the_first_stage_may_be_left_out_and_another_model_started_from(train):
    folder = train("alone", stages=None, max_steps=1, eval_strategy="no", train_batch_norms=False)
    again = train("again", stages=None, max_steps=1, eval_strategy="no", model_name_or_path=str(folder))
    assert (again / "model.safetensors").is_file()


@pytest.mark.parametrize("name", [name for name in available_recipes() if name.startswith("step/")])
def test_recipe_files_have_only_fields_that_there_are(name):
    method, fields = read_recipe(find_recipe(name))
    assert method == "step"
    StepRecipe(StepArguments(**check_fields(fields, StepArguments, name)))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"flip_probability": 2.0}, r"flip_probability.*must be in \[0, 1\]"),
        ({"trunk_lr_multiplier": 0.0}, "must be positive"),
        ({"lr_cycle_ends": [0.8, 0.4]}, "must be ascending shares"),
        ({"model_name_or_path": "a", "i3d_weights": "b"}, "exclude each other"),
    ],
)
def test_arguments_that_contradict_are_refused(fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        StepArguments(**fields)
