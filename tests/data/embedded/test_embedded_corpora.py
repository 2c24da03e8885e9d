import multiprocessing
import warnings
from dataclasses import replace

import numpy as np
import pytest
from datasets import load_dataset
from PIL import Image
from pycocotools import mask as coco_mask

from hf_vidmodels.data.contracts import validate_corpus
from hf_vidmodels.data.embedded import embedded_corpora as embedded
from hf_vidmodels.data.embedded.embedded_cache import find_damage
from hf_vidmodels.data.embedded.embedded_corpora import (
    EMBEDDED_CORPORA,
    compose_embedded_scene,
    load_embedded_corpus,
    make_embedded_corpus,
)
from hf_vidmodels.data.embedded.embedded_motions import WAYS
from hf_vidmodels.data.embedded.embedded_rendering import iterate_rendered, visible_masks
from hf_vidmodels.data.embedded.embedded_tubes import TUBE_FPS
from hf_vidmodels.data.embedded.embedded_untrimmed import UNTRIMMED_FPS
from hf_vidmodels.processing.decoding import decode_frames, probe_video

SHORT = {"clips": {"num_frames": (40, 50)}, "tubes": {"num_frames": (60, 80)}} | {
    name: {"shortest_video": 440, "video_octaves": 1}
    for name in ("untrimmed", "untrimmed-small", "untrimmed-common-scene")
}


def tiny(name, train=3, test=2):
    """The corpus with few and short examples."""
    parameters = replace(EMBEDDED_CORPORA[name].parameters, splits=(("train", train), ("test", test)))
    return replace(parameters, **SHORT.get(name, {}))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def corpora(cache):
    return {name: load_embedded_corpus(name, cache_dir=cache, parameters=tiny(name)) for name in EMBEDDED_CORPORA}


@pytest.mark.parametrize("name", EMBEDDED_CORPORA)
def test_every_corpus_keeps_its_tasks_contract(corpora, name):
    with warnings.catch_warnings():
        # Three examples cannot have every class, which is worth a warning in a corpus of full size only.
        warnings.filterwarnings("ignore", message=".*have no example.*|.*has no example.*")
        validate_corpus(corpora[name], EMBEDDED_CORPORA[name].task)
    assert set(corpora[name]) == {"train", "test"}
    assert corpora[name]["train"].features == embedded.embedded_features(name)


def test_untrimmed_rows_fit_their_videos(corpora):
    for split, dataset in corpora["untrimmed"].items():
        for index, row in enumerate(dataset):
            scene = compose_embedded_scene("untrimmed", split, index, parameters=tiny("untrimmed"))
            metadata = probe_video(row["video"])
            assert (metadata.num_frames, metadata.fps) == (scene.num_frames, UNTRIMMED_FPS)
            assert row["duration"] == pytest.approx(metadata.duration)
            assert row["subset"] == split and row["fps"] == UNTRIMMED_FPS
            assert sorted({segment["label"] for segment in row["segments"]}) == row["labels"]
            times = [(segment["start"], segment["end"]) for segment in row["segments"]]
            assert times == [(action.start / UNTRIMMED_FPS, action.end / UNTRIMMED_FPS) for action in scene.actions]
            pixels = decode_frames(row["video"], [scene.num_frames - 1])[0].astype(int)
            assert np.abs(pixels - list(iterate_rendered(scene))[-1][-1]).mean() < 5


def test_clips_show_their_action(corpora):
    for split, dataset in corpora["clips"].items():
        for index, row in enumerate(dataset):
            scene = compose_embedded_scene("clips", split, index, parameters=tiny("clips"))
            assert row["label"] == scene.actions[0].label
            assert probe_video(row["video"]).num_frames == scene.num_frames


def test_tubes_have_a_row_for_every_half_second_with_a_box_around_each_acting_digit(corpora):
    dataset = corpora["tubes"]["train"]
    scene = compose_embedded_scene("tubes", "train", 0, parameters=tiny("tubes"))
    rows = [row for row in dataset if row["video_id"] == "train_00000"]
    assert [row["timestamp"] for row in rows] == [half / 2 for half in range(1, (scene.num_frames - 1) // 12 + 1)]
    assert probe_video(rows[0]["video"]).fps == TUBE_FPS
    for row in rows:
        assert row["keyframe"] == TUBE_FPS * row["timestamp"]
        doing = {}
        for action in scene.actions:
            if action.start <= row["keyframe"] < action.end:
                doing.setdefault(action.actor, []).append(action.label)
        assert dict(zip(row["actor_ids"], row["labels"], strict=True)) == doing
        spans = {(action.actor, action.start / TUBE_FPS, action.end / TUBE_FPS) for action in scene.actions}
        assert set(zip(row["actor_ids"], row["starts"], row["ends"], strict=True)) <= spans
        for actor, (left, top, right, bottom) in zip(row["actor_ids"], row["boxes"], strict=True):
            assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1
            poses, frame = scene.sprites[actor].poses, row["keyframe"]
            x, y = poses.x[frame] / 64 / scene.size, poses.y[frame] / 64 / scene.size
            assert left < x < right and top < y < bottom


def test_masks_boxes_and_areas_of_one_object_agree_and_no_pixel_has_two_owners(corpora):
    for index, row in enumerate(corpora["boxes"]["train"]):
        masks = [
            coco_mask.decode({**item["segmentation"], "counts": item["segmentation"]["counts"].encode()})
            for item in row["objects"]
        ]
        assert 1 <= len(masks) <= 5
        assert np.sum(masks, axis=0).max() == 1
        for item, mask in zip(row["objects"], masks, strict=True):
            rows, columns = np.nonzero(mask)
            left, top = columns.min(), rows.min()
            assert item["bbox"] == [left, top, columns.max() - left + 1, rows.max() - top + 1]
            assert item["area"] == mask.sum()
        scene = compose_embedded_scene("boxes", "train", index)
        colour = scene.sprites[-1].colour * scene.background.light[0] // 256
        inside = np.asarray(row["image"])[visible_masks(scene, 0)[-1]].astype(int)
        assert np.median(np.abs(inside - colour)) <= 1
    identifiers = [item["id"] for row in corpora["boxes"]["train"] for item in row["objects"]]
    assert len(set(identifiers)) == len(identifiers)


def test_the_box_of_an_object_holds_all_of_it_and_nothing_more(corpora):
    for index, row in enumerate(corpora["objects"]["test"]):
        scene = compose_embedded_scene("objects", "test", index)
        assert row["label"] == scene.sprites[-1].digit
        picture = np.asarray(row["image"]).astype(int)
        without = next(iterate_rendered(replace(scene, sprites=scene.sprites[:-1])))[0]
        changed = np.abs(picture - without).max(axis=-1)
        left, top, right, bottom = (int(edge) for edge in row["bbox"])
        outside = changed.copy()
        outside[top:bottom, left:right] = 0
        # Beyond the box lies only the soft edge, which covers less than half.
        assert outside.max() <= 0.55 * changed.max()
        assert changed[top, left:right].max() > 0 and changed[bottom - 1, left:right].max() > 0


def test_most_training_pictures_have_no_label_and_all_test_pictures_have_one(cache):
    dataset = load_embedded_corpus("images", cache_dir=cache, parameters=tiny("images", 10, 4))
    assert [label is None for label in dataset["train"]["label"]] == [number % 5 > 0 for number in range(10)]
    assert None not in dataset["test"]["label"]


def test_a_second_use_reads_the_same_files(cache, corpora, monkeypatch):
    def fail(*arguments):
        raise AssertionError("nothing is to be made")

    monkeypatch.setattr(embedded, "_write_split", fail)
    folder = make_embedded_corpus("images", cache_dir=cache, parameters=tiny("images"))
    assert find_damage(folder) is None
    assert sorted(path.name for path in folder.parent.iterdir() if path.suffix in (".tmp", ".damaged")) == []


def test_the_cache_lies_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_VIDMODELS_CACHE", str(tmp_path / "elsewhere"))
    folder = make_embedded_corpus("images", parameters=tiny("images", 1, 1))
    assert folder.parent == tmp_path / "elsewhere" / "embedded"


def test_datasets_reads_the_folder_without_the_package(tmp_path, cache, corpora):
    folder = make_embedded_corpus("untrimmed", cache_dir=cache, parameters=tiny("untrimmed"))
    plain = load_dataset("videofolder", data_dir=str(folder), cache_dir=str(tmp_path))
    for split, dataset in corpora["untrimmed"].items():
        read = plain[split].remove_columns("video")
        assert read["video_id"] == dataset["video_id"]
        named = [[WAYS[segment["label"]] for segment in row] for row in dataset["segments"]]
        assert [[segment["label"] for segment in row] for row in read["segments"]] == named


def remove_a_picture(folder):
    (folder / "train" / "train_00001.png").unlink()


def cut_a_picture(folder):
    path = folder / "test" / "test_00000.png"
    path.write_bytes(path.read_bytes()[:-20])


def garble_the_metadata(folder):
    (folder / "train" / "metadata.jsonl").write_text("{")


def garble_the_manifest(folder):
    (folder / "corpus.json").write_text('{"files": 3}')


def remove_the_manifest(folder):
    (folder / "corpus.json").unlink()


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (remove_a_picture, "train_00001.png is missing"),
        (cut_a_picture, "test_00000.png does not have the content that was written"),
        (garble_the_metadata, "metadata.jsonl does not have the content"),
        (garble_the_manifest, "corpus.json is not the manifest"),
        (remove_the_manifest, "corpus.json is missing"),
    ],
)
def test_a_damaged_cache_is_made_again_with_a_warning(tmp_path, damage, sentence):
    parameters = tiny("images", 2, 1)
    folder = make_embedded_corpus("images", cache_dir=tmp_path, parameters=parameters)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    damage(folder)
    with pytest.warns(UserWarning, match=f"{sentence}.* is made again"):
        assert make_embedded_corpus("images", cache_dir=tmp_path, parameters=parameters) == folder
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def make_after_the_others(barrier, cache_dir, answers):
    barrier.wait()
    answers.put(str(make_embedded_corpus("clips", cache_dir=cache_dir, parameters=tiny("clips", 2, 1))))


def test_three_processes_that_start_at_once_make_one_corpus(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(3), context.Queue()
    processes = [context.Process(target=make_after_the_others, args=(barrier, tmp_path, answers)) for _ in range(3)]
    for process in processes:
        process.start()
    folders = {answers.get(timeout=60) for _ in processes}
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert len(folders) == 1
    assert len([path for path in (tmp_path / "embedded").iterdir() if path.is_dir()]) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_embedded_corpus("clips", cache_dir=tmp_path, parameters=tiny("clips", 2, 1))


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="No space left on device"):
        make_embedded_corpus("images", cache_dir=tmp_path, parameters=tiny("images"))
    assert [path for path in (tmp_path / "embedded").iterdir() if path.is_dir()] == []


def test_wrong_names_are_one_sentence(cache, corpora):
    with pytest.raises(ValueError, match="there is no embedded corpus 'clip'; there are images, many_images, clips"):
        make_embedded_corpus("clip", cache_dir=cache)
    with pytest.raises(ValueError, match="no split 'val'; its splits are train, test"):
        load_embedded_corpus("images", cache_dir=cache, split="val", parameters=tiny("images"))
    with pytest.raises(ValueError, match="must be ClipParameters, got PictureParameters"):
        make_embedded_corpus("clips", cache_dir=cache, parameters=tiny("images"))
