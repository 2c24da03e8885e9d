import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from hf_vidmodels import VideoResNetConfig
from hf_vidmodels.commands.predict_actions import ava_ids, find_films
from hf_vidmodels.data.video_writing import write_video
from hf_vidmodels.modeling.modeling_video_resnet import VideoResNetForActionDetection
from hf_vidmodels.processing.decoding import probe_video
from hf_vidmodels.processing.processing_video_resnet import VideoResNetVideoProcessor
from script_runs import run_in_two_processes

NAMES = {0: "stand", 1: "walk", 2: "sit"}
PROPOSALS = """street,0000,0.1,0.1,0.4,0.9,,0.9
street,0001,0.12,0.1,0.42,0.9,,0.9
street,0001,0.6,0.1,0.9,0.9,,0.8
street,0002,0.14,0.1,0.44,0.9,,0.9
yard,0001,0.2,0.2,0.8,0.8,,0.9
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    torch.manual_seed(0)
    config = VideoResNetConfig.from_preset("tiny-slow", num_labels=3, id2label=NAMES)
    VideoResNetForActionDetection(config).save_pretrained(folder)
    VideoResNetVideoProcessor.from_config(config, size={"shortest_edge": 40}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    rng = np.random.default_rng(0)
    for name, length in (("street", 60), ("yard", 40)):
        write_video(folder / f"{name}.mp4", rng.integers(0, 255, (length, 48, 64, 3), dtype=np.uint8), 20)
    return folder


@pytest.fixture
def proposals(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text(PROPOSALS)
    return path


def test_a_folder_of_films_gives_files_and_pictures(checkpoint, films, proposals, tmp_path, predict):
    words = ("--model", checkpoint, "--input", films, "--proposals", proposals, "--threshold", "0.1")
    status, out, _ = predict(*words)
    assert status == 0
    written = tmp_path / "out"
    kinds = (".csv", ".html", ".mp4", ".png")
    names = [f"{name}{kind}" for name in ("street", "yard") for kind in kinds]
    assert sorted(path.name for path in written.iterdir()) == sorted([*names, "predictions.json"])
    found = json.loads((written / "predictions.json").read_text())
    assert [row["timestamp"] for row in found["street"]] == [0.0, 1.0, 2.0]
    assert [[person["person"] for person in row["people"]] for row in found["yard"]] == [[0]]
    people = found["street"][1]["people"]
    assert sorted(person["box"] for person in people) == [[0.12, 0.1, 0.42, 0.9], [0.6, 0.1, 0.9, 0.9]]
    # Who stands where one stood a second ago is the same person.
    by_box = {person["box"][0]: person["person"] for row in found["street"] for person in row["people"]}
    assert by_box[0.1] == by_box[0.12] == by_box[0.14] != by_box[0.6]
    rows = list(csv.reader((written / "street.csv").open()))
    assert len(rows) == 4 * 3 and rows[0][:6] == ["street", "0000", "0.100000", "0.100000", "0.400000", "0.900000"]
    assert {row[6] for row in rows} == {str(action) for action in ava_ids(NAMES).values()}
    film = probe_video(written / "street.mp4")
    assert (film.num_frames, film.fps, film.width) == (60, 20, 64)
    page = (written / "street.html").read_text()
    assert "person 1: stand" in page and "./street.mp4" in page
    assert "person 1" in out


def test_without_figures_the_same_people_are_found_and_no_film_is_written(
    checkpoint, films, proposals, tmp_path, predict
):
    found = []
    for words in (["--no_figures"], []):
        status, out, err = predict(
            *("--model", checkpoint, "--input", films / "street.mp4", "--proposals", proposals, *words)
        )
        assert status == 0, err
        table = [line for line in out.splitlines() if not line.startswith("wrote")]
        found.append(((tmp_path / "out" / "predictions.json").read_text(), table))
        if words:
            assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["predictions.json", "street.csv"]
    assert found[0] == found[1]


def test_bfloat16_says_nearly_the_same_of_the_same_boxes(checkpoint, films, proposals, tmp_path, predict):
    scores = []
    for choice in ("no", "bf16"):
        words = ("--model", checkpoint, "--input", films / "street.mp4", "--proposals", proposals)
        status, _, err = predict(*words, "--mixed_precision", choice)
        assert status == 0, err
        rows = list(csv.reader((tmp_path / "out" / "street.csv").open()))
        scores.append({tuple(row[:7]): float(row[7]) for row in rows})
    assert scores[0] != scores[1]
    assert scores[1] == pytest.approx(scores[0], abs=0.02)


def test_a_stopped_film_goes_on_where_it_was(checkpoint, films, proposals, tmp_path, predict, monkeypatch):
    looked_at = []
    whole = VideoResNetForActionDetection.detect_actions

    def stopping(self, *args, **kwargs):
        for number, found in enumerate(whole(self, *args, **kwargs)):
            if stop_after is not None and number == stop_after:
                raise KeyboardInterrupt
            looked_at.append(found["timestamp"])
            yield found

    monkeypatch.setattr(VideoResNetForActionDetection, "detect_actions", stopping)
    words = ("--model", checkpoint, "--input", films / "street.mp4", "--proposals", proposals)
    stop_after = 2
    status, *_ = predict(*words)
    assert status != 0
    assert looked_at == [0.0, 1.0]
    assert (tmp_path / "out" / "street.journal").is_file()
    stop_after = None
    assert predict(*words)[0] == 0
    assert looked_at == [0.0, 1.0, 2.0]
    assert sorted(path.suffix for path in (tmp_path / "out").iterdir()) == [".csv", ".html", ".json", ".mp4", ".png"]
    resumed = (tmp_path / "out" / "predictions.json").read_text()
    (tmp_path / "out" / "predictions.json").unlink()
    assert predict(*words)[0] == 0
    assert (tmp_path / "out" / "predictions.json").read_text() == resumed


def test_a_journal_of_other_settings_is_not_taken(checkpoint, films, proposals, tmp_path, predict):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "street.journal").write_text('"another prediction"\n[0, [{"timestamp": 0.0}]]\n')
    words = ("--model", checkpoint, "--input", films / "street.mp4", "--proposals", proposals)
    assert predict(*words)[0] == 0
    assert len(json.loads((tmp_path / "out" / "predictions.json").read_text())["street"]) == 3


def test_two_processes_find_what_one_finds(checkpoint, films, proposals, tmp_path, predict):
    words = ("--model", checkpoint, "--input", films, "--proposals", proposals)
    assert predict(*words)[0] == 0
    done = run_in_two_processes("predict.py", *words, "--output_dir", tmp_path / "two")
    assert done.status == 0, done.stderr
    for name in ("predictions.json", "street.csv", "yard.csv"):
        assert (tmp_path / "two" / name).read_text() == (tmp_path / "out" / name).read_text()


def test_steps_are_for_detectors_that_have_them(checkpoint, films, proposals, tmp_path, predict):
    words = ("--model", checkpoint, "--input", films, "--proposals", proposals, "--step", "0")
    status, _, error = predict(*words)
    assert status == 2
    assert error.splitlines()[-1] == (
        "error: --step chooses a step of a cascade, and VideoResNetForActionDetection is none; leave it out"
    )


def test_what_the_model_needs_is_said(checkpoint, films, tmp_path, predict):
    status, _, error = predict("--model", checkpoint, "--input", films)
    assert status == 2 and "name a CSV of these with --proposals" in error
    pixels = tmp_path / "pixels.csv"
    pixels.write_text("street,1,10,10,40,90,\n")
    status, _, error = predict("--model", checkpoint, "--input", films, "--proposals", pixels)
    assert status == 2 and "row 1: boxes are relative" in error
    other = tmp_path / "other.csv"
    other.write_text("yard,1,0.1,0.1,0.4,0.9,\n")
    status, out, error = predict("--model", checkpoint, "--input", films, "--proposals", other)
    assert status == 2 and "--proposals has none for street; its videos are: yard" in out
    assert "1 of 2 films could not be predicted on: street" in error


def test_folders_of_seconds_are_films(tmp_path, checkpoint, predict):
    for second in (902, 903):
        folder = tmp_path / "frames" / "movie" / f"{second:05d}"
        folder.mkdir(parents=True)
        for number in range(5):
            Image.new("RGB", (64, 48), (40 * number, second % 256, 0)).save(folder / f"{number:05d}.png")
    assert find_films(tmp_path / "frames") == {"movie": tmp_path / "frames" / "movie"}
    assert find_films(tmp_path / "frames" / "movie") == {"movie": tmp_path / "frames" / "movie"}
    people = tmp_path / "people.csv"
    people.write_text("movie,0903,0.2,0.2,0.8,0.8,\n")
    words = ("--model", checkpoint, "--input", tmp_path / "frames", "--proposals", people, "--threshold", "0.1")
    assert predict(*words)[0] == 0
    found = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [row["timestamp"] for row in found["movie"]] == [903.0]
    assert probe_video(tmp_path / "out" / "movie.mp4").num_frames == 10


def test_classes_of_ava_are_written_by_their_ids():
    assert ava_ids({0: "sit", 1: "stand"}) == {0: 11, 1: 12}
    assert ava_ids({0: "sit", 1: "fly"}) == {0: 1, 1: 2}
