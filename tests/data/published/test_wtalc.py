import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from hf_vidmodels.data.own.temporal_annotations import read_annotation_json
from hf_vidmodels.data.published.wtalc import convert_wtalc_annotations, load_object_array, read_wtalc

REAL = Path(__file__).parents[3].parent / "shared" / "real" / "thumos14"
needs_real_files = pytest.mark.skipif(not REAL.is_dir(), reason="needs the real files in ../shared/real/thumos14")


def objects(*items):
    array = np.empty(len(items), dtype=object)
    for index, item in enumerate(items):
        array[index] = item
    return array


@pytest.fixture
def wtalc(tmp_path):
    """Two training videos and a test video in the layout of the real files."""
    folder = tmp_path / "annotations"
    folder.mkdir()
    arrays = {
        "videoname": np.array([b"video_validation_1", b"video_test_1", b"video_validation_2"]),
        "subset": np.array([b"validation", b"test", b"validation"]),
        "labels": objects([b"Diving", b"GolfSwing"], [b"Diving"], [b"GolfSwing", b"GolfSwing"]),
        "labels_all": objects([b"Diving"], [b"Diving"], [b"GolfSwing"]),
        "segments": objects([[1.0, 2.0], [3.5, 4.0]], [[0.0, 9.0]], [[5.0, 6.0], [0.5, 1.0]]),
        "duration": np.array([[10.0], [20.0], [7.5]]),
        "extracted_fps": np.array([10, 10, 10]),
        "classlist": np.array([b"Diving", b"GolfSwing"]),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=True)
    return folder


def replace(folder, name, array):
    np.save(folder / f"{name}.npy", array, allow_pickle=True)


def save_pickle_as_npy(path, payload, shape=(1,)):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": shape})
    path.write_bytes(header.getvalue() + payload)


def test_annotations_keep_times_subsets_and_durations(wtalc):
    annotations = read_wtalc(wtalc)
    assert list(annotations) == ["video_validation_1", "video_test_1", "video_validation_2"]
    first = annotations["video_validation_1"]
    assert first.segments == [(1.0, 2.0, "Diving"), (3.5, 4.0, "GolfSwing")]
    assert (first.subset, first.duration) == ("validation", 10.0)
    assert first.video_labels == ["Diving", "GolfSwing"]


def test_classes_of_a_video_can_come_from_labels_all(wtalc):
    assert read_wtalc(wtalc, video_labels="labels_all")["video_validation_1"].video_labels == ["Diving"]
    with pytest.raises(ValueError, match=r"must be one of instances, labels_all, got 'instance' \(did you mean"):
        read_wtalc(wtalc, video_labels="instance")


def test_conversion_writes_annotations_splits_and_features(wtalc, tmp_path):
    features = tmp_path / "features.npy"
    np.save(features, objects(*(np.full((n, 4), n, dtype=np.float64) for n in (2, 3, 5))), allow_pickle=True)
    out = tmp_path / "out"
    counts = convert_wtalc_annotations(wtalc, out, video_labels="labels_all", features=features)
    assert counts == {"train": 2, "test": 1}
    assert (out / "split_train.txt").read_text() == "video_validation_1\nvideo_validation_2\n"
    assert (out / "split_test.txt").read_text() == "video_test_1\n"
    assert read_annotation_json(out / "gt.json") == read_wtalc(wtalc, video_labels="labels_all")
    np.testing.assert_array_equal(np.load(out / "test" / "video_test_1.npy"), np.full((3, 4), 3, dtype=np.float32))
    assert sorted(path.stem for path in (out / "train").iterdir()) == ["video_validation_1", "video_validation_2"]


@pytest.mark.parametrize("name", [b"../../escaped", b"/tmp/hf_vidmodels_escaped", b"a\\b", b"a\nb"])
def test_names_of_videos_write_nothing_outside_the_output_folder(wtalc, tmp_path, name):
    replace(wtalc, "videoname", np.array([name, b"video_test_1", b"video_validation_2"]))
    np.save(tmp_path / "features.npy", objects(*[np.zeros((2, 4))] * 3), allow_pickle=True)
    with pytest.raises(ValueError, match="cannot name a file in"):
        convert_wtalc_annotations(wtalc, tmp_path / "a" / "out", features=tmp_path / "features.npy")
    assert not list(tmp_path.rglob("*escaped*")) and not os.path.exists("/tmp/hf_vidmodels_escaped.npy")


def test_a_link_in_the_output_folder_is_not_followed(wtalc, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "train").symlink_to(tmp_path / "elsewhere")
    np.save(tmp_path / "features.npy", objects(*[np.zeros((2, 4))] * 3), allow_pickle=True)
    with pytest.raises(ValueError, match="is a symbolic link, which is not followed"):
        convert_wtalc_annotations(wtalc, tmp_path / "out", features=tmp_path / "features.npy")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_excluded_videos_are_left_out_and_must_exist(wtalc, tmp_path):
    assert convert_wtalc_annotations(wtalc, tmp_path / "out", exclude=["video_test_1"]) == {"train": 2, "test": 0}
    assert "video_test_1" not in read_annotation_json(tmp_path / "out" / "gt.json")
    with pytest.raises(ValueError, match="cannot exclude video_test_9"):
        read_wtalc(wtalc, exclude=["video_test_9"])


class RunsCommand:
    """A pickle that runs a shell command when a plain unpickler opens it."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_a_malicious_pickle_runs_nothing_and_is_refused_by_name(wtalc, tmp_path, protocol):
    marker = tmp_path / "was_here"
    path = wtalc / "labels.npy"
    save_pickle_as_npy(path, pickle.dumps(objects(RunsCommand(marker)), protocol=protocol))
    with pytest.raises(ValueError, match=r"pickle in .*labels\.npy is refused: it wants to call (posix|nt)\.system"):
        read_wtalc(wtalc)
    assert not marker.exists()
    np.load(path, allow_pickle=True)
    assert marker.exists(), "the test's pickle must be a working attack"


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        (b"cbuiltins\neval\n(S'1'\ntR.", "builtins.eval"),
        (b"cnumpy\nload\n(S'x'\ntR.", "numpy.load"),
        (b"cnumpy.core.multiarray\nfromfile\n(S'x'\ntR.", "numpy.core.multiarray.fromfile"),
        (b"\x80\x04\x8c\x05numpy\x8c\x0ddtype.__new__\x93.", "numpy.dtype.__new__"),
        (b"(inumpy.f2py\ncompile\n.", "numpy.f2py.compile"),
        (b"ccopyreg\n_reconstructor\n.", "copyreg._reconstructor"),
    ],
)
def test_nothing_but_the_parts_of_arrays_can_be_named(tmp_path, payload, name):
    save_pickle_as_npy(tmp_path / "a.npy", payload)
    with pytest.raises(ValueError, match=f"it wants to call {name},"):
        load_object_array(tmp_path / "a.npy")


@pytest.mark.parametrize(
    "payload",
    [
        b"cnumpy\nndarray\n((I9\nltR.",
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I1000000000000\ntS'b'\ntR.",
        b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'O'\ntRS'x'\ntR.",
        b"I1\n.",
        b"",
        b"\x80\x04\x95",
    ],
)
def test_arrays_cannot_be_made_in_other_ways_than_numpy_makes_them(tmp_path, payload):
    save_pickle_as_npy(tmp_path / "a.npy", payload)
    with pytest.raises(ValueError, match=r"the pickle in .*a\.npy is refused"):
        load_object_array(tmp_path / "a.npy")


# `np.save` of Python 3 writes protocol 3 or 4.
@pytest.mark.parametrize("protocol", [3, 4])
def test_scalars_and_nested_arrays_are_read_from_the_protocols_of_numpy(tmp_path, protocol):
    content = objects([np.float64(1.5), np.int64(2)], np.arange(6.0).reshape(2, 3), objects([b"x"], ["y"]))
    save_pickle_as_npy(tmp_path / "a.npy", pickle.dumps(content, protocol=protocol), content.shape)
    assert repr(load_object_array(tmp_path / "a.npy")) == repr(content)


def test_arrays_pickled_by_python_2_are_read(tmp_path):
    payload = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87Rq\x03"
        b"(K\x01K\x01\x85cnumpy\ndtype\nU\x02O8K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb"
        b"\x89]](U\x09Billiardseatb."
    )
    save_pickle_as_npy(tmp_path / "a.npy", payload.replace(b"eatb.", b"eatb."))
    assert load_object_array(tmp_path / "a.npy").tolist() == [[b"Billiards"]]


def test_plain_arrays_and_files_that_are_none(tmp_path):
    np.save(tmp_path / "plain.npy", np.arange(3))
    assert load_object_array(tmp_path / "plain.npy").tolist() == [0, 1, 2]
    (tmp_path / "text.npy").write_text("no array")
    with pytest.raises(ValueError, match=r"text\.npy is not a \.npy file"):
        load_object_array(tmp_path / "text.npy")
    content = (tmp_path / "plain.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(content[:-4])
    with pytest.raises(ValueError, match=r"cut\.npy is not a complete"):
        load_object_array(tmp_path / "cut.npy")


def test_missing_files_are_named_together(wtalc):
    (wtalc / "segments.npy").unlink()
    (wtalc / "subset.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"subset\.npy, segments\.npy missing"):
        read_wtalc(wtalc)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("videoname", np.array([b"a", b"a", b"b"]), r"names videos more than once: a"),
        ("videoname", np.array([b"a", b"b"]), "different numbers of videos"),
        ("subset", np.array([b"validation", b"test", b"train"]), "'video_validation_2' has the subset 'train'"),
        ("labels", objects([b"Diving"], [b"Diving"], [b"GolfSwing"]), "'video_validation_1' has 2 segments and 1"),
        ("labels_all", objects([b"Divng"], [], []), r"unknown class 'Divng' \(did you mean 'Diving'\?\)"),
    ],
)
def test_contradictions_are_named(wtalc, name, array, message):
    replace(wtalc, name, array)
    with pytest.raises(ValueError, match=message):
        read_wtalc(wtalc)


@needs_real_files
def test_the_real_thumos14_annotations_have_the_known_numbers(tmp_path):
    assert convert_wtalc_annotations(REAL, tmp_path) == {"train": 200, "test": 212}
    annotations = read_annotation_json(tmp_path / "gt.json")
    assert annotations == read_wtalc(REAL)
    subsets = {
        subset: [annotation for annotation in annotations.values() if annotation.subset == subset]
        for subset in ("validation", "test")
    }
    assert [sum(len(a.segments) for a in subsets[s]) for s in ("validation", "test")] == [3007, 3358]
    assert len({label for annotation in annotations.values() for label in annotation.video_labels}) == 20
    from_all = read_wtalc(REAL, video_labels="labels_all")
    assert sum(from_all[name].video_labels != annotations[name].video_labels for name in annotations) == 28
    assert annotations["video_validation_0000171"].video_labels == ["CricketBowling", "CricketShot"]
    assert from_all["video_validation_0000171"].video_labels == ["CricketBowling"]
    counts = [len(annotation.video_labels) for annotation in annotations.values()]
    assert (counts.count(2), counts.count(3)) == (60, 1)
    beyond = [a.video_id for a in annotations.values() for _, end, _ in a.segments if end > a.duration + 0.5]
    assert len(beyond) == 30 and len(set(beyond)) == 5
    assert "video_test_0001292" not in annotations and {"video_test_0000270", "video_test_0001496"} <= set(annotations)
