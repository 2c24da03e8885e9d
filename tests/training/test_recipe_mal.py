"""MAL's recipe: what is trained on, how rates and weights move, and that a run ends in a repository."""

import json
import math

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoImageProcessor, AutoModel

from hf_vidmodels import MalForMaskLabeling, MalImageProcessor
from hf_vidmodels.data.contracts import features_for
from hf_vidmodels.data.corpora import load_corpus
from hf_vidmodels.training import loop
from hf_vidmodels.training.recipe_files import available_recipes, check_fields, find_recipe, read_recipe
from hf_vidmodels.training.recipes import recipe_mal
from hf_vidmodels.training.recipes.mal_crops import MalTrainingCrops, change_view, select_boxes
from hf_vidmodels.training.recipes.recipe_mal import MalArguments, MalRecipe, learning_rate_share
from mal_cases import CASES, load_case
from method_examples import mal_config

TINY = {
    "dataset_name": "embedded/boxes",
    "model": {
        "preset": "mal-vit-deit-tiny",
        "encoder": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "pretrain_image_size": 32},
        "image_size": 32,
        "mask_head_hidden_size": 8,
        "mask_embed_size": 8,
        "crf_num_iterations": 5,
        "loss_mil_warmup_steps": 2,
        "loss_crf_warmup_steps": 4,
        "loss_warmup_scope": "run",
    },
    "min_train_area": 200.0,
    "learning_rate": 0.002,
    "num_train_epochs": 2,
    "per_device_train_batch_size": 4,
    "per_device_eval_batch_size": 16,
    "warmup_epochs": 0.5,
    "logging_steps": 1,
    "disable_tqdm": True,
    "save_strategy": "steps",
    "save_steps": 1,
    "save_total_limit": None,
}


@pytest.fixture(scope="module")
def corpus():
    """A small share of the embedded corpus."""
    splits = load_corpus("embedded/boxes")
    return {name: splits[name].select(range(count)) for name, count in (("train", 3), ("test", 2))}


@pytest.fixture
def train(corpus, monkeypatch, tmp_path):
    """Return a function that trains the tiny recipe into a folder and gives the folder."""

    def run(name, **changes):
        monkeypatch.setattr(recipe_mal, "load_corpus", lambda *args, **kwargs: corpus)
        monkeypatch.setattr(loop, "write_loss_curve", lambda folder, metric: None)
        monkeypatch.setattr(loop, "complete_repository", lambda training, has_results: None)
        args = MalArguments(**(TINY | {"output_dir": str(tmp_path / name)} | changes))
        loop.run(MalRecipe(args), args)
        return tmp_path / name

    return run


# -- what is trained on


def table_of(objects, **rules):
    features = features_for("mask-labeling", ("image", "image_id", "objects"), ["a"])
    keys = ("id", "bbox", "category", "area", "iscrowd")
    rows = [[dict(zip(keys, one, strict=True)) for one in row] for row in objects]
    pictures = [Image.new("RGB", (80, 60))] * len(rows)
    names = [str(index) for index in range(len(rows))]
    dataset = Dataset.from_dict({"image": pictures, "image_id": names, "objects": rows}, features=features)
    return select_boxes(dataset, **({"min_area": 100.0, "min_side": 2, "skip_crowds": False} | rules)), dataset


OBJECTS = [
    [(7, [1.0, 2.0, 30.0, 20.0], 0, 1.0, 0), (8, [0.0, 0.0, 2.0, 50.0], 0, 1.0, 0)],
    [],
    [(9, [5.0, 5.0, 10.0, 10.0], 0, 1.0, 0), (11, [3.0, 4.0, 20.5, 10.0], 0, 1.0, 1)],
]


def test_boxes_are_chosen_by_the_official_rules_and_what_is_dropped_is_counted():
    table, _ = table_of(OBJECTS)
    assert table.ids.tolist() == [7, 11]
    assert table.rows.tolist() == [0, 2]
    assert table.boxes.tolist() == [[1, 2, 31, 22], [3, 4, 23.5, 14]]
    assert table.dropped == {"a side of at most 2 pixels": 1, "an area of at most 100 square pixels": 1}
    alone, _ = table_of(OBJECTS, skip_crowds=True)
    assert alone.ids.tolist() == [7]
    assert alone.dropped["a group instead of one object (iscrowd)"] == 1


@pytest.mark.parametrize(
    ("objects", "rules", "sentence"),
    [
        (OBJECTS, {"min_area": 5000.0}, "none of the 4 boxes .* 1 have a side .*; 3 have an area of at most 5000"),
        ([OBJECTS[2][1:]], {"skip_crowds": True}, r"none of the 1 boxes .* 1 have a group .*\(iscrowd\)"),
        ([[]], {}, "none of the 0 boxes .* there are no annotations"),
    ],
)
def test_a_split_without_a_box_to_train_on_is_refused_with_the_reasons(objects, rules, sentence):
    with pytest.raises(ValueError, match=sentence):
        table_of(objects, **rules)


def test_samples_follow_seed_epoch_and_index_alone():
    table, dataset = table_of(OBJECTS)
    processor = MalImageProcessor(crop_size=32)
    first, again = (MalTrainingCrops(dataset, table, processor, seed=3) for _ in range(2))
    again[(5, 1)]
    for name, value in first[(0, 1)].items():
        np.testing.assert_array_equal(value, again[(0, 1)][name])
    masks = {first[(epoch, 1)]["box_mask"].tobytes() for epoch in range(8)}
    assert len(masks) > 4


def test_the_teacher_sees_the_crop_itself_and_the_student_a_changed_one(corpus):
    table = select_boxes(corpus["train"], min_area=200.0, min_side=2, skip_crowds=False)
    processor = MalImageProcessor(crop_size=64)
    samples = MalTrainingCrops(corpus["train"], table, processor, seed=3)
    plain = MalTrainingCrops(corpus["train"], table, processor, seed=3, augment=False)
    changed = 0
    for index in range(len(samples)):
        sample, same = samples[(0, index)], plain[(0, index)]
        np.testing.assert_array_equal(sample["teacher_crop"], same["student_crop"])
        np.testing.assert_array_equal(sample["box_mask"], same["box_mask"])
        changed += not np.array_equal(sample["student_crop"], sample["teacher_crop"])
    assert 0.4 * len(samples) < changed <= len(samples)


def test_views_are_changed_as_often_as_they_should_be():
    crop = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
    generator = np.random.default_rng(1)
    views = [np.asarray(change_view(crop, generator)).astype(int) for _ in range(400)]
    grey = np.mean([(view[..., 0] == view[..., 2]).all() for view in views])
    same = np.mean([(view == np.asarray(crop)).all() for view in views])
    assert 0.14 < grey < 0.26
    # Neither jitter nor grey; blur of less than a tenth of a pixel is not to be seen at this size.
    assert 0.3 < same < 0.5


def test_an_annotation_whose_picture_does_not_fit_is_named():
    table, dataset = table_of([[(42, [100.0, 2.0, 30.0, 20.0], 0, 1.0, 0)]])
    with pytest.raises(ValueError, match="annotation 42 cannot be trained on: box 0 of picture 0 .* outside"):
        MalTrainingCrops(dataset, table, MalImageProcessor(crop_size=32), seed=0)[(0, 0)]


# -- rates


@pytest.mark.parametrize("folder", CASES, ids=str)
def test_learning_rates_are_the_official_ones(folder):
    case = load_case(folder)
    facts, args = case.expected["lr_table"], case.config["args"]
    settings = {
        "num_epochs": facts["max_epochs"],
        "warmup_epochs": facts["warmup_epochs"],
        "min_share": args["min_lr_rate"],
        "num_waves": facts["num_wave"],
    }
    for epoch, step, rate in facts["rows"]:
        share = learning_rate_share(epoch + step / facts["iters_per_epoch"], **settings)
        assert facts["peak_lr"] * share == pytest.approx(rate, rel=1e-12, abs=1e-18)


def test_a_step_has_the_rate_that_was_due_before_it():
    args = MalArguments(**(TINY | {"output_dir": "x", "warmup_epochs": 1.0, "num_lr_waves": 1.0}))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = MalRecipe(args).make_scheduler(optimizer, 0, total_steps=40, steps_per_epoch=4)
    rates = []
    for _ in range(40):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert rates[:6] == pytest.approx([0, 0, 0.25, 0.5, 0.75, 1.0])
    expected = 0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi * (38 / 4 - 1) / 9))
    assert rates[39] == pytest.approx(expected)


# -- whole runs


def test_a_run_leaves_the_teacher_alone_and_a_resumed_one_the_same(train):
    folder = train("whole", max_steps=4)
    weights = load_file(folder / "model.safetensors")
    assert {name.partition(".")[0] for name in weights} == {"teacher"}
    model = AutoModel.from_pretrained(folder)
    assert isinstance(model, MalForMaskLabeling)
    assert (model.config.use_student, model.config.use_teacher) == (False, True)
    assert AutoImageProcessor.from_pretrained(folder).side == 32
    results = json.loads((folder / "metrics.json").read_text())
    assert {"mIoU", "mIoU_filled_box", "instance_IoU", "AP"} <= set(results["metrics"])
    overlaps, precision = results["tables"]
    assert [row[0] for row in overlaps["rows"]] == ["filled box", "mask"]
    assert precision["rows"] == [["mask", *(results["metrics"][name] for name in precision["columns"][1:])]]
    predictions = json.loads((folder / "predictions.json").read_text())
    assert predictions["annotations"][0]["segmentation"]["size"] == [128, 128]
    assert (folder / "figures" / "masks.png").is_file()

    log = [json.loads(line) for line in (folder / "training_log.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in log if "loss" in row]
    assert losses[0] == 0
    for checkpoint in sorted((folder / "checkpoints").glob("self_training-*"))[2:]:
        for path in sorted(checkpoint.rglob("*"), reverse=True):
            path.unlink()
        checkpoint.rmdir()
    resumed = train("whole", max_steps=4, resume_from_checkpoint="last")
    again = load_file(resumed / "model.safetensors")
    assert all(torch.equal(again[name], value) for name, value in weights.items())
    log = [json.loads(line) for line in (folder / "training_log.jsonl").read_text().splitlines()]
    assert [row["loss"] for row in log if "loss" in row] == losses


def test_both_networks_and_the_best_weights_can_be_kept(train):
    folder = train("both", max_steps=2, kept_networks="both")
    names = {name.partition(".")[0] for name in load_file(folder / "model.safetensors")}
    assert names == {"student", "teacher"}
    best = train(
        "best",
        num_train_epochs=2,
        max_steps=-1,
        eval_strategy="epoch",
        load_best_model_at_end=True,
        model_name_or_path=str(folder),
    )
    assert {name.partition(".")[0] for name in load_file(best / "model.safetensors")} == {"teacher"}


def test_without_true_masks_a_run_needs_no_evaluation(corpus, train):
    blind = {}
    for name, dataset in corpus.items():
        rows = [[one | {"segmentation": None} for one in objects] for objects in dataset["objects"]]
        features = dataset.features
        blind[name] = dataset.remove_columns("objects").add_column("objects", rows, feature=features["objects"])
    corpus.update(blind)
    with pytest.raises(ValueError, match="split 'test' has no true masks .* eval_strategy no"):
        train("refused", max_steps=1)
    folder = train("blind", max_steps=1, eval_strategy="no")
    assert not (folder / "metrics.json").exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": {"preset": "mal-resnet"}}, "preset must be one of"),
        ({"ema_decay": 0.9}, "ema_decay has no use here"),
        ({"model_name_or_path": "a", "encoder_weights": "b"}, "exclude each other"),
        ({"warmup_ratio": 0.1}, "warms up by warmup_epochs"),
        ({"min_lr_share": 2.0}, r"min_lr_share must be in \[0, 1\]"),
    ],
)
def test_contradicting_arguments_are_refused_in_a_sentence(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        MalArguments(**(TINY | changes))


@pytest.mark.parametrize("name", [name for name in available_recipes() if name.startswith("mal/")])
def test_recipe_files_hold_known_fields_that_fit_together(name):
    method, fields = read_recipe(find_recipe(name))
    args = MalArguments(**check_fields(fields, MalArguments, name))
    assert method == "mal"
    config = mal_config(**args.model_settings) if name == "mal/embedded" else None
    assert config is None or config.image_size % config.encoder_config.patch_size == 0
