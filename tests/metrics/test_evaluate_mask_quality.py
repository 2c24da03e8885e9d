from pathlib import Path

import evaluate
import pytest

import hf_vidmodels.metrics.evaluate_mask_quality as metric_module
from hf_vidmodels.metrics.evaluate_mask_quality import InstanceMaskQuality
from hf_vidmodels.metrics.mask_average_precision import coco_average_precision
from hf_vidmodels.metrics.mask_quality import mask_quality
from mask_examples import boxes, random_pictures


def test_mean_iou_takes_instances_in_batches(tmp_path):
    true = boxes((0, 0, 10, 10), (0, 0, 10, 10), (5, 5, 30, 30))
    found = boxes((0, 0, 10, 10), (0, 0, 10, 5), (4, 4, 30, 32))
    references = [
        {**rle, "label": label, "box_area": area}
        for rle, label, area in zip(true, (0, 1, 1), (9, 2000, 1e4), strict=True)
    ]
    metric = InstanceMaskQuality("miou", cache_dir=tmp_path)
    metric.add_batch(predictions=found[:2], references=references[:2])
    metric.add(prediction=found[2], reference=references[2])
    scores = metric.compute(class_names=["person", "couch"])
    assert scores == mask_quality(found, true, [0, 1, 1], [9, 2000, 1e4], ["person", "couch"]).to_metrics()
    assert 0 < scores["mIoU_semi_stuff"] < 1


@pytest.mark.parametrize("backend", ["pycocotools", "faster"])
def test_mask_ap_is_that_of_the_same_instances_in_a_file(tmp_path, backend):
    predictions, truth = random_pictures(1)
    per_picture = [
        [
            {key: row[key] for key in ("segmentation", "category_id", *keys)}
            for row in rows
            if row["image_id"] == image["id"]
        ]
        for rows, keys in ((predictions, ("score",)), (truth["annotations"], ("area", "iscrowd")))
        for image in truth["images"]
    ]
    half = len(truth["images"])
    found, true = per_picture[:half], per_picture[half:]
    assert any(not picture for picture in true)
    metric = InstanceMaskQuality("mask_ap", cache_dir=tmp_path)
    scores = metric.compute(predictions=found, references=true, backend=backend)
    assert scores == pytest.approx(coco_average_precision(predictions, truth), abs=1e-12)
    without_scores = [[{**row, "score": None} for row in picture] for picture in found]
    unit = InstanceMaskQuality("mask_ap", cache_dir=tmp_path).compute(predictions=without_scores, references=true)
    assert unit == coco_average_precision([{**row, "score": 1.0} for row in predictions], truth)


def test_evaluate_loads_it_from_its_path_without_network(tmp_path):
    metric = evaluate.load(str(Path(metric_module.__file__)), "retention", cache_dir=str(tmp_path))
    assert metric.compute(predictions=[0.38], references=[0.4]) == {"retention_rate": pytest.approx(95)}
    assert "retention_rate" in metric.inputs_description


def test_an_unknown_configuration_and_several_retentions_are_refused(tmp_path):
    with pytest.raises(ValueError, match="must be one of miou, mask_ap, retention, got 'default'"):
        InstanceMaskQuality(cache_dir=tmp_path)
    with pytest.raises(ValueError, match="one mask AP with one, got 2"):
        InstanceMaskQuality("retention", cache_dir=tmp_path).compute(predictions=[1, 2], references=[1, 2])
