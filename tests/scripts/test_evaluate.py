"""scripts/evaluate.py scores a finished run as the run scored itself, and says what does not fit."""

import json

import pytest
from transformers import ResNetConfig, ResNetModel

from asm_loc_corpus import SPLITS, write_corpus, write_recipe
from script_runs import run_here, run_in_two_processes


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus") / "small")


@pytest.fixture(scope="module")
def finished_run(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    recipe = write_recipe(folder / "small.yaml", corpus)
    done = run_here("train.py", "--recipe", recipe, "--output_dir", folder / "run")
    assert done.status == 0, done.stderr
    return folder / "run"


def read(folder, name):
    return json.loads((folder / name).read_text())


def reported_by(run):
    """The metrics of a run, without its table of which step answers: only the run chooses."""
    report = read(run, "metrics.json")
    assert report["tables"][-1]["columns"] == ["step", "class loss", "answers"]
    return report | {"tables": report["tables"][:-1]}


def test_its_results_are_those_that_the_run_reported(finished_run, corpus, tmp_path):
    done = run_here("evaluate.py", "--model", finished_run, "--dataset_name", corpus, "--output_dir", tmp_path / "out")
    assert done.status == 0, done.stderr
    found = read(tmp_path / "out", "metrics.json")
    assert found == reported_by(finished_run)
    assert 0 < found["metrics"]["average_mAP"] < 1 and found["num_examples"] == SPLITS["test"]
    assert read(tmp_path / "out", "predictions.json") == read(finished_run, "predictions.json")
    # The table on the screen is the one in the file.
    (table,) = found["tables"]
    last_line = next(line for line in done.stdout.splitlines() if line.startswith(f"{table['rows'][-1][0]} "))
    assert [float(cell) for cell in last_line.split()[1:]] == pytest.approx(table["rows"][-1][1:], abs=5e-5)


def test_bfloat16_scores_nearly_the_same(finished_run, corpus, tmp_path):
    words = ("--model", finished_run, "--dataset_name", corpus, "--output_dir", tmp_path, "--mixed_precision", "bf16")
    done = run_here("evaluate.py", *words)
    assert done.status == 0, done.stderr
    best = [
        [
            max(answer["score"] for answer in answers)
            for answers in read(folder, "predictions.json")["results"].values()
        ]
        for folder in (tmp_path, finished_run)
    ]
    assert best[0] != best[1]
    assert best[0] == pytest.approx(best[1], abs=0.05)


def test_two_processes_share_the_videos_and_find_what_one_finds(finished_run, corpus, tmp_path):
    words = ["--model", str(finished_run), "--dataset_name", str(corpus), "--output_dir", str(tmp_path / "out")]
    done = run_in_two_processes("evaluate.py", *words)
    assert done.status == 0, done.stderr
    assert read(tmp_path / "out", "metrics.json") == reported_by(finished_run)
    assert read(tmp_path / "out", "predictions.json") == read(finished_run, "predictions.json")
    assert done.stdout.count("timelines.png") == 1


def test_another_split_is_scored_on_its_own_videos(finished_run, corpus, tmp_path):
    words = ("--corpus", corpus, "--split", "train", "--output_dir", tmp_path / "out")
    done = run_here("evaluate.py", "--model", finished_run, *words)
    assert done.status == 0, done.stderr
    found = read(tmp_path / "out", "metrics.json")
    assert (found["split"], found["num_examples"]) == ("train", SPLITS["train"])
    assert sorted(read(tmp_path / "out", "predictions.json")["results"]) == [
        f"train{number}" for number in range(SPLITS["train"])
    ]


def test_what_cannot_be_scored_is_said_in_one_sentence(finished_run, corpus, tmp_path):
    other_name = write_corpus(tmp_path / "renamed", classes=("dive", "run"))
    more_classes = write_corpus(tmp_path / "more", classes=("dive", "jump", "run"))
    ResNetModel(ResNetConfig(embedding_size=4, hidden_sizes=[4], depths=[1])).save_pretrained(tmp_path / "resnet")
    for model, data, split, sentence in (
        (finished_run, other_name, "test", "different classes: 'jump' against 'run'"),
        (finished_run, more_classes, "test", "different classes: 2 against 3 classes"),
        (finished_run, corpus, "validation", "has no split 'validation', it has train, test"),
        (tmp_path / "resnet", corpus, "test", "resnet is no checkpoint of this package: model_type 'resnet'"),
    ):
        words = ("--corpus", data, "--split", split, "--output_dir", tmp_path / "out")
        done = run_here("evaluate.py", "--model", model, *words)
        last_line = done.stderr.splitlines()[-1]
        assert done.status == 2 and last_line.startswith("error: "), done.stderr
        assert sentence in last_line
        assert done.stderr.count("error: ") == 1 and not (tmp_path / "out").exists()
