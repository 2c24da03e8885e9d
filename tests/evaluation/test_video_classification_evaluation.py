import os
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, List

from hf_vidmodels import (
    GtaConfig,
    GtaForVideoClassification,
    GtaVideoProcessor,
    SttsConfig,
    SttsForVideoClassification,
    SttsVideoProcessor,
)
from hf_vidmodels.data.corpora import load_corpus
from hf_vidmodels.evaluation.answer_forms import prepare_to_answer
from hf_vidmodels.evaluation.class_scores import require_labels
from hf_vidmodels.evaluation.video_classification_evaluation import (
    draw_kept_examples,
    evaluate_video_classifier,
    measured_multiply_adds,
)
from hf_vidmodels.metrics.multi_label_classification import mean_average_precision
from hf_vidmodels.modeling.multiply_adds import multiply_adds
from hf_vidmodels.tasks import BFLOAT16
from stts_corpus import make_corpus


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return load_corpus(str(make_corpus(tmp_path_factory.mktemp("corpora"), train=1, test=5)))["test"]


def make_model(**changes):
    torch.manual_seed(0)
    id2label = dict(enumerate(["blink", "bounce", "pulse", "spin", "swing"]))
    config = SttsConfig.from_preset("tiny-mvit", id2label=id2label, num_noise_samples=20, **changes)
    return SttsForVideoClassification(config).eval()


def make_processor(model, **changes):
    return SttsVideoProcessor.from_config(model.config, size={"shortest_edge": 32}, **changes)


def test_every_video_is_scored_once_by_all_its_views(videos):
    model = make_model()
    processor = make_processor(model, sampling_rate=1)
    evaluation = evaluate_video_classifier(model, processor, videos, split="test", num_views=3, batch_size=4)
    expected = []
    for row in videos:
        views = processor(row["video"], num_views=3)["pixel_values"][0]
        with torch.no_grad():
            expected.append(int(model(views).logits.softmax(-1).sum(0).argmax()))
    accuracy = np.mean(np.array(expected) == videos["label"])
    assert evaluation.metrics["top1_accuracy"] == pytest.approx(accuracy)
    assert evaluation.num_examples == 5 and evaluation.primary_metric == "top1_accuracy"
    found = evaluation.predictions["results"]
    assert [found[f"test_{number:05d}.mp4"][0]["label"] for number in range(5)] == [
        model.config.id2label[label] for label in expected
    ]
    assert sum(answer["score"] for answer in found["test_00000.mp4"]) == pytest.approx(1, abs=1e-5)


def test_one_table_holds_accuracies_and_cost(videos):
    model = make_model()
    evaluation = evaluate_video_classifier(
        model, make_processor(model), videos, split="test", num_views=1, batch_size=2
    )
    (table,) = evaluation.tables
    rows = dict(table["rows"])
    assert table["title"] == "5 test videos, 1 x 1 views of each"
    assert rows["GFLOPs a view, measured"] * 1e9 == measured_multiply_adds(model)
    assert rows["GFLOPs a view, closed form"] * 1e9 == multiply_adds(model.config)["total"]
    assert rows["clips a second"] > 0 and rows["unreadable videos"] == 0
    assert set(evaluation.metrics) == {"top1_accuracy", "mean_class_accuracy", "soft_top1_accuracy"}
    assert rows["top1 accuracy"] == evaluation.metrics["top1_accuracy"]
    # One forward pass only warms up: nothing was timed, and nothing is said of it.
    untimed = evaluate_video_classifier(
        model, make_processor(model), videos, split="test", num_views=1, batch_size=len(videos)
    )
    assert "clips a second" not in dict(untimed.tables[0]["rows"])
    quick = evaluate_video_classifier(model, make_processor(model), videos, split="test", num_views=1, is_final=False)
    assert quick.metrics == {name: evaluation.metrics[name] for name in ("top1_accuracy", "mean_class_accuracy")}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"selection_mode": "none"},
        {"selection_mode": "uniform"},
        {"hidden_size": 16, "temporal_keep_ratios": (0.75,), "num_frames": 16},
    ],
)
def test_torchs_counter_misses_what_the_network_leaves_out_of_the_closed_form(changes):
    model = make_model(**changes)
    assert 0.5 < measured_multiply_adds(model) / multiply_adds(model.config)["total"] < 1


def test_both_ways_of_counting_agree_for_video_swin():
    model = SttsForVideoClassification(SttsConfig.from_preset("tiny-video-swin")).eval()
    assert measured_multiply_adds(model) == pytest.approx(multiply_adds(model.config)["total"], rel=0.01)


def test_unreadable_videos_are_named_and_do_not_count(videos, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    mixed = Dataset.from_list([*videos, {"video": str(bad), "label": 0}], features=videos.features)
    model = make_model()
    processor = make_processor(model)
    evaluation = evaluate_video_classifier(model, processor, mixed, split="test", num_views=1, is_final=False)
    assert evaluation.num_examples == 5
    # Without the folders that all videos share.
    common = os.path.commonpath([tmp_path, *(Path(row["video"]["path"]).parent for row in videos)])
    assert evaluation.predictions["unreadable"] == [str(bad.relative_to(common))]
    assert dict(evaluation.tables[0]["rows"])["unreadable videos"] == 1
    many = Dataset.from_dict({"video": [str(tmp_path / f"{n}.mp4") for n in range(3)], "label": [0] * 3})
    with pytest.raises(ValueError, match="3 of 3 videos cannot be read"):
        evaluate_video_classifier(
            model, processor, many.cast(videos.features), split="test", num_views=1, is_final=False
        )


def test_videos_of_several_classes_are_scored_by_mean_average_precision(videos):
    features = videos.features.copy()
    features["label"] = List(ClassLabel(names=["blink", "bounce", "pulse", "spin", "swing"]))
    labels = [[0, 1], [1], [0], [1, 2, 4], [4]]
    several = Dataset.from_list(
        [{**row, "label": classes} for row, classes in zip(videos, labels, strict=True)], features=features
    )
    model = make_model(problem_type="multi_label_classification")
    processor = make_processor(model, view_aggregation="max")
    evaluation = evaluate_video_classifier(model, processor, several, split="test", num_views=2)
    scores = []
    for row in videos:
        with torch.no_grad():
            scores.append(model(processor(row["video"], num_views=2)["pixel_values"][0]).logits.sigmoid().amax(0))
    multi_hot = np.array([[int(label in classes) for label in range(5)] for classes in labels])
    expected = mean_average_precision(torch.stack(scores).numpy(), multi_hot)
    assert evaluation.primary_metric == "mAP" and evaluation.metrics["mAP"] == pytest.approx(expected)
    assert set(evaluation.metrics) == {"mAP", "soft_mAP"}
    best = evaluation.predictions["results"]["test_00000.mp4"][0]
    assert best["score"] == pytest.approx(float(scores[0].max()), abs=1e-5)
    assert f"true: {', '.join(model.config.id2label[label] for label in (0, 1))}" in (
        evaluation.figures["kept_tokens_1"].get_suptitle()
    )


def test_labels_of_another_kind_than_the_models_are_refused(videos):
    model = make_model(problem_type="multi_label_classification")
    with pytest.raises(ValueError, match="have one class each, but the model has problem_type multi_label"):
        evaluate_video_classifier(model, make_processor(model), videos, split="test")


def test_what_was_kept_is_drawn_under_the_true_class(videos):
    model = make_model()
    figures = draw_kept_examples(model, make_processor(model), videos)
    assert list(figures) == ["kept_tokens_1", "kept_tokens_2", "kept_tokens_3"]
    head = figures["kept_tokens_1"].get_suptitle()
    assert f"true: {model.config.id2label[videos[0]['label']]}" in head and "looked at 4 of 8 frames" in head


def test_videos_without_a_class_or_with_several_are_refused():
    label = ClassLabel(names=["a", "b"])
    split = Dataset.from_dict({"label": [0, None]}, features=Features({"label": label}))
    with pytest.raises(ValueError, match="1 of 2 videos of split 'test' have no label"):
        require_labels(split, "test")
    split = Dataset.from_dict({"label": [[0, 1]]}, features=Features({"label": List(label)}))
    with pytest.raises(ValueError, match="have lists of labels"):
        require_labels(split, "test")


@pytest.mark.parametrize(
    ("fields", "drawn"),
    [
        ({}, {"temporal_matrices", "regions_1", "regions_2", "regions_3"}),
        ({"use_region_branch": False}, {"temporal_matrices"}),
        ({"attention_type": "joint"}, set()),
    ],
)
def test_how_a_network_mixes_frames_is_drawn(videos, fields, drawn):
    config = GtaConfig.from_preset("tiny-gta", id2label=make_model().config.id2label, **fields)
    processor = GtaVideoProcessor.from_config(config)
    model = GtaForVideoClassification(config).eval()
    evaluation = evaluate_video_classifier(model, processor, videos, split="test")
    assert set(evaluation.figures) == drawn
    if "regions_1" in drawn:
        assert model.config.id2label[videos[0]["label"]] in evaluation.figures["regions_1"].get_suptitle()


def logits_before_and_after(method, mixed_precision=None):
    """A small model that was prepared to answer, and its logits before and after."""
    torch.manual_seed(0)
    model = make_model() if method == "stts" else GtaForVideoClassification(GtaConfig.from_preset("tiny-gta")).eval()
    clips = torch.randn(2, model.config.num_frames, 3, 32, 32)
    with torch.no_grad():
        expected = model(clips).logits
        prepare_to_answer(model, mixed_precision)
        return model, expected, model(clips).logits


@pytest.mark.parametrize("method", ["stts", "gta"])
def test_a_model_computes_in_bfloat16_and_answers_in_float32(method):
    _, expected, found = logits_before_and_after(method, BFLOAT16)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0.05)
    assert not torch.equal(found, expected)


@pytest.mark.parametrize("method", ["stts", "gta"])
def test_a_model_answers_the_same_in_its_fastest_form(method):
    model, expected, found = logits_before_and_after(method)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    has_norms = any(isinstance(module, torch.nn.BatchNorm3d) for module in model.modules())
    assert not has_norms or method == "stts"
