import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_vidmodels.metrics import mask_average_precision
from hf_vidmodels.metrics.mask_average_precision import AP_NAMES, coco_average_precision
from hf_vidmodels.metrics.mask_quality import (
    SEMI_STUFF,
    compare_annotations,
    mask_quality,
    paired_mask_iou,
    retention_rate,
)
from hf_vidmodels.modeling.ops.run_length_masks import encode_masks
from hf_vidmodels.optional_packages import require
from mask_examples import boxes, random_pictures

FIXTURES = Path(__file__).parents[1] / "fixtures" / "mal"
RUNS = {
    f"{case}-{name}": (case, name)
    for case in ("conv_stem", "linear_patch")
    for name in json.loads((FIXTURES / case / "expected.json").read_text())["label_runs"]
}


@pytest.fixture(params=RUNS.values(), ids=RUNS)
def official(request):
    """Annotations that the official labeler wrote, what it measured on them, and the true file."""
    case, name = request.param
    expected = json.loads((FIXTURES / case / "expected.json").read_text())
    return expected["label_runs"][name], json.loads((FIXTURES / case / "label_gt.json").read_text())


def test_ious_and_their_means_are_those_of_the_official_evaluation(official):
    run, truth = official
    quality, without = compare_annotations(run["annotations"], truth)
    assert quality.ious.tolist() == pytest.approx([row["iou"] for row in run["per_instance"]], abs=1e-12)
    # The official means are float32.
    assert quality.mean_iou == pytest.approx(run["mIoU"], abs=2e-7)
    assert list(quality.by_size.values()) == pytest.approx(run["mIoU_small_medium_large"], abs=2e-7)
    assert without == sorted(
        {item["id"] for item in truth["annotations"]} - {item["id"] for item in run["per_instance"]}
    )
    assert len(without) == 1


@pytest.mark.parametrize("backend", ["pycocotools", "faster"])
@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_the_twelve_numbers_are_those_of_the_official_evaluation(official, iou_type, backend):
    run, truth = official
    before = json.dumps([run, truth])
    found = coco_average_precision(run["annotations"], truth, iou_type, backend)
    expected = [None if value < 0 else value for value in run["cocoeval_stats_with_unit_scores"][iou_type]]
    assert list(found) == list(AP_NAMES)
    assert list(found.values()) == pytest.approx(expected, abs=1e-12)
    assert json.dumps([run, truth]) == before


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_both_evaluators_give_the_same_numbers(seed):
    predictions, truth = random_pictures(seed)
    reference = coco_average_precision(predictions, truth, backend="pycocotools")
    assert coco_average_precision(predictions, truth, backend="faster") == pytest.approx(reference, abs=1e-12)


@pytest.mark.parametrize("is_installed", [True, False])
def test_the_faster_evaluator_is_taken_where_it_is_installed(monkeypatch, is_installed):
    asked = []
    monkeypatch.setattr(mask_average_precision, "find_spec", lambda name: is_installed or None)
    monkeypatch.setattr(
        mask_average_precision, "require", lambda name, work: asked.append(name) or require(name, work)
    )
    predictions, truth = random_pictures(1)
    assert coco_average_precision(predictions, truth)["AP"] is not None
    assert asked == (["faster_coco_eval"] if is_installed else [])


def test_perfect_masks_score_one_and_none_at_all_zero():
    _, truth = random_pictures(3)
    truth["annotations"] = [{**item, "iscrowd": 0} for item in truth["annotations"]]
    perfect = [
        {"image_id": item["image_id"], "category_id": item["category_id"], "segmentation": item["segmentation"]}
        for item in truth["annotations"]
    ]
    for backend in ("pycocotools", "faster"):
        assert coco_average_precision(perfect, truth, backend=backend)["AP"] == pytest.approx(1)
        nothing = coco_average_precision([], truth, backend=backend)
        assert nothing["AP"] == 0 and nothing["AR100"] == 0
        assert set(coco_average_precision(perfect, {**truth, "annotations": []}, backend=backend).values()) == {None}


def test_numbers_without_anything_to_find_are_none_and_not_minus_one_or_nan():
    (mask,) = boxes((0, 0, 10, 10))
    truth = {
        "images": [{"id": 1, "height": 40, "width": 60}],
        "categories": [{"id": 5, "name": "small thing"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 5, "segmentation": mask, "bbox": [0, 0, 10, 10]}],
    }
    found = coco_average_precision([{"image_id": 1, "category_id": 5, "segmentation": mask}], truth)
    assert found["AP"] == found["APs"] == pytest.approx(1)
    assert found["APm"] is found["APl"] is found["ARl"] is None
    quality, _ = compare_annotations(truth["annotations"], truth)
    assert quality.to_metrics()["mIoU_large"] is None and quality.by_size["small"] == pytest.approx(1, abs=3e-6)


def test_predictions_of_unknown_pictures_or_classes_and_bad_masks_are_named():
    predictions, truth = random_pictures(0)
    first, *others = predictions
    for change, message in [
        ({"image_id": 1}, "prediction 0 has the image_id 1, which the ground truth does not have"),
        ({"category_id": 9}, "prediction 0 has the category_id 9"),
        ({"segmentation": None}, "prediction 0 has no segmentation"),
        ({"segmentation": {"size": [120, 150], "counts": "zz"}}, "prediction 0 has a malformed RLE"),
        ({"segmentation": {"size": [1, 1], "counts": "01"}}, "prediction 0 has an RLE of .1, 1."),
        ({"score": float("nan")}, "prediction 0 has the score nan"),
    ]:
        with pytest.raises(ValueError, match=message):
            coco_average_precision([{**first, **change}, *others], truth)
    with pytest.raises(ValueError, match=r"prediction 0 has the bbox \[1, 2\]; expected four"):
        coco_average_precision([{**first, "bbox": [1, 2]}], {**truth, "annotations": []}, "bbox")
    with pytest.raises(ValueError, match="ground truth has no 'categories'"):
        coco_average_precision(predictions, {"images": [], "annotations": []})
    with pytest.raises(ValueError, match="iou_type must be one of segm, bbox, got 'keypoints'"):
        coco_average_precision(predictions, truth, "keypoints")
    with pytest.raises(ValueError, match="backend must be one of pycocotools, faster, got 'slow'"):
        coco_average_precision(predictions, truth, backend="slow")


def test_a_missing_package_is_named_with_the_way_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faster_coco_eval", None)
    with pytest.raises(ImportError, match=r"pip install 'hf_vidmodels\[fast-eval\]'"):
        coco_average_precision([], {"images": [], "annotations": [], "categories": []}, backend="faster")


def test_classes_count_alike_however_many_instances_they_have():
    true = boxes(*[(0, 0, 10, 10)] * 4)
    found = boxes((0, 0, 10, 10), (0, 0, 10, 10), (0, 0, 10, 10), (0, 0, 10, 5))
    quality = mask_quality(found, true, ["a", "a", "a", "b"], [100, 2000, 2000, 20000])
    assert quality.mean_iou == pytest.approx(0.75, abs=3e-6)
    assert quality.by_class == pytest.approx({"a": 1, "b": 0.5}, abs=3e-6)
    assert quality.by_size == pytest.approx({"small": 1, "medium": 1, "large": 0.5}, abs=3e-6)
    assert quality.counts == {"all": 4, "small": 1, "medium": 2, "large": 1}
    assert quality.to_metrics()["instance_IoU"] == pytest.approx(3.5 / 4, abs=3e-6)


def test_boxes_on_the_bounds_are_of_the_lower_size():
    masks = boxes((0, 0, 4, 4)) * 4
    quality = mask_quality(masks, masks, [0] * 4, [1024, 1024.01, 9216, 9216.01])
    assert quality.counts == {"all": 4, "small": 1, "medium": 2, "large": 1}


def test_things_and_semi_stuff_are_told_apart_by_name():
    assert len(SEMI_STUFF) == 11
    true = boxes((0, 0, 10, 10), (0, 0, 10, 10), (0, 0, 10, 10))
    found = boxes((0, 0, 10, 10), (0, 0, 10, 5), (0, 0, 10, 10))
    names = {7: "person", 8: "couch", 9: "airplane"}
    quality = mask_quality(found, true, [7, 8, 9], [100] * 3, names)
    assert quality.things == pytest.approx(1, abs=3e-6) and quality.semi_stuff == pytest.approx(0.5, abs=3e-6)
    unnamed = mask_quality(found, true, [7, 8, 9], [100] * 3)
    assert unnamed.things is unnamed.semi_stuff is None


def test_no_instances_are_no_quality():
    assert set(mask_quality([], [], [], []).to_metrics().values()) == {None}
    assert paired_mask_iou(encode_masks(np.zeros((1, 3, 3))), encode_masks(np.zeros((1, 3, 3)))).tolist() == [0]


def test_masks_that_do_not_pair_up_are_named():
    small, large = boxes((0, 0, 4, 4)), boxes((0, 0, 4, 4), size=(80, 60))
    with pytest.raises(ValueError, match="its true one: 1 predictions, 2 references"):
        paired_mask_iou(small, small * 2)
    with pytest.raises(ValueError, match=r"prediction 1 has the size \[80, 60\] but its reference \[40, 60\]"):
        paired_mask_iou([*small, *large], small * 2)
    with pytest.raises(ValueError, match="reference 0 has a malformed RLE"):
        paired_mask_iou(small, [{"size": [40, 60], "counts": "00"}])
    with pytest.raises(ValueError, match="1 masks, 2 labels, 1 areas"):
        mask_quality(small, small, [1, 2], [16])
    with pytest.raises(ValueError, match="instance 0 has a box of area 0"):
        mask_quality(small, small, [1], [0])
    with pytest.raises(ValueError, match="none of the 0 annotations with a true mask"):
        compare_annotations([], {"images": [], "annotations": [], "categories": []})


def test_retention_is_in_percent():
    assert retention_rate(0.38, 0.4) == pytest.approx(95)
    for pseudo, full in [(0.3, 0), (0.3, -1), (-0.1, 0.4), (float("nan"), 0.4), (0.3, float("inf"))]:
        with pytest.raises(ValueError, match="retention needs mask APs"):
            retention_rate(pseudo, full)
