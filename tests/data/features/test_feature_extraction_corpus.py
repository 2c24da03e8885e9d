import errno
import json
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from feature_extraction_examples import moving_frames, tiny_extractor, write_moving_video
from hf_vidmodels.data.features.corpus_extraction import extract_corpus_features
from hf_vidmodels.data.features.feature_extraction import SnippetFeatureExtractor
from hf_vidmodels.data.features.feature_folders import FeatureFolder, find_videos

REAL_VIDEOS = Path(__file__).parents[4] / "shared" / "real" / "videos"


@pytest.fixture(scope="module")
def extractor():
    return tiny_extractor("rgb", "flow")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for seed, name in enumerate(("a.mp4", "b.avi", "deep/c.webm")):
        write_moving_video(folder / name, 24 + 8 * seed, seed)
    (folder / "notes.txt").write_text("no video")
    return folder


def extract(videos, extractor, folder, **arguments):
    return extract_corpus_features(videos, extractor, folder, show_progress=False, **arguments)


def test_every_video_of_a_folder_becomes_a_file(videos, extractor, tmp_path):
    report = extract(videos, extractor, tmp_path)
    assert report.num_rows == {"a": 3, "b": 4, "c": 5} and not report.failures and report.num_found == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npy", "b.npy", "c.npy", "features.json"]
    for name, source in find_videos(videos).items():
        features = np.load(tmp_path / f"{name}.npy")
        assert features.dtype == np.float32
        assert np.array_equal(features, extractor(source))


def test_several_processes_write_the_same_files(videos, extractor, tmp_path):
    extract(videos, extractor, tmp_path / "one")
    report = extract(videos, extractor, tmp_path / "two", num_processes=2)
    assert list(report.num_rows) == ["a", "b", "c"]
    settings = [(tmp_path / folder / "features.json").read_text() for folder in ("one", "two")]
    assert settings[0] == settings[1]
    for path in (tmp_path / "one").glob("*.npy"):
        # Each process has fewer threads than one alone, and sums in another order.
        np.testing.assert_allclose(np.load(path), np.load(tmp_path / "two" / path.name), rtol=1e-4, atol=1e-5)


def test_a_second_call_makes_only_what_is_missing(videos, extractor, tmp_path):
    extract(videos, extractor, tmp_path)
    whole = (tmp_path / "b.npy").read_bytes()
    (tmp_path / "a.npy").unlink()
    (tmp_path / "b.npy").write_bytes(whole[:-5])
    kept = (tmp_path / "c.npy").stat()
    report = extract(videos, extractor, tmp_path)
    assert report.num_found == 1 and report.num_rows == {"a": 3, "b": 4, "c": 5}
    assert (tmp_path / "b.npy").read_bytes() == whole
    assert (tmp_path / "c.npy").stat().st_ino == kept.st_ino


def test_other_settings_are_refused_by_the_name_of_the_field(videos, extractor, tmp_path):
    extract(videos, extractor, tmp_path)
    with pytest.raises(ValueError, match=r"made with extractor\.snippet_stride = 8, now it is 4"):
        extract(videos, tiny_extractor("rgb", "flow", snippet_stride=4), tmp_path)
    settings = extractor.to_dict()
    settings["streams"]["rgb"]["random_init_seed"] = 7
    with pytest.raises(ValueError, match=r"streams\.rgb\.random_init_seed = 0, now it is 7"):
        extract(videos, SnippetFeatureExtractor.from_dict(settings), tmp_path)


def test_features_in_bfloat16_are_nearly_those_in_float32_and_lie_in_a_folder_of_their_own(videos, tmp_path):
    exact, rough = tiny_extractor("rgb", "flow"), tiny_extractor("rgb", "flow", mixed_precision="bf16")
    extract(videos, exact, tmp_path / "exact")
    extract(videos, rough, tmp_path / "rough")
    found = [np.load(tmp_path / folder / "c.npy") for folder in ("exact", "rough")]
    assert found[1].dtype == np.float32 and not np.array_equal(*found)
    np.testing.assert_allclose(found[1], found[0], rtol=0.02, atol=0.02 * np.abs(found[0]).max())
    with pytest.raises(ValueError, match=r"made with extractor\.mixed_precision = None, now it is 'bf16'"):
        extract(videos, rough, tmp_path / "exact")
    described = json.loads((tmp_path / "rough" / "features.json").read_text())["extractor"]
    again = SnippetFeatureExtractor.from_dict(described)
    assert again.mixed_precision == "bf16" and extract(videos, again, tmp_path / "rough").num_found == 3
    assert SnippetFeatureExtractor.from_dict(described, mixed_precision="no").to_dict() == exact.to_dict()


def test_the_same_networks_may_come_from_another_place(videos, extractor, tmp_path):
    extract(videos, extractor, tmp_path / "features")
    settings = extractor.save(tmp_path / "checkpoint")
    moved = SnippetFeatureExtractor.from_dict(settings, checkpoint=tmp_path / "checkpoint")
    assert extract(videos, moved, tmp_path / "features").num_found == 3


def test_files_of_unknown_origin_are_not_mixed_with_new_ones(videos, extractor, tmp_path):
    np.save(tmp_path / "old.npy", np.zeros((2, 16), np.float32))
    with pytest.raises(ValueError, match=r"holds feature files but no features\.json"):
        extract(videos, extractor, tmp_path)
    (tmp_path / "features.json").write_text("[]")
    with pytest.raises(ValueError, match=r"features\.json is not what this tool writes"):
        extract(videos, extractor, tmp_path)


def test_unreadable_videos_are_reported_and_the_others_kept(videos, extractor, tmp_path):
    sources = {**find_videos(videos), "broken": tmp_path / "broken.mp4", "gone": tmp_path / "gone.mp4"}
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    report = extract(sources, extractor, tmp_path / "out", max_failed=0.5)
    assert list(report.num_rows) == ["a", "b", "c"]
    assert sorted(report.failures) == ["broken", "gone"]
    with pytest.raises(ValueError, match=r"2 of 5 videos have no features.*broken.*the others are kept"):
        extract(sources, extractor, tmp_path / "out")
    with pytest.raises(ValueError, match="1 of 1 videos"):
        extract({"broken": tmp_path / "broken.mp4"}, extractor, tmp_path / "none", max_failed=1.0)


def test_a_full_disk_stops_the_run_and_leaves_nothing_half_written(videos, extractor, tmp_path, monkeypatch):
    def fail(file, array):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    extract({"a": find_videos(videos)["a"]}, extractor, tmp_path)
    monkeypatch.setattr(np, "save", fail)
    with pytest.raises(OSError, match="No space left"):
        extract(videos, extractor, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npy", "features.json"]


def test_a_data_set_is_taken_with_all_its_splits(videos, extractor, tmp_path):
    paths = find_videos(videos)
    content = {"path": None, "bytes": paths["b"].read_bytes()}
    corpus = datasets.DatasetDict(
        {
            "train": datasets.Dataset.from_dict({"video_id": ["x"], "video": [str(paths["a"])]}),
            "test": datasets.Dataset.from_dict({"video_id": ["y"], "video": [content]}).cast_column(
                "video", datasets.Video(decode=False)
            ),
        }
    )
    assert extract(corpus, extractor, tmp_path).num_rows == {"x": 3, "y": 4}
    with pytest.raises(ValueError, match="no column 'video'"):
        extract(corpus["train"].remove_columns("video"), extractor, tmp_path)
    with pytest.raises(ValueError, match="video id 'x' twice"):
        extract({"a": corpus["train"], "b": corpus["train"]}, extractor, tmp_path)


def test_folders_of_numbered_frames_are_videos(extractor, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for number, frame in enumerate(moving_frames(16)):
            Image.fromarray(frame).save(tmp_path / name / f"{number:04d}.png")
    report = extract(tmp_path, extractor, tmp_path / "out")
    assert report.num_rows == {"one": 2, "two": 2}
    assert np.array_equal(np.load(tmp_path / "out" / "one.npy"), extractor(moving_frames(16)))


def test_folders_without_videos_and_equal_names_are_refused(extractor, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        extract(tmp_path / "absent", extractor, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="holds no videos"):
        extract(tmp_path, extractor, tmp_path / "out")
    for name in ("a.mp4", "b/a.avi"):
        write_moving_video(tmp_path / name, 8)
    with pytest.raises(ValueError, match=r"a\.mp4 and .*a\.avi would both be called 'a'"):
        extract(tmp_path, extractor, tmp_path / "out")


@pytest.mark.parametrize("video_id", ["../a", "a/b", "", ".hidden"])
def test_ids_that_are_no_file_names_are_refused(video_id, tmp_path):
    folder = FeatureFolder(tmp_path, {"weights_sha256": {}}, 4)
    with pytest.raises(ValueError, match="cannot name a file"):
        folder.file_of(video_id)


def test_the_settings_file_says_how_features_were_made(videos, extractor, tmp_path):
    extract(videos, extractor, tmp_path)
    described = json.loads((tmp_path / "features.json").read_text())
    assert described["extractor"] == extractor.to_dict() and described["feature_size"] == 16
    assert SnippetFeatureExtractor.from_dict(described["extractor"]).weights_digests() == described["weights_sha256"]


@pytest.mark.skipif(not REAL_VIDEOS.is_dir(), reason=f"needs the real videos in {REAL_VIDEOS}")
def test_real_videos_give_as_many_rows_as_their_length_wants(tmp_path):
    extractor = tiny_extractor("rgb", frames_per_snippet=16, snippet_stride=16)
    report = extract(REAL_VIDEOS, extractor, tmp_path)
    assert report.num_rows == {
        "demo": 16,
        "demo_skeleton": 4,
        "demo_spatiotemporal_det": 15,
        "test_video_structuralize": 16,
    }
