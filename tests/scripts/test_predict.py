import json
import shutil

import numpy as np
import pytest
from PIL import Image
from transformers import ResNetConfig, ResNetModel

from feature_extraction_examples import save_tiny_checkpoint, tiny_extractor, write_moving_video
from hf_vidmodels.metrics.activitynet_files import read_activitynet_results
from script_runs import run_in_two_processes

CLASSES = ["swing", "spin", "bounce"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def inputs(tmp_path):
    folder = tmp_path / "inputs"
    write_moving_video(folder / "clip.mp4", 80)
    np.save(folder / "match.npy", np.random.default_rng(0).normal(size=(12, 16)).astype(np.float32))
    return folder


def test_a_folder_gives_predictions_pictures_pages_and_a_table(checkpoint, inputs, tmp_path, predict):
    status, out, _ = predict("--model", checkpoint, "--input", inputs)
    assert status == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "clip.html",
        "clip.png",
        "match.png",
        "predictions.json",
    ]
    predictions = read_activitynet_results(tmp_path / "out" / "predictions.json", CLASSES)
    assert list(predictions) == ["clip", "match"]
    for prediction in predictions.values():
        assert len(prediction["scores"]) and (np.diff(prediction["scores"]) <= 0).all()
    assert Image.open(tmp_path / "out" / "clip.png").width > 500
    assert "../inputs/clip.mp4" in (tmp_path / "out" / "clip.html").read_text()
    lines = out.splitlines()
    assert any(line.split()[:3] == ["clip", "3.2", "s"] for line in lines)
    assert any(line.split()[:3] == ["match", "3.8", "s"] for line in lines)


def test_without_figures_the_same_is_found_and_nothing_drawn(checkpoint, inputs, tmp_path, predict):
    texts = []
    for words in (["--no_figures"], []):
        status, out, err = predict("--model", checkpoint, "--input", inputs, *words)
        assert status == 0, err
        texts.append((tmp_path / "out" / "predictions.json").read_text())
        if words:
            assert [path.name for path in (tmp_path / "out").iterdir()] == ["predictions.json"]
            assert "wrote predictions.json of 2 videos" in out
    assert texts[0] == texts[1]


def test_bfloat16_finds_nearly_the_same(checkpoint, inputs, tmp_path, predict):
    np.save(tmp_path / "clip.npy", tiny_extractor("rgb", "flow")(inputs / "clip.mp4"))
    scores = []
    for source, choice in (
        (tmp_path / "clip.npy", "no"),
        (tmp_path / "clip.npy", "bf16"),
        (inputs / "clip.mp4", "bf16"),
    ):
        words = ("--model", checkpoint, "--input", source, "--no_figures", "--mixed_precision", choice)
        status, _, err = predict(*words)
        assert status == 0, err
        found = read_activitynet_results(tmp_path / "out" / "predictions.json", CLASSES)["clip"]
        scores.append(tuple(found["scores"]))
    # The features of a video are made in bfloat16 too.
    assert len(set(scores)) == 3
    best = [max(scores_of_source) for scores_of_source in scores]
    assert best[1:] == pytest.approx([best[0]] * 2, abs=0.05)


def test_how_to_draw_cannot_be_said_without_figures(checkpoint, inputs, predict):
    status, _, err = predict("--model", checkpoint, "--input", inputs, "--no_figures", "--embed_video")
    assert status != 0 and "--embed_video says how to draw, and --no_figures not to" in err


def test_two_processes_share_the_inputs_and_one_writes_what_all_found(checkpoint, inputs, tmp_path, predict):
    np.save(inputs / "narrow.npy", np.zeros((3, 4), np.float32))
    assert predict("--model", checkpoint, "--input", inputs)[0] == 2
    words = ["--model", str(checkpoint), "--input", str(inputs), "--output_dir", str(tmp_path / "both")]
    done = run_in_two_processes("predict.py", *words)
    assert done.status != 0 and done.stderr.count("error: 1 of 3 inputs could not be predicted on: narrow") == 1
    assert done.stdout.count("failed: narrow: ") == 1
    ours, theirs = (
        read_activitynet_results(tmp_path / folder / "predictions.json", CLASSES) for folder in ("both", "out")
    )
    assert list(ours) == list(theirs) == ["clip", "match"]
    for video, prediction in ours.items():
        for name, values in prediction.items():
            np.testing.assert_allclose(values, theirs[video][name], rtol=1e-5)
    both, one = ({path.name for path in (tmp_path / folder).iterdir()} for folder in ("both", "out"))
    assert both == one


def test_the_true_segments_of_a_corpus_are_drawn_beside_what_was_found(checkpoint, inputs, tmp_path, predict):
    corpus = tmp_path / "corpus"
    shutil.copytree(inputs, corpus / "features", ignore=shutil.ignore_patterns("*.mp4"))
    row = "video_id,label,start,end,subset,duration\nmatch,{},0.5,2.25,test,3.84\n"
    (corpus / "annotations.csv").write_text(row.format("spin"))
    write_moving_video(inputs / "match.mp4", 96)
    words = ("--model", checkpoint, "--input", inputs, "--embed_video", "--truth", corpus)
    status, _, err = predict(*words)
    assert status == 0, err
    assert "ground truth" in (tmp_path / "out" / "match.html").read_text()
    assert "ground truth" not in (tmp_path / "out" / "clip.html").read_text()
    (corpus / "annotations.csv").write_text(row.format("jump"))
    status, _, err = predict(*words)
    assert status == 2 and "has the class 'jump', which the model does not know" in err


def test_an_earlier_step_of_the_cascade_answers_when_asked(checkpoint, inputs, tmp_path, predict):
    found = {}
    for step in (0, 1):
        assert predict("--model", checkpoint, "--input", inputs / "match.npy", "--step", step)[0] == 0
        found[step] = (tmp_path / "out" / "predictions.json").read_text()
    assert found[0] != found[1]
    status, _, err = predict("--model", checkpoint, "--input", inputs / "match.npy", "--step", 2)
    assert status == 2 and "step must be one of the trained steps, 0 to 1, got 2" in err


def test_threshold_and_top_k_hold_for_files_and_table(checkpoint, inputs, tmp_path, predict):
    predict("--model", checkpoint, "--input", inputs / "match.npy", "--top_k", 1)
    results = json.loads((tmp_path / "out" / "predictions.json").read_text())["results"]
    assert len(results["match"]) == 1
    status, out, _ = predict("--model", checkpoint, "--input", inputs / "match.npy", "--threshold", 1)
    assert status == 0 and "nothing found" in out
    assert json.loads((tmp_path / "out" / "predictions.json").read_text())["results"] == {"match": []}


def test_a_broken_file_is_reported_and_the_others_are_done(checkpoint, inputs, tmp_path, predict):
    (inputs / "broken.mp4").write_bytes(b"no video")
    np.save(inputs / "narrow.npy", np.zeros((3, 4), np.float32))
    status, out, err = predict("--model", checkpoint, "--input", inputs)
    assert status == 2
    assert "failed: broken: " in out and "failed: narrow: " in out and "size 4 where 16 are expected" in out
    assert err.splitlines()[-1] == "error: 2 of 4 inputs could not be predicted on: broken, narrow"
    results = json.loads((tmp_path / "out" / "predictions.json").read_text())["results"]
    assert sorted(results) == ["clip", "match"]


def test_a_video_with_features_beside_it_needs_no_extractor(inputs, tmp_path, predict):
    folder = save_tiny_checkpoint(tmp_path / "checkpoint", with_extractor=False)
    np.save(inputs / "clip.npy", tiny_extractor("rgb", "flow")(inputs / "clip.mp4"))
    status, _, err = predict("--model", folder, "--input", inputs)
    assert status == 0, err
    assert (tmp_path / "out" / "clip.html").is_file()


def test_a_video_without_features_stops_at_once_when_there_is_no_extractor(inputs, tmp_path, predict):
    folder = save_tiny_checkpoint(tmp_path / "checkpoint", with_extractor=False)
    status, _, err = predict("--model", folder, "--input", inputs)
    assert status == 2 and "names no feature extractor" in err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_what_is_no_checkpoint_or_no_input_is_said_in_one_sentence(checkpoint, inputs, tmp_path, predict):
    ResNetModel(ResNetConfig(embedding_size=4, hidden_sizes=[4], depths=[1])).save_pretrained(tmp_path / "resnet")
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("text")
    for model, source, sentence in (
        (tmp_path / "resnet", inputs, "is no checkpoint of this package: model_type 'resnet'"),
        (tmp_path / "empty", inputs, "holds no config.json"),
        (checkpoint, tmp_path / "empty", "holds no videos"),
        (checkpoint, tmp_path / "absent.mp4", "absent.mp4; name a file, or a folder of them"),
        (checkpoint, tmp_path / "text.txt", "is neither a video nor a feature file"),
    ):
        status, _, err = predict("--model", model, "--input", source)
        assert status == 2
        assert err.splitlines()[-1].startswith("error: ") and sentence in err.splitlines()[-1]
        assert "Traceback" not in err


@pytest.mark.parametrize("option", [("--objective", "centered"), ("--classes", "swing")])
def test_an_option_of_another_task_is_refused(checkpoint, inputs, tmp_path, predict, option):
    status, _, err = predict("--model", checkpoint, "--input", inputs, *option)
    assert status == 2
    assert err.splitlines()[-1] == (
        f"error: {option[0]} is for object-localization, but {checkpoint} is used for "
        "temporal-action-localization; leave it out"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("top_k", [0, -1])
def test_no_results_at_all_cannot_be_asked_for(checkpoint, inputs, tmp_path, predict, top_k):
    status, _, err = predict("--model", checkpoint, "--input", inputs, "--top_k", top_k)
    assert status == 2 and err.splitlines()[-1] == f"error: --top_k must be at least 1, got {top_k}"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("threshold", ["nan", "-0.1", "1.5", "inf"])
def test_thresholds_that_no_score_has_are_refused(checkpoint, inputs, tmp_path, predict, threshold):
    status, _, err = predict("--model", checkpoint, "--input", inputs, f"--threshold={threshold}")
    assert status == 2 and err.splitlines()[-1].startswith("error: --threshold must lie in [0, 1]")
    assert not (tmp_path / "out").exists()


def test_the_help_teaches(predict):
    status, out, _ = predict("--help")
    assert status == 0
    for word in ("--threshold", "--top_k", "predictions.json", "hf-vidmodels predict"):
        assert word in out
