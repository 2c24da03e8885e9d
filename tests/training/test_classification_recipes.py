"""The base recipes of classifiers, by a small method on each of them."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from hf_vidmodels.training import loop
from hf_vidmodels.training.argument_parser import parse_command_line
from stts_corpus import make_corpus

sys.path.insert(0, str(Path(__file__).parent))

from classifier_recipes import ClipArguments, ClipRecipe, PictureArguments, PictureRecipe  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:split 'test'.*have no example", "ignore:split 'test'.*has no example")
SETTINGS = {
    "num_train_epochs": 2,
    "per_device_train_batch_size": 4,
    "learning_rate": 0.01,
    "logging_steps": 1,
    "disable_tqdm": True,
    "save_total_limit": None,
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Pictures of two colours, each with a little noise, in class folders."""
    root = tmp_path_factory.mktemp("pictures")
    draws = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 4)):
        for label, colour in (("green", (20, 200, 40)), ("red", (200, 30, 30))):
            folder = root / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                noise = draws.integers(0, 40, (36, 40, 3))
                Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(
                    folder / f"{number}.png"
                )
    return root


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("clips"))


def train(recipe_class, output_dir, **settings):
    args = recipe_class.arguments_class(**(SETTINGS | {"output_dir": str(output_dir)} | settings))
    loop.run(recipe_class(args), args)
    return json.loads((output_dir / "metrics.json").read_text())


def test_a_classifier_of_pictures_learns_their_classes_with_no_code_of_its_own(pictures, tmp_path):
    found = train(PictureRecipe, tmp_path, dataset_name=str(pictures), num_train_epochs=6)
    assert found["task"] == "image-classification" and found["num_examples"] == 8
    assert found["metrics"]["top1_accuracy"] == 1.0
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["id2label"] == {"0": "green", "1": "red"} and config["backbone_config"]["model_type"] == "resnet"
    assert "problem_type" not in config
    assert (tmp_path / "figures" / "answers.png").is_file()


def test_pictures_are_augmented_mixed_and_repeated_by_the_arguments_of_all_classifiers(pictures, tmp_path):
    recipe = PictureRecipe(
        PictureArguments(
            dataset_name=str(pictures),
            rand_augment_operations=2,
            crop_scale=[0.3, 1.0],
            erase_probability=1.0,
            repeated_augmentation=2,
            mixup_alpha=0.8,
            cutmix_alpha=1.0,
            label_smoothing_factor=0.1,
            processor={"size": {"height": 24, "width": 28}},
            model={"backbone": {"hidden_sizes": [8, 8]}},
        )
    )
    recipe.prepare_data()
    model = recipe.build_model()
    assert model.backbone.config.hidden_sizes == [8, 8]
    data = recipe.train_dataset(0)
    items = [data[0, index] for index in (0, 9)]
    assert items[0]["pixel_values"].shape == (2, 3, 24, 28)
    assert not torch.equal(*items[0]["pixel_values"])
    torch.testing.assert_close(data[0, 0], items[0])
    assert not torch.equal(data[1, 0]["pixel_values"], items[0]["pixel_values"])
    batch = recipe.collate(items)
    assert batch["pixel_values"].shape == (4, 3, 24, 28) and batch["labels"].tolist() == [0, 0, 1, 1]
    loss, _ = recipe.step(model, batch, None)
    assert loss.isfinite() and loss.requires_grad
    assert recipe.sample_names(0, [(0, 9)])[0].endswith("train/red/1.png")


def test_a_run_starts_from_the_weights_of_another_whose_classes_differ(pictures, clips, tmp_path, capsys):
    train(PictureRecipe, tmp_path / "first", dataset_name=str(pictures), max_steps=1)
    options = {"model_name_or_path": str(tmp_path / "first"), "max_steps": 1, "learning_rate": 0.0}
    train(ClipRecipe, tmp_path / "second", dataset_name=str(clips), **options)
    assert "start afresh (classifier" in capsys.readouterr().out
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("first", "second"))
    name = next(name for name in first if name.endswith("convolution.weight"))
    assert torch.equal(first[name], second[name])


def test_a_classifier_of_clips_with_one_class_each_is_scored_by_accuracy(clips, tmp_path):
    found = train(ClipRecipe, tmp_path, dataset_name=str(clips), max_steps=2)
    assert found["task"] == "video-classification" and found["primary_metric"] == "top1_accuracy"
    assert found["tables"][0]["title"] == "3 test videos, 1 x 1 views of each"


@pytest.fixture
def stories(clips, tmp_path):
    """Videos with one or two of three classes each, as tables of one's own say it."""
    for split in ("train", "test"):
        videos = sorted((clips / split).glob("*.mp4"))
        lines = [f"{path},{';'.join(('a', 'b', 'c')[: 1 + row % 3])}" for row, path in enumerate(videos)]
        (tmp_path / f"{split}.csv").write_text("\n".join(["video,label", *lines]) + "\n")
    return tmp_path


def test_a_corpus_with_several_classes_a_video_makes_a_model_of_independent_classes(stories):
    found = train(ClipRecipe, stories / "run", dataset_name=str(stories), max_steps=2)
    assert found["primary_metric"] == "mAP" and set(found["metrics"]) == {"mAP"}
    config = json.loads((stories / "run" / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification" and len(config["id2label"]) == 3
    with pytest.raises(ValueError, match="examples of several classes, but mixup_alpha, .* set them to 0"):
        train(ClipRecipe, stories / "mixed", dataset_name=str(stories), mixup_alpha=0.8)


def test_the_command_line_reaches_a_method_of_ones_own_with_its_model_and_processor(pictures, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(f"method: classifier_recipes:PictureRecipe\ndataset_name: {pictures}\nmodel: {{side: 24}}\n")
    words = [
        "--recipe",
        str(path),
        "--model.backbone.layer_type",
        "bottleneck",
        "--processor.image_std",
        "1",
        "1",
        "1",
    ]
    found, args = parse_command_line(words)
    assert found is PictureRecipe
    config = args.model_config(["a", "b", "c"])
    assert (config.side, config.backbone_config.layer_type, config.backbone_config.depths) == (
        24,
        "bottleneck",
        [1, 1],
    )
    assert args.processor == {"image_std": [1, 1, 1]}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"crop_scale": [0.5, 0.2]}, "crop_scale must be two ascending shares"),
        ({"label_smoothing_factor": 1.0}, "label_smoothing_factor must be at least 0 and below 1"),
        ({"rand_augment_magnitude": 11.0}, "rand_augment_magnitude must be from 0 to 10"),
        ({"max_unreadable_share": 1.5}, r"max_unreadable_share must be in \[0, 1\]"),
    ],
)
def test_arguments_outside_their_range_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        ClipArguments(**changes)


def test_flips_of_classes_that_name_a_side_are_warned_of_or_exchange_the_class(clips, tmp_path):
    sided = tmp_path / "sided"
    shutil.copytree(clips, sided)
    for table in sided.glob("*/metadata.jsonl"):
        table.write_text(table.read_text().replace('"spin"', '"turn left"').replace('"swing"', '"turn right"'))
    (sided / "corpus.json").unlink()
    recipe = ClipRecipe(ClipArguments(dataset_name=str(sided)))
    with pytest.warns(UserWarning, match=r"2 classes name a side \(turn left, turn right\), but clips are flipped"):
        recipe.prepare_data()
    recipe = ClipRecipe(ClipArguments(dataset_name=str(sided), flip_swaps_sides=True, flip_probability=1.0))
    recipe.prepare_data()
    recipe.build_model()
    names = recipe.train.features["label"].names
    data = recipe.train_dataset(0)
    assert data.transform.flip_probability == 0.0
    exchanged = {"turn left": "turn right", "turn right": "turn left"}
    for index, label in enumerate(recipe.train["label"]):
        expected = exchanged.get(names[label], names[label])
        assert names[int(data[0, index]["labels"])] == expected
