"""Localisation metrics against the published evaluators (see tests/fixtures/l2_caf/wsol_metrics/README.md)."""

import json
from pathlib import Path

import evaluate
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from hf_vidmodels.metrics import object_localization as metrics
from hf_vidmodels.modeling.ops.heatmaps import (
    distance_transform_boxes,
    fixed_threshold_box,
    threshold_boxes,
)

CASE = Path(__file__).parents[1] / "fixtures" / "l2_caf" / "wsol_metrics"
SCRIPT = Path(metrics.__file__).with_name("evaluate_object_localization.py")


@pytest.fixture(scope="module")
def case():
    io = load_file(CASE / "io.safetensors")
    config, expected = (json.loads((CASE / f"{name}.json").read_text()) for name in ("config", "expected"))
    names = config["image_ids"]
    raw = {name: io[f"raw_map.{index}"] for index, name in enumerate(names)}
    boxes = {
        name: metrics.scale_boxes(config["boxes_x0y0x1y1"][name], config["image_sizes_wh"][name]) for name in names
    }
    return {
        "io": io,
        "config": config,
        "expected": expected,
        "raw": raw,
        "maps": metrics.evaluation_maps(raw),
        "boxes": boxes,
    }


def test_maps_and_true_boxes_are_those_of_the_evaluator(case):
    np.testing.assert_allclose(case["maps"]["im_00.jpg"], case["io"]["normalised_map.0"], atol=1e-6)
    assert not case["maps"]["im_01.jpg"].any()
    assert {name: boxes.tolist() for name, boxes in case["boxes"].items()} == case["expected"]["gt_boxes_resized_224"]


@pytest.mark.parametrize(("multi_contour", "name"), [(False, "largest_contour"), (True, "multi_contour")])
def test_boxes_and_accuracies_are_exactly_those_of_the_evaluator(case, multi_contour, name):
    expected = case["expected"]
    listed = expected["boxes_from_scoremaps"]
    for image, score_map in case["maps"].items():
        found = threshold_boxes(score_map, listed["thresholds"], multi_contour)
        assert [boxes.tolist() for boxes in found] == listed[name][image]
    result = metrics.max_box_accuracy(case["maps"], case["boxes"], multi_contour=multi_contour)
    assert result.best_accuracies.tolist() == expected[name]["best_accuracy_at_iou_30_50_70"]
    assert result.num_correct.argmax(1).tolist() == expected[name]["best_threshold_index_at_iou_30_50_70"]
    assert result.num_correct[1, ::10].tolist() == expected[name]["num_correct_at_iou_50_every_10th_threshold"]
    if multi_contour:
        assert result.accuracy == pytest.approx(expected["MaxBoxAccV2"], abs=1e-12)
    else:
        alone = metrics.max_box_accuracy(case["maps"], case["boxes"], iou_thresholds=(0.5,), multi_contour=False)
        assert alone.accuracy == expected["MaxBoxAcc"]


def test_overlaps_are_those_of_the_evaluator(case):
    listed = case["expected"]["iou"]
    np.testing.assert_allclose(metrics.inclusive_box_iou(listed["boxes_a"], listed["boxes_b"]), listed["value"])


def test_pxap_is_that_of_the_evaluator(case):
    io, count = case["io"], case["config"]["num_mask_images"]
    maps = metrics.evaluation_maps({str(index): io[f"pxap.raw_map.{index}"] for index in range(count)})
    masks = [np.stack([io[key] for key in sorted(io) if key.startswith(f"pxap.mask.{i}.")]) for i in range(count)]
    ignored = [io[f"pxap.ignore.{index}"] for index in range(count)]
    found = metrics.pixel_average_precision(list(maps.values()), masks, ignored)
    assert found == pytest.approx(case["expected"]["PxAP"], abs=1e-6)


def test_fixed_threshold_boxes_and_accuracies_are_those_of_the_released_code(case):
    listed = case["expected"]["fixed_threshold_0.2"]
    found = {name: fixed_threshold_box(case["raw"][name]) for name in listed["estimated_boxes"]}
    assert {name: box.tolist() for name, box in found.items()} == listed["estimated_boxes"]
    result = metrics.fixed_localization(found, case["boxes"], listed["predictions"], listed["labels"])
    assert result == {name: listed[name] for name in ("top1_cls", "gt_known_loc", "top1_loc")}


def test_distance_transform_boxes_are_those_of_the_released_code(case):
    for name, expected in case["expected"]["dt_box"]["boxes_xywh_sorted_merged"].items():
        found = distance_transform_boxes(case["io"][f"dt_box.grey.{name}"])
        found[:, 2:] -= found[:, :2]
        assert found.tolist() == expected


def test_topk_errors_are_those_of_the_development_kit(case):
    listed, labels = case["expected"]["clsloc"], case["expected"]["fixed_threshold_0.2"]["labels"]
    found = metrics.topk_localization_error(
        listed["guessed_classes"], listed["guessed_boxes"], labels, case["config"]["boxes_x0y0x1y1"]
    )
    assert found["localization_error"] == pytest.approx(listed["localization_error_top1_to_5"])
    assert found["classification_error"] == pytest.approx(listed["classification_error_top1_to_5"])


def test_blacklisted_pictures_leave_the_denominator():
    classes, boxes, labels = {"a": [1], "b": [2]}, {"a": [[0, 0, 9, 9]], "b": [[0, 0, 9, 9]]}, {"a": 1, "b": 1}
    found = metrics.topk_localization_error(classes, boxes, labels, boxes, max_k=1, blacklist=["b"])
    assert found == {"localization_error": [0.0], "classification_error": [0.0]}


@pytest.mark.parametrize("name", ["max_box_acc", "max_box_acc_v2", "pxap", "topk_error", "gt_known"])
def test_the_evaluate_module_gives_the_same_numbers_offline(case, name):
    metric = evaluate.load(str(SCRIPT), name)
    listed, expected, config = case["expected"]["clsloc"], case["expected"], case["config"]
    names = config["image_ids"]
    if name in ("topk_error", "gt_known"):
        labels = expected["fixed_threshold_0.2"]["labels"]
        metric.add_batch(
            predictions=[{"labels": listed["guessed_classes"][n], "boxes": listed["guessed_boxes"][n]} for n in names],
            references=[{"label": labels[n], "boxes": config["boxes_x0y0x1y1"][n]} for n in names],
        )
        found = metric.compute()
        if name == "topk_error":
            assert found["localization_error"] == pytest.approx(listed["localization_error_top1_to_5"])
        else:
            assert found["top1_cls"] == pytest.approx(1 - listed["classification_error_top1_to_5"][0])
    elif name == "pxap":
        metric.add(prediction=case["raw"]["im_00.jpg"], reference=(case["maps"]["im_00.jpg"] > 0.5).astype(float))
        assert metric.compute()["PxAP"] == pytest.approx(100, abs=0.5)
    else:
        metric.add_batch(
            predictions=[case["raw"][n] for n in names], references=[case["boxes"][n].tolist() for n in names]
        )
        found = metric.compute()
        key = "MaxBoxAcc" if name == "max_box_acc" else "MaxBoxAccV2"
        assert found[key] == pytest.approx(expected[key])


@given(st.lists(st.tuples(*[st.integers(0, 40)] * 4), min_size=1, max_size=6))
def test_overlaps_are_symmetric_and_one_for_equal_boxes(corners):
    boxes = np.array([(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners])
    overlaps = metrics.inclusive_box_iou(boxes, boxes)
    np.testing.assert_allclose(overlaps, overlaps.T)
    np.testing.assert_allclose(np.diag(overlaps), 1)
    assert ((overlaps >= 0) & (overlaps <= 1)).all()


BOX = {"a": np.array([[0, 0, 3, 3]])}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.max_box_accuracy({}, {}), "there are no pictures to evaluate"),
        (lambda: metrics.max_box_accuracy({"b": np.zeros((4, 4))}, BOX), "have no true boxes, the first is 'b'"),
        (lambda: metrics.max_box_accuracy({"a": np.full((4, 4), 2.0)}, BOX), r"must be in \[0, 1\]"),
        (lambda: metrics.max_box_accuracy({"a": np.zeros(4)}, BOX), "must be 2-D"),
        (lambda: metrics.inclusive_box_iou([[3, 0, 1, 1]], [[0, 0, 1, 1]]), "0 <= x0 <= x1"),
        (lambda: metrics.inclusive_box_iou([[-1, 0, 1, 1]], [[0, 0, 1, 1]]), "0 <= x0 <= x1"),
        (lambda: metrics.cam_thresholds(0), r"interval must be in \(0, 1\)"),
        (lambda: threshold_boxes(np.zeros((4, 4)), [1.0]), r"thresholds must be in \[0, 1\)"),
        (lambda: metrics.pixel_average_precision([np.zeros((4, 4))], [np.zeros((1, 4, 4))]), "no foreground pixel"),
        (lambda: metrics.pixel_average_precision([], []), "one or more maps"),
    ],
)
def test_what_cannot_be_scored_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
