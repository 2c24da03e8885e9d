"""Cross-X's recipe: its pictures, schedules, classes in balance, what it logs and draws, and what it refuses."""

import json
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from hf_vidmodels import CrossXForImageClassification
from hf_vidmodels.data.corpora import load_corpus
from hf_vidmodels.evaluation.part_figures import draw_parts_of
from hf_vidmodels.processing.processing_cross_x import CrossXImageProcessor
from hf_vidmodels.training import loop
from hf_vidmodels.training.recipe_files import available_recipes, check_fields, find_recipe, read_recipe
from hf_vidmodels.training.recipes.class_balance import BalancedSampler
from hf_vidmodels.training.recipes.recipe_cross_x import CrossXArguments, CrossXRecipe
from hf_vidmodels.training.schedules import build_scheduler

TINY = {
    "model": {"preset": "tiny-cross-x", "image_size": 32, "crop_margin": 1.25, "depths": [1, 1, 2, 2]},
    "per_device_train_batch_size": 4,
    "optim": "sgd",
    "learning_rate": 0.01,
    "num_train_epochs": 2,
    "logging_steps": 1,
    "disable_tqdm": True,
    "save_strategy": "no",
}
COLOURS = {"blue": (20, 40, 200), "green": (20, 200, 40), "red": (200, 30, 30)}


def save(path, colour, mode="RGB", size=(40, 34)):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(str(path))).integers(0, 40, (*size[::-1], 3))
    Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).convert(mode).save(path)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Pictures of three colours in class folders, one of which has but one picture; grey, palette and alpha too."""
    root = tmp_path_factory.mktemp("colours")
    counts = {"train": {"blue": 1, "green": 4, "red": 6}, "test": {"blue": 1, "green": 2, "red": 2}}
    modes = ("RGB", "P", "RGBA", "L", "LA", "1")
    for split, by_class in counts.items():
        for label, count in by_class.items():
            for number in range(count):
                save(root / split / label / f"{number}.png", COLOURS[label], modes[number % len(modes)])
    return root


def prepared(corpus, **changes):
    recipe = CrossXRecipe(CrossXArguments(**({"dataset_name": str(corpus)} | TINY | changes)))
    recipe.prepare_data()
    recipe.processor = CrossXImageProcessor.from_config(recipe.args.model_config(["a", "b", "c"]))
    return recipe


@pytest.fixture
def train(monkeypatch):
    """Return a function that trains the tiny recipe into a folder and gives the folder; it makes no card."""

    def run(corpus, folder, **changes):
        monkeypatch.setattr(loop, "complete_repository", lambda training, has_results: None)
        args = CrossXArguments(**({"dataset_name": str(corpus), "output_dir": str(folder)} | TINY | changes))
        loop.run(CrossXRecipe(args), args)
        return folder

    return run


# -- pictures


def test_training_pictures_are_random_crops_of_resized_ones_and_test_pictures_their_middle(corpus):
    recipe = prepared(corpus, flip_probability=0.0)
    picture = Image.open(corpus / "train" / "red" / "0.png")
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float(), (40, 40), mode="bilinear", antialias=True
    )
    processor = recipe.processor
    mean, std = (torch.tensor(values)[:, None, None] for values in (processor.image_mean, processor.image_std))
    views = recipe.train_dataset(0)
    index = views.name(0) and next(row for row in range(11) if views.name(row).endswith("red/0.png"))
    offsets = set()
    for epoch in range(8):
        (view,) = views[epoch, index]["pixel_values"]
        pixels = (view * std + mean) * 255
        matches = [
            (top, left)
            for top in range(9)
            for left in range(9)
            if torch.allclose(resized[0, :, top : top + 32, left : left + 32], pixels, atol=1)
        ]
        assert len(matches) == 1
        offsets.update(matches)
    assert len(offsets) > 4
    middle = processor(picture)["pixel_values"][0]
    assert torch.allclose((middle * std + mean) * 255, resized[0, :, 4:36, 4:36], atol=1.1)


def test_a_random_share_of_the_picture_is_taken_on_request(corpus):
    views = prepared(corpus, crop_scale=[0.1, 0.2]).train_dataset(0)
    assert views[0, 5]["pixel_values"].shape == (1, 3, 32, 32)


@pytest.mark.parametrize(
    ("size", "sentence"),
    [
        ({"height": 24, "width": 40}, r"size \(24, 40\) of the processor is below its crop_size \(32, 32\)"),
        ({"shortest_edge": 40}, "size of the processor must be a height and a width"),
    ],
)
def test_a_processor_whose_crop_does_not_fit_is_refused(corpus, size, sentence):
    recipe = prepared(corpus)
    recipe.processor = CrossXImageProcessor(size=size, crop_size={"height": 32, "width": 32})
    with pytest.raises(ValueError, match=sentence):
        recipe.train_dataset(0)


# -- classes in balance


def test_all_classes_come_equally_often_and_small_ones_again():
    labels = [0] * 1 + [1] * 4 + [3] * 10
    sampler = BalancedSampler(labels, seed=0)
    seen = list(sampler)
    counts = Counter(labels[index] for _, index in seen)
    assert len(seen) == len(sampler) == 15 and counts == {0: 5, 1: 5, 3: 5}
    assert {index for _, index in seen if labels[index] == 1} == {1, 2, 3, 4}
    # Whatever the batch, classes are spread.
    assert all({labels[index] for _, index in seen[start : start + 3]} == {0, 1, 3} for start in range(0, 15, 3))


def test_the_order_follows_from_seed_and_epoch():
    labels = [0] * 3 + [1] * 9
    first, again, other = (BalancedSampler(labels, seed) for seed in (0, 0, 1))
    assert list(first) == list(again) != list(other)
    before = list(first)
    first.set_epoch(1)
    assert [index for _, index in first] != [index for _, index in before]
    assert all(epoch == 1 for epoch, _ in first)


def test_the_loader_balances_on_request(corpus):
    plain, balanced = (
        Counter(
            label
            for batch in prepared(corpus, class_balanced=is_on).train_dataloader(0)
            for label in batch["labels"].tolist()
        )
        for is_on in (False, True)
    )
    assert plain == {0: 1, 1: 4, 2: 6}
    assert sorted(balanced.values()) == [3, 4, 4]


# -- runs


def test_a_run_logs_all_losses_scores_every_head_and_draws_the_parts(corpus, train, tmp_path):
    train(corpus, tmp_path / "run", class_balanced=True)
    lines = [json.loads(line) for line in (tmp_path / "run" / "training_log.jsonl").read_text().splitlines()]
    logged = next(line for line in lines if "ce" in line)
    assert {"ce", "c3s_ultimate", "c3s_penultimate", "c3s_merged", "cross_layer"} <= logged.keys()
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())["metrics"]
    heads = {f"{head}_top1_accuracy" for head in ("ultimate", "penultimate", "merged")}
    assert heads | {"top1_accuracy", "mean_class_accuracy"} <= metrics.keys()
    assert (tmp_path / "run" / "figures" / "parts.png").is_file()
    model = CrossXForImageClassification.from_pretrained(tmp_path / "run")
    assert model.config.id2label == {0: "blue", 1: "green", 2: "red"}


def test_a_plain_trunk_and_batches_of_one_are_trained_too(corpus, train, tmp_path):
    folder = train(
        corpus,
        tmp_path / "run",
        model={"preset": "tiny-cross-x", "num_parts": 1},
        per_device_train_batch_size=1,
        num_train_epochs=1,
    )
    assert not (folder / "figures" / "parts.png").exists()
    assert "ultimate_top1_accuracy" not in json.loads((folder / "metrics.json").read_text())["metrics"]


def test_a_converted_trunk_is_the_start_and_its_heads_begin_afresh(corpus, train, tmp_path, capsys):
    start = CrossXForImageClassification(CrossXArguments(**TINY).model_config([f"class {n}" for n in range(5)]))
    start.save_pretrained(tmp_path / "trunk")
    train(corpus, tmp_path / "run", model_name_or_path=str(tmp_path / "trunk"), learning_rate=0.0, num_train_epochs=1)
    assert "start afresh (classifier.merged.bias" in capsys.readouterr().out
    model = CrossXForImageClassification.from_pretrained(tmp_path / "run")
    assert torch.equal(model.stages[3][1].excitations.weight, start.stages[3][1].excitations.weight)


def test_a_sheet_needs_parts(corpus):
    config = CrossXArguments(**TINY).model_config(["blue", "green", "red"], num_parts=1)
    model, splits = CrossXForImageClassification(config).eval(), load_corpus(str(corpus))
    with pytest.raises(ValueError, match="there is no part to draw"):
        draw_parts_of(model, CrossXImageProcessor.from_config(config), splits["test"], splits["train"], "parts")


# -- recipe files


@pytest.mark.parametrize("name", [name for name in available_recipes() if name.startswith("cross_x/")])
def test_every_recipe_has_fields_that_there_are_and_a_model(name):
    _, values = read_recipe(find_recipe(name))
    check_fields(values, CrossXArguments, name)
    args = CrossXArguments(**{key: value for key, value in values.items() if key != "method"})
    assert args.model["preset"].replace("cross_x_", "") == name.removeprefix("cross_x/") or name == "cross_x/embedded"


@pytest.mark.parametrize("pictures", [5994, 8144, 23929, 12000, 6667])
def test_the_published_schedule_falls_after_15_and_25_of_30_epochs(pictures):
    _, values = read_recipe(find_recipe("cross_x/resnet50_cub"))
    args = CrossXArguments(**{key: value for key, value in values.items() if key != "method"})
    per_epoch = -(-pictures // args.per_device_train_batch_size)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=args.learning_rate)
    scheduler = build_scheduler(optimizer, args, 30 * per_epoch)
    share_of_peak = scheduler.lr_lambdas[0]
    rates = [[share_of_peak(epoch * per_epoch + step) for step in (0, per_epoch - 1)] for epoch in range(30)]
    assert rates == [[1.0, 1.0]] * 15 + [[0.1, 0.1]] * 10 + [[0.1**2, 0.1**2]] * 5
