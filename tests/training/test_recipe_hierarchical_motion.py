"""Hierarchical motion trained by the real loop on a few videos: its stages, with labels and without, and what it says
of videos that teach nothing.
"""

import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForPreTraining

from hf_vidmodels import HierarchicalMotionForPreTraining, HierarchicalMotionForVideoClassification
from hf_vidmodels.data.embedded.embedded_corpora import make_embedded_corpus
from hf_vidmodels.data.embedded.embedded_orders import MotionParameters
from hf_vidmodels.data.video_writing import write_video
from hf_vidmodels.training import loop
from hf_vidmodels.training.recipe_files import check_fields
from hf_vidmodels.training.recipes.recipe_hierarchical_motion import (
    HierarchicalMotionArguments,
    HierarchicalMotionRecipe,
)
from script_runs import run_here


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    small = replace(MotionParameters(), splits=(("train", 12), ("test", 4)), size=32, near_side=(14, 18))
    return make_embedded_corpus("motions", cache_dir=tmp_path_factory.mktemp("corpora"), parameters=small)


@pytest.fixture(scope="module")
def plain_folder(corpus, tmp_path_factory):
    """Videos that nobody has labelled, some of them for evaluation."""
    folder = tmp_path_factory.mktemp("plain")
    for number, video in enumerate(sorted(Path(corpus).glob("*/*.mp4"))[:6]):
        target = folder / ("validation" if number < 2 else "deep/inside")
        target.mkdir(exist_ok=True, parents=True)
        shutil.copy(video, target / f"{number}.mp4")
    return folder


def train(corpus, output_dir, model=None, **changes):
    settings = {
        "model": {"preset": "tiny-motion", **(model or {})},
        "processor": {"size": {"shortest_edge": 32}, "sampling_rate": 2, "evaluation_views": 1, "evaluation_crops": 1},
        "dataset_name": str(corpus),
        "output_dir": str(output_dir),
        "num_train_epochs": 1,
        "per_device_train_batch_size": 4,
        "learning_rate": 0.01,
        "flip_probability": 0.0,
        "disable_tqdm": True,
    }
    args = HierarchicalMotionArguments(**check_fields(settings | changes, HierarchicalMotionArguments, "The test"))
    loop.run(HierarchicalMotionRecipe(args), args)
    return load_file(Path(output_dir) / "model.safetensors")


def quietly(*args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return train(*args, **kwargs)


@pytest.fixture(scope="module")
def pretrained(plain_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "pretrained"
    quietly(plain_folder, folder, phases="pretraining")
    return folder


@pytest.fixture(scope="module")
def whole_run(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    stages = [{"name": "finetune", "optim": "sgd", "learning_rate": 0.1}]
    quietly(corpus, folder, stages=stages, labelled_share=0.5, save_total_limit=None, eval_strategy="epoch")
    return folder


def log_of(folder):
    return [json.loads(line) for line in (folder / "training_log.jsonl").read_text().splitlines()]


def test_levels_are_learned_one_after_the_other_and_then_classes(whole_run):
    checkpoints = {
        folder.name.split("-")[0]: load_file(folder / "model.safetensors")
        for folder in whole_run.glob("checkpoints/*-*")
    }
    order = ["prime", "level1", "level2", "finetune"]
    assert set(checkpoints) == set(order)
    changed = {
        later: {
            ".".join(name.split(".")[: 4 if name.startswith("backbone.pathways") else 2])
            for name, tensor in checkpoints[later].items()
            if name in checkpoints[before] and not torch.equal(tensor, checkpoints[before][name])
        }
        for before, later in zip(order, order[1:], strict=False)
    }
    assert {name for name in changed["level1"] if not name.startswith("predictors")} == {
        "backbone.pathways.0.stages",
        "motion_blocks.1",
    }
    assert "motion_blocks.2" in changed["level2"] and "motion_blocks.1" not in changed["level2"]
    assert {"motion_blocks.0", "motion_blocks.2", "backbone.pathways.0.stem"} <= changed["finetune"]


def test_what_each_level_does_is_logged(whole_run):
    by_stage = {}
    for line in log_of(whole_run):
        by_stage.setdefault(line["stage"], set()).update(line)
    assert {"prime_loss", "prime_variance", "prime_least_variance"} <= by_stage["prime"]
    assert {"level1_loss", "level1_accuracy", "level1_variance"} <= by_stage["level1"]
    assert {"eval_reconstruction_gain", "eval_contrastive_accuracy_level2"} <= by_stage["level2"]
    assert "eval_top1_accuracy" in by_stage["finetune"] and "level2_loss" not in by_stage["finetune"]
    assert type(AutoModel.from_pretrained(whole_run)) is HierarchicalMotionForVideoClassification


def test_a_share_of_the_labels_is_drawn_once_of_every_class(corpus, tmp_path):
    recipe = HierarchicalMotionRecipe(
        HierarchicalMotionArguments(dataset_name=str(corpus), output_dir=str(tmp_path), labelled_share=0.5)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        recipe.prepare_data()
    assert len(recipe.videos) == 12
    everything = set(recipe.videos["video"][row]["path"] for row in range(12))
    chosen = {row["video"]["path"] for row in recipe.train}
    assert chosen < everything and len(set(recipe.train["label"])) > 1


def test_what_has_learned_motion_may_change_more_slowly_than_what_is_new(corpus, tmp_path):
    args = HierarchicalMotionArguments(
        model={"preset": "tiny-motion", "training_phase": "finetune"},
        dataset_name=str(corpus),
        output_dir=str(tmp_path),
        learning_rate=0.1,
        pretrained_lr_multiplier=0.5,
    )
    recipe = HierarchicalMotionRecipe(args)
    model = HierarchicalMotionForVideoClassification(args.model_config(["a", "b"]))
    names = {id(parameter): name.split(".")[0] for name, parameter in model.named_parameters()}
    found = {}
    for group in recipe.parameter_groups(model, len(recipe.plan) - 1):
        for parameter in group["params"]:
            found.setdefault(names[id(parameter)], set()).add(group["lr"])
    assert found == {"backbone": {0.05}, "motion_blocks": {0.05}, "fusions": {0.1}, "classifier": {0.1}}


def test_levels_start_from_those_below_them_that_are_there(plain_folder, pretrained, tmp_path):
    with pytest.raises(ValueError, match="first_level 2 leaves out the levels below it: give a model"):
        train(plain_folder, tmp_path / "run", phases="pretraining", first_level=2)
    with pytest.raises(ValueError, match="first_level must be below the 3 levels of the model, got 3"):
        train(plain_folder, tmp_path / "run", first_level=3, model_name_or_path=str(pretrained))
    options = {"phases": "pretraining", "first_level": 2, "model_name_or_path": str(pretrained), "max_steps": 1}
    found = quietly(plain_folder, tmp_path / "run", eval_strategy="no", **options)
    before = load_file(pretrained / "model.safetensors")
    changed = {name for name, tensor in found.items() if not torch.equal(tensor, before[name])}
    assert {name.rsplit(".", 3)[0].split(".")[0] for name in changed} == {"backbone", "motion_blocks", "predictors"}
    assert {name.split(".")[1] for name in changed if name.startswith("motion_blocks")} == {"2"}


def test_a_folder_of_videos_without_labels_is_learned_from(pretrained):
    model = AutoModelForPreTraining.from_pretrained(pretrained)
    assert type(model) is HierarchicalMotionForPreTraining and model.config.training_phase == 2
    metrics = json.loads((pretrained / "metrics.json").read_text())
    assert metrics["primary_metric"] == "reconstruction_gain" and metrics["split"] == "validation"
    assert "contrastive_accuracy_level2" in metrics["metrics"] and "probe_top1_accuracy" not in metrics["metrics"]
    assert list(pretrained.glob("figures/motion_*.png"))
    card = (pretrained / "README.md").read_text()
    assert "model.reconstruct(" in card and "US 11,594,006 B2" in card and "pipeline_tag" not in card


def test_a_pretrained_model_is_finetuned_and_its_heads_are_left_behind(pretrained, corpus, tmp_path, capsys):
    quietly(
        corpus,
        tmp_path / "run",
        phases="finetuning",
        model_name_or_path=str(pretrained),
        model={"training_phase": "finetune"},
        learning_rate=0.0,
        stages=[{"name": "prime"}, {"name": "finetune"}],
        processor={"size": {"shortest_edge": 32}, "sampling_rate": 2, "evaluation_views": 1, "evaluation_crops": 1},
    )
    assert "start afresh (classifier.bias" in capsys.readouterr().out
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (tmp_path / "run", pretrained))
    weights = [name for name in ours if name.startswith("motion_blocks") and name.endswith("convolution.weight")]
    assert weights and all(torch.equal(ours[name], theirs[name]) for name in weights)
    assert not any(name.startswith(("displacement_head", "predictors")) for name in ours)


def test_a_model_that_learned_motion_of_the_same_labelled_videos_is_finetuned_too(corpus, tmp_path, capsys):
    options = {"eval_strategy": "no", "max_steps": 1, "model": {"motion_stages": ["res2"], "motion_hidden_sizes": [6]}}
    quietly(corpus, tmp_path / "motion", phases="pretraining", **options)
    start = str(tmp_path / "motion")
    quietly(corpus, tmp_path / "classes", phases="finetuning", model_name_or_path=start, **options)
    assert "start afresh (classifier.bias" in capsys.readouterr().out


def test_levels_may_be_learned_all_at_once_and_a_killed_run_ends_the_same(plain_folder, tmp_path):
    options = {"phases": "pretraining", "progressive": False, "save_strategy": "steps", "save_steps": 1}
    options |= {"save_total_limit": None, "per_device_train_batch_size": 2, "eval_strategy": "no"}
    expected = quietly(plain_folder, tmp_path / "run", **options)
    first = tmp_path / "run" / "checkpoints" / "joint-1"
    assert first.is_dir()
    shutil.copytree(first, tmp_path / "again" / "checkpoints" / "joint-1")
    found = quietly(plain_folder, tmp_path / "again", resume_from_checkpoint="last", **options)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_stills_and_videos_of_one_grey_frame_are_learned_from_with_a_warning(tmp_path):
    folder = tmp_path / "stills"
    folder.mkdir()
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 1), dtype=np.uint8).repeat(3, axis=2)
    for number, frames in enumerate((1, 20, 20)):
        write_video(folder / f"{number}.mp4", np.stack([picture] * frames), 10, options={"crf": "0"})
    with pytest.warns(UserWarning, match="stage prime: 3 of the clips .* show one picture all the time"):
        weights = train(folder, tmp_path / "run", phases="pretraining", eval_strategy="no")
    assert all(tensor.isfinite().all() for tensor in weights.values())


def test_a_level_that_collapses_is_named(plain_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("hf_vidmodels.training.recipes.recipe_hierarchical_motion.LEAST_VARIANCE", 1e6)
    with pytest.warns(UserWarning, match="level1 collapses: 100 % of its channels"):
        train(plain_folder, tmp_path / "run", phases="pretraining", eval_strategy="no")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": [{"name": "level7"}]}, "stages names 'level7', but the recipe has no such stage; it has prime, "),
        ({"labelled_share": 0.0}, r"labelled_share must be in \(0, 1\]"),
        ({"model": {"motion_stages": ["res2", "res9", "res4"]}}, "motion_stages must name some of"),
    ],
)
def test_stages_and_shares_that_cannot_be_are_refused(corpus, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        train(corpus, tmp_path / "run", **changes)


def test_finetuning_without_labels_is_refused(corpus, tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    shutil.copy(next(Path(corpus).glob("train/*.mp4")), folder)
    with pytest.raises(ValueError, match="has no folder of a class that holds examples"):
        train(folder, tmp_path / "run")
    (folder / "metadata.csv").write_text(f"file_name\n{next(folder.glob('*.mp4')).name}\n")
    with pytest.raises(ValueError, match="video-classification needs a column 'label'"):
        train(folder, tmp_path / "run")
    quietly(folder, tmp_path / "run", phases="pretraining", eval_strategy="no", max_steps=1)


def test_predict_draws_and_evaluate_measures_a_pretrained_model(pretrained, corpus, tmp_path):
    video = next(Path(corpus).glob("test/*.mp4"))
    done = run_here(
        "predict.py", "--model", str(pretrained), "--input", str(video), "--output_dir", str(tmp_path / "out")
    )
    assert done.status == 0, done.stderr
    found = json.loads((tmp_path / "out" / "predictions.json").read_text())[video.stem]
    assert set(found) == {"mean_displacement", "greatest_displacement", "reconstruction_error"}
    assert (tmp_path / "out" / f"{video.stem}.motion.png").stat().st_size
    assert (tmp_path / "out" / f"{video.stem}.motion.mp4").stat().st_size
    words = ["--model", str(pretrained), "--dataset_name", str(corpus), "--split", "test"]
    done = run_here("evaluate.py", *words, "--output_dir", str(tmp_path / "scores"))
    assert done.status == 0, done.stderr
    metrics = json.loads((tmp_path / "scores" / "metrics.json").read_text())["metrics"]
    assert {"probe_top1_accuracy", "retrieval_top1_accuracy", "probe_top5_accuracy"} <= set(metrics)


def test_bfloat16_finds_and_measures_nearly_the_same_motion(pretrained, plain_folder, tmp_path):
    found = {}
    for choice in ("no", "bf16"):
        words = ["--model", str(pretrained), "--mixed_precision", choice, "--output_dir", str(tmp_path / choice)]
        for script, *more in (
            ("predict.py", "--input", str(plain_folder / "validation"), "--no_figures"),
            ("evaluate.py", "--dataset_name", str(plain_folder), "--split", "validation"),
        ):
            done = run_here(script, *words, *more)
            assert done.status == 0, done.stderr
            if script == "predict.py":
                assert [path.name for path in (tmp_path / choice).iterdir()] == ["predictions.json"]
        videos = json.loads((tmp_path / choice / "predictions.json").read_text()).values()
        gain = json.loads((tmp_path / choice / "metrics.json").read_text())["metrics"]["reconstruction_gain"]
        found[choice] = [*(value for measured in videos for value in measured.values()), gain]
    assert all(rough != exact for rough, exact in zip(found["bf16"], found["no"], strict=True))
    assert found["bf16"] == pytest.approx(found["no"], rel=0.03, abs=0.005)
