"""Semiformer's recipe: which pictures count as labelled, both phases, the average, exact resuming, and logs."""

import json
import re

import numpy as np
import pytest
import torch
from killed_runs import leave_as_if_killed_after
from PIL import Image
from safetensors.torch import load_file

from hf_vidmodels import SemiformerForImageClassification
from hf_vidmodels.training import loop
from hf_vidmodels.training.recipe_files import available_recipes, check_fields, find_recipe, read_recipe
from hf_vidmodels.training.recipes.recipe_semiformer import SemiformerArguments, SemiformerRecipe
from hf_vidmodels.visualization.figures import new_figure

TINY = {
    "model": {
        "preset": "tiny-semiformer",
        "image_size": 32,
        "conv_channel_ratio": 0.25,
        "hidden_size": 12,
        "num_hidden_layers": 3,
        "stem_channels": 8,
        "pseudo_label_threshold": 0.3,
    },
    "processor": {"size": {"shortest_edge": 32}},
    "labelled_share": 0.5,
    "per_device_train_batch_size": 6,
    "labelled_fraction": 0.34,
    "learning_rate": 0.01,
    "lr_scheduler_type": "cosine_by_step",
    "warmup_epochs": 0.5,
    "num_train_epochs": 2,
    "steps_per_epoch": 2,
    "average_decay": 0.9,
    "logging_steps": 1,
    "disable_tqdm": True,
    "save_strategy": "steps",
    "save_steps": 1,
    "save_total_limit": None,
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Pictures of two colours, in class folders."""
    root = tmp_path_factory.mktemp("pictures")
    draws = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 3)):
        for label, colour in (("green", (20, 200, 40)), ("red", (200, 30, 30))):
            folder = root / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                noise = draws.integers(0, 40, (34, 40, 3))
                pixels = (np.array(colour) + noise).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{label}{number}.png")
    return root


def without_card_and_curves(patch):
    """Leave out what takes long and is tested elsewhere."""
    patch.setattr(loop, "complete_repository", lambda training, has_results: None)
    patch.setattr(loop, "write_loss_curve", lambda folder, metric: None)
    for name in ("confusion.draw_confusion", "picture_grid.draw_picture_grid"):
        patch.setattr(f"hf_vidmodels.visualization.{name}", lambda *args: new_figure(figsize=(1, 1)))


@pytest.fixture
def train(corpus, monkeypatch):
    """Return a function that trains the tiny recipe into a folder and gives the folder; it makes no card."""

    def run(folder, **changes):
        without_card_and_curves(monkeypatch)
        args = SemiformerArguments(**({"dataset_name": str(corpus), "output_dir": str(folder)} | TINY | changes))
        loop.run(SemiformerRecipe(args), args)
        return folder

    return run


def prepared(corpus, **changes):
    recipe = SemiformerRecipe(SemiformerArguments(**({"dataset_name": str(corpus)} | TINY | changes)))
    recipe.prepare_data()
    return recipe


def log_of(folder):
    return [json.loads(line) for line in (folder / "training_log.jsonl").read_text().splitlines()]


# -- which pictures count as labelled


def test_a_share_of_every_class_is_labelled_and_all_pictures_are_learned_from(corpus):
    recipe = prepared(corpus)
    assert sorted(recipe.train["label"]) == [0] * 4 + [1] * 4
    assert len(recipe.unlabelled) == 16 and recipe.truth_is_known
    again = prepared(corpus, seed=7)
    assert again.train["label"] == recipe.train["label"] and again.train._indices == recipe.train._indices
    assert len(prepared(corpus, exclude_labelled=True).unlabelled) == 8


def test_a_published_list_names_the_labelled_pictures_in_its_order(corpus, tmp_path):
    (tmp_path / "list.txt").write_text("red3.png,0,0\ngreen1.png,0,1\nred0.png,1,0\n")
    recipe = prepared(corpus, labelled_share=None, labelled_list=str(tmp_path / "list.txt"))
    assert list(recipe.train["label"]) == [1, 0, 1]


def test_pictures_in_a_folder_unlabelled_have_no_truth(corpus, tmp_path):
    for split in ("train", "test"):
        (tmp_path / split).symlink_to(corpus / split)
    (tmp_path / "unlabelled").mkdir()
    Image.new("RGB", (40, 34)).save(tmp_path / "unlabelled" / "grey.png")
    recipe = prepared(tmp_path, labelled_share=None)
    assert (len(recipe.train), len(recipe.unlabelled), recipe.eval_split) == (16, 17, "test")
    assert not recipe.truth_is_known


def test_a_table_with_empty_labels_is_learned_from_too(corpus, tmp_path):
    files = sorted((corpus / "train").rglob("*.png"))
    rows = [f"{path},{path.parent.name if number % 4 == 0 else ''}" for number, path in enumerate(files)]
    (tmp_path / "train.csv").write_text("\n".join(["image,label", *rows]) + "\n")
    recipe = prepared(tmp_path, labelled_share=None, eval_strategy="no")
    assert (len(recipe.train), len(recipe.unlabelled)) == (4, 16)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"labelled_share": None}, "every picture of .* counts as labelled: say with labelled_share"),
        ({"labelled_share": None, "labels_per_class": 9}, "class 0 has 8 labelled pictures, but .* asks for 9"),
        ({"labelled_share": 1.0, "exclude_labelled": True}, "counts as labelled"),
        ({"mixup_alpha": 0.8, "labelled_fraction": 0.5}, "mix pairs, but a batch of stage semi_supervised has 3"),
        ({"labelled_fraction": 0.1}, "gives 0 labelled pictures and 6 without labels a step"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(corpus, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        prepared(corpus, **changes)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"labels_per_class": 2}, "labels_per_class and labelled_share exclude each other"),
        ({"ema_decay": 0.9}, "ema_decay and average_decay are two averages"),
        ({"average_decay": None, "evaluate_average": True}, "evaluate_average needs average_decay"),
        ({"label_smoothing_factor": 0.1}, "the model smooths its labels"),
        ({"repeated_augmentation": 2}, "choose sampler official_repeated"),
        ({"sampler": "official"}, "steps_per_epoch needs sampler chained"),
        ({"warmup_steps": 3}, "warms up by warmup_epochs"),
        ({"crop_scale": None}, "views imagenet needs crop_scale"),
        ({"labelled_fraction": 1.0}, "labelled_fraction must be between 0 and 1"),
        ({"labelled_share": 0.0}, "labelled_share must be above 0"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"average_decay": 1.0}, "average_decay must be between 0 and 1"),
        ({"consistency_start_epoch": -1}, "consistency_start_epoch must not be negative"),
        ({"model": {"pseudo_label_threshold": 2.0}}, "pseudo_label_threshold must be in"),
    ],
)
def test_arguments_that_contradict_each_other_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        SemiformerArguments(**(TINY | changes)).model_config(["a", "b"])


def test_a_stage_with_too_few_pictures_for_a_step_is_refused_before_any_work(train, tmp_path):
    with pytest.raises(ValueError, match="there are 8 labelled pictures, but a step takes 12"):
        train(tmp_path / "run", per_device_train_batch_size=12)


# -- training


@pytest.fixture(scope="module")
def finished(corpus, tmp_path_factory):
    """A run of both phases that nothing stopped."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    settings = {"dataset_name": str(corpus), "output_dir": str(folder), "eval_strategy": "epoch"}
    args = SemiformerArguments(**(TINY | settings))
    with pytest.MonkeyPatch.context() as patch:
        without_card_and_curves(patch)
        loop.run(SemiformerRecipe(args), args)
    return folder


def test_both_phases_share_optimizer_and_schedule_and_end_in_a_checkpoint(train, tmp_path, capsys):
    folder = train(tmp_path / "run", evaluate_average=True, eval_strategy="epoch")
    rows = [row for row in log_of(folder) if "loss" in row]
    assert [row["stage"] for row in rows] == ["supervised"] * 4 + ["semi_supervised"] * 4
    rates = [row["learning_rate_weights"] for row in rows]
    assert rates[0] == 1e-6 and rates[2:] == sorted(rates[2:], reverse=True) and rates[-1] < 0.3 * rates[2]
    assert "mask_ratio" not in rows[0]
    for name in ("mask_ratio", "pseudo_label_accuracy", "kept_right", "conv_accuracy", "transformer_accuracy"):
        assert 0 <= rows[-1][name] <= 1
    said = capsys.readouterr().out
    assert "Stage supervised: an epoch is 2 steps of 6 of 8 labelled pictures." in said
    assert re.search(r"2 steps of 2 of 8 labelled .* 4 of 16 without labels; in 2 epochs 16 .* each 1\.0 times", said)
    metrics = json.loads((folder / "metrics.json").read_text())["metrics"]
    for name in ("top1_accuracy", "conv_top1_accuracy", "softmax_sum_top1_accuracy", "average_top1_accuracy"):
        assert 0 <= metrics[name] <= 1
    for name in ("pseudo_labels", "streams", "confusion", "answers"):
        assert (folder / "figures" / f"{name}.png").is_file()
    raw = SemiformerForImageClassification.from_pretrained(folder)
    average = SemiformerForImageClassification.from_pretrained(folder / "averaged")
    counter = "stem.norm.num_batches_tracked"
    assert (raw.state_dict()[counter], average.state_dict()[counter]) == (8, 0)
    assert not torch.equal(raw.stem.convolution.weight, average.stem.convolution.weight)
    assert not torch.equal(raw.stem.norm.running_mean, average.stem.norm.running_mean)


@pytest.mark.parametrize("phase", ["supervised", "semi_supervised"])
def test_one_phase_alone_is_trained_when_it_is_asked_for(train, tmp_path, phase):
    folder = train(tmp_path / "run", phases=phase, average_decay=None, eval_strategy="no")
    assert {row["stage"] for row in log_of(folder)} == {phase}


@pytest.mark.parametrize("checkpoint", ["supervised-1", "supervised-4", "semi_supervised-5", "semi_supervised-7"])
def test_a_killed_run_ends_with_the_weights_average_and_figures_of_one_that_was_not(
    train, finished, tmp_path, checkpoint
):
    whole = finished
    folder = tmp_path / "resumed"
    folder.mkdir()
    leave_as_if_killed_after(whole / "checkpoints" / checkpoint, whole, folder)
    train(folder, eval_strategy="epoch", resume_from_checkpoint="last", dataloader_num_workers=1)
    for name in ("model.safetensors", "averaged/model.safetensors", "figures/pseudo_labels.png", "metrics.json"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name
    assert log_of(folder) == log_of(whole)


def test_the_classes_of_pictures_without_labels_do_not_change_the_training(train, corpus, tmp_path):
    files = sorted((corpus / "train").rglob("*.png"))
    labelled = {0, 3, 5, 9, 11, 14}
    for name, hides in (("known", False), ("hidden", True)):
        folder = tmp_path / name
        folder.mkdir()
        rows = [
            f"{path},{'' if hides and number not in labelled else path.parent.name}"
            for number, path in enumerate(files)
        ]
        (folder / "train.csv").write_text("\n".join(["image,label", *rows]) + "\n")
        (folder / "classes.txt").write_text("green\nred\n")
    names = tmp_path / "list.txt"
    names.write_text("".join(f"{files[number].name}\n" for number in sorted(labelled)))
    settings = {"labelled_share": None, "eval_strategy": "no", "save_strategy": "no", "save_steps": 0}
    known = train(tmp_path / "a", dataset_name=str(tmp_path / "known"), labelled_list=str(names), **settings)
    hidden = train(tmp_path / "b", dataset_name=str(tmp_path / "hidden"), **settings)
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (known, hidden))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_loss_that_is_no_number_names_the_pictures_of_its_batch(train, tmp_path):
    with pytest.raises(ValueError, match=r"not finite .*green\d\.png \(labelled\).* \(conv_loss.*learning_rate"):
        train(tmp_path / "run", model=TINY["model"] | {"head_loss_weights": [1e38, 1e38]}, learning_rate=1e30)


@pytest.mark.parametrize("sampler", ["official", "chained"])
@pytest.mark.parametrize("views", ["imagenet", "small"])
def test_orders_and_views_are_options(train, tmp_path, sampler, views):
    options = {"sampler": sampler, "views": views, "steps_per_epoch": None, "max_steps": 1, "eval_strategy": "no"}
    folder = train(tmp_path / "run", **options)
    assert {row["stage"] for row in log_of(folder)} == {"supervised", "semi_supervised"}


@pytest.mark.parametrize("name", [name for name in available_recipes() if name.startswith("semiformer/")])
def test_the_recipe_files_are_read_and_checked(name):
    path = find_recipe(name)
    assert "Time:" in path.read_text()
    method, values = read_recipe(path)
    assert method == "semiformer"
    check_fields(values, SemiformerArguments, str(path))
    recipe = SemiformerRecipe(SemiformerArguments(**values))
    assert [stage.name for stage in recipe.plan] == ["supervised", "semi_supervised"]
