import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from hf_vidmodels.modeling.ops import run_length_masks
from hf_vidmodels.modeling.ops.run_length_masks import (
    check_rles,
    decode_rles,
    encode_masks,
    rle_areas,
    rle_intersections,
    segmentation_rles,
)

masks_of_one_size = st.tuples(st.integers(1, 5), st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
# Bytes inside and around the alphabet, so that many of the strings get past the first checks.
strings = st.binary(max_size=12) | st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=12)


def random_masks(num, height, width, seed):
    rng = np.random.default_rng(seed)
    return rng.random((num, height, width)) < rng.choice([0.0, 0.02, 0.5, 0.98, 1.0])


def runs_of(mask):
    flat = np.concatenate([[0], mask.ravel(order="F").astype(int), [2]])
    edges = np.flatnonzero(np.diff(flat[1:])) + 1
    runs = np.diff(np.concatenate([[0], edges]))
    return [0, *runs.tolist()] if flat[1] == 1 else runs.tolist()


@given(masks_of_one_size)
@settings(max_examples=60, deadline=None)
def test_masks_come_back_whether_runs_are_compressed_or_not(size):
    masks = random_masks(*size)
    compressed = encode_masks(masks)
    json.dumps(compressed)
    lists = [{"size": list(mask.shape), "counts": runs_of(mask)} for mask in masks]
    assert check_rles(lists) == check_rles(compressed) == compressed
    np.testing.assert_array_equal(decode_rles(lists), masks)
    assert rle_areas(compressed).tolist() == masks.sum((1, 2)).tolist()


@given(masks_of_one_size)
@settings(max_examples=20, deadline=None)
def test_shared_pixels_are_counted_pair_by_pair(size):
    num, height, width, seed = size
    first, second = random_masks(*size), random_masks(num, height, width, seed + 1)
    found = rle_intersections(encode_masks(first), encode_masks(second))
    assert found.tolist() == (first & second).sum((1, 2)).tolist()


@given(strings, st.integers(1, 6), st.integers(1, 6))
@settings(max_examples=300, deadline=None)
def test_what_passes_the_check_is_exactly_one_mask(counts, height, width):
    """The check agrees with the C code on every string that the C code decodes to a whole mask."""
    try:
        (checked,) = check_rles([{"size": [height, width], "counts": counts}])
    except ValueError as error:
        assert "mask 0" in str(error)
        return
    mask = coco_mask.decode(checked)
    assert mask.shape == (height, width) and set(np.unique(mask)) <= {0, 1}
    assert coco_mask.area(checked) == mask.sum()


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ({"size": [4, 4], "counts": ""}, "4 x 4 pixels: it has no counts"),
        ({"size": [4, 4], "counts": "0"}, "runs fill 0 pixels instead of 16"),
        ({"size": [4, 4], "counts": "a b"}, "characters that no RLE has"),
        ({"size": [4, 4], "counts": "é"}, "characters that no RLE has"),
        ({"size": [4, 4], "counts": "\x00\x01"}, "characters that no RLE has"),
        ({"size": [4, 4], "counts": b"oooooooooooooooo0"}, "longer than any run"),
        ({"size": [4, 4], "counts": "oo"}, "last number is cut off"),
        ({"size": [4, 4], "counts": "O"}, "a run of -1 pixels"),
        ({"size": [4, 4], "counts": "@" + "0"}, "a run of -16 pixels"),
        ({"size": [4, 4], "counts": [-5, 21]}, "a run of -5 pixels"),
        ({"size": [4, 4], "counts": [2**40]}, "a run of 1099511627776 pixels"),
        ({"size": [4, 4], "counts": [8, 9]}, "runs fill 17 pixels instead of 16"),
        ({"size": [4, 4], "counts": []}, "no list of whole numbers"),
        ({"size": [4, 4], "counts": [1.5, 14.5]}, "no list of whole numbers"),
        ({"size": [4, 4], "counts": None}, "counts are NoneType"),
        ({"size": [4], "counts": "0"}, r"size \[4\]; expected \[height, width\]"),
        ({"size": [0, 4], "counts": "0"}, r"size \[0, 4\]"),
        ({"size": [-4, -4], "counts": "@0"}, r"size \[-4, -4\]"),
        ({"size": [2**31, 2**31], "counts": "0"}, "positive whole numbers of at most"),
        ({"size": [4.0, 4.0], "counts": "@0"}, r"size \[4.0, 4.0\]"),
        ({"size": "44", "counts": "@0"}, "size '44'"),
        ({"size": None, "counts": "@0"}, "size None"),
        ({"counts": "0"}, r"size and counts, got \['counts'\]"),
        (7, "size and counts, got int"),
    ],
)
def test_a_malformed_rle_is_named(rle, message):
    good = encode_masks(np.ones((1, 4, 4)))[0]
    with pytest.raises(ValueError, match=f"annotation 12 .*{message}"):
        check_rles([good, rle], ["annotation 11", "annotation 12"])


def test_garbage_ends_in_an_error_and_not_in_a_dead_interpreter():
    """In a process of its own: a crash there would take the test run with it here."""
    code = """
import runpy, sys
import numpy as np
decode_rles = runpy.run_path(sys.argv[1])["decode_rles"]
rng = np.random.default_rng(0)
for _ in range(3000):
    counts = rng.integers(40, 120, rng.integers(0, 30)).astype(np.uint8).tobytes()
    try:
        decode_rles([{"size": rng.integers(1, 9, 2).tolist(), "counts": counts}])
    except ValueError:
        pass
print("alive")
"""
    done = subprocess.run(
        [sys.executable, "-c", code, run_length_masks.__file__], capture_output=True, text=True, timeout=100
    )
    assert done.stdout.strip() == "alive", done.stderr


def test_polygons_of_one_object_are_united_and_rles_kept():
    square, other = [1, 1, 5, 1, 5, 5, 1, 5], [6, 6, 9, 6, 9, 9, 6, 9]
    rle = encode_masks(np.eye(10)[None])[0]
    both, kept = segmentation_rles([[square, other], rle], [(10, 10)] * 2, ["annotation 1", "annotation 2"])
    expected = np.zeros((10, 10), bool)
    expected[1:5, 1:5] = expected[6:9, 6:9] = True
    np.testing.assert_array_equal(decode_rles([both])[0], expected)
    assert kept == rle


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([], "neither polygons nor an RLE"),
        (None, "neither polygons nor an RLE"),
        ("abc", "neither polygons nor an RLE"),
        ([[1, 2, 3, 4]], "polygon of"),
        ([[1, 2, 3, 4, 5, 6, 7]], "polygon of"),
        ([["a"] * 6], "polygon of"),
        ([[1, 1, 5, 1, 5, float("nan")]], "coordinates from nan"),
        ([[1, 1, 1e9, 1, 5, 5]], r"coordinates from 1 to 1e\+09"),
        ([[1, 1, -1e30, 1, 5, 5]], r"coordinates from -1e\+30"),
        ({"size": [9, 10], "counts": "0"}, r"RLE of \[9, 10\] \(height, width\) but its picture has \[10, 10\]"),
    ],
)
def test_segmentations_that_are_none_name_their_annotation(segmentation, message):
    with pytest.raises(ValueError, match=f"annotation 3 .*{message}"):
        segmentation_rles([segmentation], [(10, 10)], ["annotation 3"])


def test_many_rles_are_checked_and_measured_in_batches():
    masks = random_masks(700, 30, 30, 4)
    masks[::7] = np.random.default_rng(0).random((100, 30, 30)) < 0.5
    rles = encode_masks(masks)
    many = rles * 10
    assert check_rles(many) == many
    assert rle_areas(many).tolist() == masks.sum((1, 2)).tolist() * 10
    many[-2] = {"size": [30, 30], "counts": "1"}
    with pytest.raises(ValueError, match="mask 6998 has a malformed"):
        check_rles(many)


def test_nothing_to_decode_is_said():
    assert check_rles([]) == [] and rle_areas([]).tolist() == []
    with pytest.raises(ValueError, match="no RLE to decode"):
        decode_rles([])
