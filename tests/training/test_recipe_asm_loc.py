"""ASM-Loc trained by the real loop on a small corpus of features: its stages, hand-over, resume and results."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file
from transformers import AutoModel, AutoProcessor

from asm_loc_corpus import CLASSES, SPLITS, WIDTH, write_corpus
from feature_extraction_examples import tiny_extractor, tiny_streams
from hf_vidmodels import AsmLocConfig
from hf_vidmodels.data.corpora import load_corpus
from hf_vidmodels.data.features.feature_extraction import SnippetFeatureExtractor
from hf_vidmodels.data.features.video_table import VideoTable
from hf_vidmodels.hub.repository_folder import check_folder
from hf_vidmodels.training import loop
from hf_vidmodels.training.recipes.asm_loc_arguments import AsmLocArguments
from hf_vidmodels.training.recipes.asm_loc_data import feature_settings_file
from hf_vidmodels.training.recipes.asm_loc_videos import GuidedTrainingVideos
from hf_vidmodels.training.recipes.recipe_asm_loc import AsmLocRecipe

REPOSITORY = Path(__file__).parents[2]
SETTINGS = {
    "model": {"num_refinement_steps": 1, "num_attention_heads": 4, "num_snippets": 24, "standardize_features": True},
    "num_train_epochs": 2,
    "per_device_train_batch_size": 4,
    "learning_rate": 0.01,
    "optim": "adam",
    "logging_steps": 1,
    "save_total_limit": None,
    "disable_tqdm": True,
}
CONFIG = AsmLocConfig(hidden_size=WIDTH, num_labels=len(CLASSES), num_snippets=24)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus") / "small")


def arguments(corpus, output_dir, **changes):
    return AsmLocArguments(**(SETTINGS | {"dataset_name": str(corpus), "output_dir": str(output_dir)} | changes))


def train(corpus, output_dir, **changes):
    args = arguments(corpus, output_dir, **changes)
    loop.run(AsmLocRecipe(args), args)
    return load_file(Path(output_dir) / "model.safetensors")


def training_videos(corpus):
    return VideoTable.from_corpus(load_corpus(str(corpus), split="train"))


@pytest.fixture(scope="module")
def whole_run(corpus, tmp_path_factory):
    output_dir = tmp_path_factory.mktemp("runs") / "whole"
    train(corpus, output_dir)
    return output_dir


def test_a_run_leaves_a_repository_that_opens_and_localises(whole_run, corpus):
    model = AutoModel.from_pretrained(whole_run)
    assert model.config.num_trained_steps == model.config.num_steps == 2
    assert list(model.config.id2label.values()) == list(CLASSES)
    features = AutoProcessor.from_pretrained(whole_run)(str(corpus / "features" / "test0.npy"), sampling=None)
    (answer,) = model.localize(features)
    assert len(answer["segments"])
    for name in ("README.md", "run.json", "recipe.yaml", "predictions.json", "modeling_asm_loc.py"):
        assert (whole_run / name).is_file(), name
    assert {path.stem for path in (whole_run / "figures").glob("*.png")} == {"loss_curve", "timelines"}


def test_the_metrics_name_every_step_and_learning_shows(whole_run):
    results = json.loads((whole_run / "metrics.json").read_text())
    assert results["num_examples"] == SPLITS["test"]
    assert [row[0] for row in results["tables"][0]["rows"]] == ["0 (base)", "1"]
    answering_step = json.loads((whole_run / "config.json").read_text())["answering_step"]
    assert results["metrics"]["average_mAP"] == results["metrics"][f"average_mAP_step{answering_step}"]
    assert results["metrics"]["mAP@0.1"] > 0.5


def test_the_step_that_answers_is_chosen_by_held_out_classes_where_there_are_no_validation_videos(whole_run):
    table = json.loads((whole_run / "metrics.json").read_text())["tables"][1]
    assert table["title"].startswith(f"which step answers: class loss of {SPLITS['test']} test videos")
    losses = [loss for _, loss, _ in table["rows"]]
    assert AutoModel.from_pretrained(whole_run).answering_step() == int(np.argmin(losses))


def test_validation_videos_choose_the_step_that_answers_while_others_are_scored(tmp_path, capsys):
    folder = write_corpus(tmp_path / "corpus", splits=SPLITS | {"validation": 3})
    train(folder, tmp_path / "run", eval_split="test")
    results = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert results["split"] == "test" and results["num_examples"] == SPLITS["test"]
    table = results["tables"][1]
    assert table["title"] == "which step answers: average mAP of 3 validation videos, higher is better"
    (best,) = (row for row in table["rows"] if row[2] == "yes")
    assert best[1] == max(row[1] for row in table["rows"])
    assert f"Step {best[0]} answers: it has the best average mAP" in capsys.readouterr().out


def test_every_step_trains_a_network_of_its_own_on_the_proposals_before_it(whole_run):
    proposals = json.loads((whole_run / "checkpoints" / "work" / "proposals_step0.json").read_text())
    assert set(proposals) == {f"{split}{number}" for split, count in SPLITS.items() for number in range(count)}
    log = [json.loads(line) for line in (whole_run / "training_log.jsonl").read_text().splitlines()]
    losses = {stage: [row for row in log if row["stage"] == stage and "loss" in row] for stage in ("step0", "step1")}
    assert all("instance_loss" not in row for row in losses["step0"])
    assert all("instance_loss" in row for row in losses["step1"])


@pytest.mark.parametrize("stopped_at", ["step0-2", "step0-4", "step1-6"])
def test_resuming_inside_any_stage_ends_with_the_same_weights(whole_run, corpus, tmp_path, stopped_at):
    copy = tmp_path / "run"
    shutil.copytree(whole_run, copy)
    if stopped_at == "step0-2":
        # What the end of step 0 left must be made again, not found.
        (copy / "checkpoints" / "work" / "proposals_step0.json").unlink()
    resumed = train(corpus, copy, resume_from_checkpoint=str(copy / "checkpoints" / stopped_at))
    uninterrupted = load_file(whole_run / "model.safetensors")
    assert all(np.array_equal(resumed[name], uninterrupted[name]) for name in uninterrupted)
    assert (copy / "metrics.json").read_text() == (whole_run / "metrics.json").read_text()


def test_resuming_a_later_stage_without_its_proposals_says_what_is_missing(whole_run, corpus, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(whole_run, copy)
    (copy / "checkpoints" / "work" / "proposals_step0.json").unlink()
    with pytest.raises(FileNotFoundError, match="proposals_step0.json is missing: step 1 trains on the proposals of"):
        train(corpus, copy, resume_from_checkpoint=str(copy / "checkpoints" / "step1-6"))


def test_training_never_reads_the_annotated_times(corpus, tmp_path):
    moved = write_corpus(tmp_path / "moved", shift=2.0)
    assert (moved / "annotations.csv").read_text() != (corpus / "annotations.csv").read_text()
    weights = [train(folder, tmp_path / f"run{number}") for number, folder in enumerate((corpus, moved))]
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_training_item_follows_from_seed_epoch_and_index(corpus):
    videos, again = (GuidedTrainingVideos(training_videos(corpus), None, CONFIG, seed=5) for _ in range(2))
    np.testing.assert_array_equal(videos[3, 1]["input_features"], again[3, 1]["input_features"])
    assert not np.array_equal(videos[3, 1]["input_features"], videos[4, 1]["input_features"])
    assert videos[0, 1]["input_features"].shape == (24, WIDTH)


def test_feature_statistics_are_those_of_all_training_rows(corpus):
    videos = training_videos(corpus)
    mean, std = videos.feature_statistics()
    rows = np.concatenate([videos.load(index) for index in range(len(videos))])
    np.testing.assert_allclose(mean, rows.mean(0), atol=1e-6)
    np.testing.assert_allclose(std, rows.std(0), atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"stages": [{"name": "step2"}]},
            "stages names 'step2', but .* no such stage; it has step0, step1",
        ),
        ({"eval_split": "validation"}, "eval_split 'validation' is no split of the corpus"),
        ({"model": {"num_attention_heads": 5}}, "hidden_size must be divisible by num_attention_heads"),
        ({"model": {"hidden_size": 999}}, "model.hidden_size is 999, but the data have"),
    ],
)
def test_settings_that_contradict_the_corpus_or_each_other_are_named(corpus, tmp_path, changes, message):
    with pytest.raises((ValueError, StrictDataclassError), match=message):
        train(corpus, tmp_path / "run", **changes)
    assert not (tmp_path / "run" / "model.safetensors").exists()


def rewrite_annotations(folder, change):
    """Apply `change` to every row of annotations.csv."""
    path = folder / "annotations.csv"
    with path.open(newline="") as file:
        rows = [change(row) for row in csv.DictReader(file)]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def test_the_rate_that_the_corpus_states_becomes_the_model_s(corpus, tmp_path):
    folder = tmp_path / "slow"
    shutil.copytree(corpus, folder)
    rewrite_annotations(folder, lambda row: row | {"fps": 12.5, "frames_per_snippet": 8})
    train(folder, tmp_path / "run", max_steps=1)
    config = AutoModel.from_pretrained(tmp_path / "run").config
    assert (config.frames_per_second, config.frames_per_snippet) == (12.5, 8)


def test_several_rates_in_one_corpus_are_refused(corpus, tmp_path):
    folder = tmp_path / "mixed"
    shutil.copytree(corpus, folder)
    rewrite_annotations(folder, lambda row: row | {"fps": 25 if row["subset"] == "train" else 30})
    with pytest.raises(ValueError, match=r"several values of fps \(25.0, 30.0\)"):
        train(folder, tmp_path / "run")


def test_features_that_do_not_span_the_videos_are_warned_about(corpus, tmp_path):
    folder = tmp_path / "long"
    shutil.copytree(corpus, folder)
    rewrite_annotations(folder, lambda row: row | {"duration": 100})
    with pytest.warns(UserWarning, match="the same holds for 11 more videos"):
        train(folder, tmp_path / "run", max_steps=1)


def test_a_corpus_without_annotated_times_trains_when_nothing_is_evaluated(corpus, tmp_path):
    folder = tmp_path / "untimed"
    shutil.copytree(corpus, folder)
    rewrite_annotations(folder, lambda row: row | {"start": "", "end": ""})
    with pytest.raises(ValueError, match="has no annotated times to evaluate on"):
        train(folder, tmp_path / "refused")
    train(folder, tmp_path / "run", eval_strategy="no", max_steps=1)
    assert AutoModel.from_pretrained(tmp_path / "run").config.num_trained_steps == 2


def test_a_lone_training_split_trains_when_nothing_is_evaluated(corpus, tmp_path):
    folder = tmp_path / "lone"
    shutil.copytree(corpus, folder)
    rewrite_annotations(folder, lambda row: row | {"subset": "train"})
    with pytest.raises(ValueError, match="has only the split 'train'"):
        train(folder, tmp_path / "refused")
    train(folder, tmp_path / "run", eval_strategy="no", max_steps=1)
    assert (tmp_path / "run" / "model.safetensors").is_file()


def test_features_that_name_their_extractor_pass_it_on_to_the_checkpoint(corpus, tmp_path):
    folder = tmp_path / "extracted"
    shutil.copytree(corpus, folder)
    extractor = {
        "frames_per_second": 25,
        "frames_per_snippet": 16,
        "snippet_stride": 16,
        "streams": {"rgb": {"model": "org/network"}},
    }
    settings = {"extractor": extractor, "weights_sha256": {}, "feature_size": WIDTH}
    (folder / "features" / "features.json").write_text(json.dumps(settings))
    train(folder, tmp_path / "run", max_steps=1)
    assert AutoModel.from_pretrained(tmp_path / "run").config.feature_extractor == extractor
    with pytest.raises(ValueError, match="has features, so feature_extractor 'other.json' has nothing to do"):
        train(folder, tmp_path / "refused", feature_extractor="other.json")


@pytest.fixture
def extracted_by_path(corpus, tmp_path):
    """A corpus whose features were made by a network in a folder of this machine, and that folder."""
    folder, network = tmp_path / "extracted", tmp_path / "network"
    shutil.copytree(corpus, folder)
    tiny_extractor("rgb").save(network)
    model = network / "feature_extractor" / "rgb"
    stream = tiny_streams("rgb")["rgb"] | {"model": str(model)}
    del stream["model_config"], stream["random_init_seed"]
    extractor = SnippetFeatureExtractor({"rgb": stream}, frames_per_snippet=16)
    for path in (folder / "features").glob("*.npy"):
        np.save(path, np.load(path)[:, : extractor.feature_size])
    settings = {"extractor": extractor.to_dict(), "weights_sha256": extractor.weights_digests(), "feature_size": 8}
    (folder / "features" / "features.json").write_text(json.dumps(settings))
    return folder, network


def test_a_feature_network_given_by_path_goes_into_the_run(extracted_by_path, tmp_path):
    folder, network = extracted_by_path
    expected = json.loads((folder / "features" / "features.json").read_text())["weights_sha256"]
    train(folder, tmp_path / "run", max_steps=1)
    shutil.rmtree(network)
    moved = (tmp_path / "run").rename(tmp_path / "moved")
    assert str(tmp_path) not in (moved / "config.json").read_text()
    assert SnippetFeatureExtractor.from_checkpoint(str(moved)).weights_digests() == expected
    assert "feature_extractor/rgb/model.safetensors" in check_folder(moved)


@pytest.mark.parametrize("fate", ["gone", "retrained"])
def test_a_feature_network_that_is_gone_or_another_is_said_and_not_named(extracted_by_path, tmp_path, fate):
    folder, network = extracted_by_path
    shutil.rmtree(network)
    if fate == "retrained":
        other = tiny_streams("rgb")["rgb"] | {"random_init_seed": 5}
        SnippetFeatureExtractor({"rgb": other}, frames_per_snippet=8).save(network)
    with pytest.warns(UserWarning, match="will take feature files but no videos"):
        train(folder, tmp_path / "run", max_steps=1)
    assert AutoModel.from_pretrained(tmp_path / "run").config.feature_extractor is None
    assert check_folder(tmp_path / "run")


def test_every_bad_feature_file_is_named_before_training(corpus, tmp_path):
    folder = tmp_path / "bad"
    shutil.copytree(corpus, folder)
    broken = np.load(folder / "features" / "train1.npy")
    broken[3, 2] = np.nan
    np.save(folder / "features" / "train1.npy", broken)
    np.save(folder / "features" / "test2.npy", broken[:, :9])
    with pytest.raises(ValueError, match=r"train1.npy has the value nan in row 3.*test2.npy has features of size 9"):
        train(folder, tmp_path / "run")
    assert not list((tmp_path / "run").glob("*.safetensors"))


def test_an_unknown_preset_and_an_unknown_feature_extractor_are_named(corpus, tmp_path):
    with pytest.raises(ValueError, match="preset must be one of"):
        arguments(corpus, tmp_path, model={"preset": "asm-loc-charades"})
    with pytest.raises(FileNotFoundError, match="feature_extractor 'nothing' is neither a JSON file nor"):
        feature_settings_file("nothing")


@pytest.mark.parametrize("name", ["asm_loc/thumos14", "asm_loc/activitynet"])
def test_published_recipes_ask_for_their_data(name, tmp_path):
    command = [sys.executable, str(REPOSITORY / "scripts" / "train.py"), "--recipe", name]
    done = subprocess.run(
        [*command, "--output_dir", str(tmp_path / "run")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "data_dir" in done.stderr.splitlines()[-1]
