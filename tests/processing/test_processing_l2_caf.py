"""The processor of L2-CAF and the pipeline and contact sheet on top of it."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, pipeline

from hf_vidmodels import L2CafForObjectLocalization, L2CafImageProcessor
from hf_vidmodels.visualization.contact_sheet import draw_contact_sheet
from method_examples import l2_caf_config


def picture(height=40, width=60, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("l2_caf")
    model = L2CafForObjectLocalization(l2_caf_config(top_k=2))
    model.save_pretrained(path)
    L2CafImageProcessor.from_config(model.config).save_pretrained(path)
    return path


def test_paths_bytes_pictures_and_arrays_give_the_same_pixels(tmp_path):
    processor = L2CafImageProcessor(size={"height": 32, "width": 32})
    image, stored = picture(), io.BytesIO()
    image.save(tmp_path / "a.png")
    image.save(stored, "PNG")
    expected = processor(image)["pixel_values"]
    assert expected.shape == (1, 3, 32, 32)
    for source in (tmp_path / "a.png", str(tmp_path / "a.png"), stored.getvalue(), np.asarray(image)):
        assert torch.equal(processor(source)["pixel_values"], expected)
    assert processor([image, picture(50, 30)])["pixel_values"].shape == (2, 3, 32, 32)


def test_missing_broken_and_no_pictures_are_named(tmp_path):
    processor = L2CafImageProcessor()
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(FileNotFoundError, match=r"there is no picture .*missing\.jpg"):
        processor(tmp_path / "missing.jpg")
    with pytest.raises(ValueError, match=r"broken\.jpg cannot be read as a picture"):
        processor(tmp_path / "broken.jpg")
    with pytest.raises(ValueError, match="at least one picture"):
        processor([])


@pytest.mark.parametrize("method", ["threshold", "fixed", "dt_box"])
def test_boxes_come_in_original_pixels_with_labels_and_scores(folder, method):
    model = L2CafForObjectLocalization.from_pretrained(folder).eval()
    processor = AutoImageProcessor.from_pretrained(folder)
    pictures = [picture(40, 60), picture(300, 200, seed=1)]
    found = model.explain(processor(pictures)["pixel_values"], objective="class_specific", thresholds=(0.2, 0.6))
    sizes = [(40, 60), (300, 200)]
    results = processor.post_process_boxes(found, sizes, method=method)
    for (height, width), result, classes in zip(sizes, results, found.class_ids, strict=True):
        assert set(result["labels"].tolist()) == set(classes.tolist())
        assert len(result["boxes"]) == len(result["scores"]) == len(result["thresholds"])
        assert (result["boxes"] <= torch.tensor([width, height, width, height])).all()
        assert ((result["scores"] > 0) & (result["scores"] < 1)).all()
    maps = processor.post_process_heatmaps(found, sizes)
    assert [tuple(heatmap.shape) for heatmap in maps] == [(2, 40, 60), (2, 300, 200)]
    with pytest.raises(ValueError, match="target_sizes must hold"):
        processor.post_process_boxes(found, sizes[:1])
    with pytest.raises(ValueError, match="method must be one of"):
        processor.post_process_boxes(found, sizes, method="best")


def test_a_box_of_a_single_bright_cell_surrounds_it():
    attention = torch.zeros(1, 1, 4, 4)
    attention[0, 0, 1, 2] = 1.0
    explanation = type("Explanation", (), {})()
    explanation.attention, explanation.class_ids, explanation.thresholds = attention, None, (0.5,)
    result = L2CafImageProcessor().post_process_boxes(explanation, [(40, 80)])[0]
    x0, y0, x1, y1 = result["boxes"][0].tolist()
    assert (x0 + x1) / 2 == pytest.approx(50, abs=2)
    assert (y0 + y1) / 2 == pytest.approx(15, abs=2)
    assert result["labels"].tolist() == [-1]


def test_the_pipeline_gives_a_box_and_a_heat_map_for_each_class(folder):
    explain = pipeline("object-localization", model=str(folder))
    image = picture()
    alone = explain(image)
    assert [answer["label"] for answer in alone] == ["all classes"]
    assert alone[0]["solver"] == "exact"
    chosen = explain(image, class_ids=[1, 3], threshold=0.5)
    assert [answer["label"] for answer in chosen] == ["LABEL_1", "LABEL_3"]
    assert all(answer["heatmap"].shape == (40, 60) for answer in chosen)
    assert len(explain([image, picture(50, 30)], objective="centered")) == 2
    with pytest.raises(ValueError, match="class id 9 is out of range"):
        explain(image, class_ids=9)


def test_the_contact_sheet_has_a_row_for_each_picture_and_a_column_for_each_class(folder):
    explain = pipeline("object-localization", model=str(folder))
    rows = [
        {"image": image, "title": name, "explanations": explain(image, objective="centered")}
        for name, image in (("a wide one", picture()), ("a tall one", picture(200, 100)))
    ]
    rows[0]["true_boxes"] = [[2, 3, 20, 30]]
    figure = draw_contact_sheet(rows, "two pictures")
    assert len(figure.axes) == 2 * 3
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[0] == "a wide one"
    assert titles[1].startswith(rows[0]["explanations"][0]["label"])
    assert len(figure.axes[1].patches) == 2
    with pytest.raises(ValueError, match="at least one picture"):
        draw_contact_sheet([])
