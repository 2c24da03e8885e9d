from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from action_detection_examples import KnownActions, perfect_answers
from hf_vidmodels import StepForActionDetection, StepVideoProcessor, VideoResNetConfig
from hf_vidmodels.data.contracts import features_for
from hf_vidmodels.data.embedded.embedded_corpora import EMBEDDED_CORPORA, load_embedded_corpus
from hf_vidmodels.data.embedded.embedded_motions import ACTIONS
from hf_vidmodels.evaluation.action_detection_evaluation import evaluate_detection
from hf_vidmodels.evaluation.answer_forms import prepare_to_answer, refuse_absent_step
from hf_vidmodels.evaluation.detected_tubes import annotated_tubes, frame_numbers, rules_for, tubelets_of
from hf_vidmodels.evaluation.scored_corpora import refuse_other_classes
from hf_vidmodels.modeling.modeling_video_resnet import VideoResNetForActionDetection
from hf_vidmodels.processing.processing_video_resnet import VideoResNetVideoProcessor
from hf_vidmodels.tasks import BFLOAT16
from method_examples import step_config

NAMES = dict(enumerate(ACTIONS))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    parameters = replace(EMBEDDED_CORPORA["tubes"].parameters, splits=(("test", 3),), num_frames=(80, 110))
    return load_embedded_corpus(
        "tubes", cache_dir=tmp_path_factory.mktemp("cache"), split="test", parameters=parameters
    )


def detector(answers, **config):
    return KnownActions(SimpleNamespace(id2label=NAMES, num_labels=len(NAMES), **config), answers)


def evaluate(model, dataset, **options):
    return evaluate_detection(model, None, dataset, split="test", **options)


def test_a_perfect_detector_scores_one(corpus):
    model = detector(perfect_answers(corpus, len(NAMES)))
    result = evaluate(model, corpus)
    assert result.metrics["mAP@0.5"] == 1.0
    assert result.num_examples == len(corpus)
    assert {name for name in result.metrics if name.startswith("video_")} == {"video_mAP@0.2", "video_mAP@0.5"}
    assert result.metrics["video_mAP@0.2"] > 0
    assert len(model.asked) == 3
    assert set(result.figures) == {"detections"}
    found = result.predictions["test_00000"][0]
    assert found["labels"] == [NAMES[label] for labels in corpus[0]["labels"] for label in labels]
    columns = {row[0]: row[1] for row in result.tables[1]["rows"]}
    assert sum(columns.values()) == sum(len(labels) for row in corpus["labels"] for labels in row)


def test_a_worse_detector_scores_less_and_act_counts_in_pixels(corpus):
    answers = perfect_answers(corpus, len(NAMES))
    for of_video in answers.values():
        for found in of_video.values():
            found["scores"] = np.roll(found["scores"], 1, axis=1)
    assert evaluate(detector(answers), corpus).metrics["mAP@0.5"] < 0.4
    perfect = evaluate(detector(perfect_answers(corpus, len(NAMES))), corpus, rules="act")
    assert perfect.metrics["mAP@0.5"] == pytest.approx(1.0)


def test_a_step_is_passed_on_only_where_it_is_asked_for(corpus):
    model = detector(perfect_answers(corpus, len(NAMES)))
    evaluate(model, corpus)
    evaluate(model, corpus, step=1)
    assert {step for *_, step in model.asked} == {None, 1}


@pytest.mark.parametrize("step", [-1, 3])
def test_a_step_that_the_model_lacks_is_refused(step):
    with pytest.raises(ValueError, match=f"--step must be one of the model's steps, 0 to 2, got {step}"):
        refuse_absent_step(detector({}, num_steps=3), step)
    refuse_absent_step(detector({}, num_steps=3), 2)
    refuse_absent_step(detector({}), None)


def test_steps_are_found_in_bfloat16_with_boxes_and_scores_in_float32():
    torch.manual_seed(0)
    config = step_config(freeze_batch_norm_stats=True)
    model, processor = StepForActionDetection(config).eval(), StepVideoProcessor.from_config(config)
    film = np.random.default_rng(0).integers(0, 256, (60, 48, 64, 3), dtype=np.uint8)

    def proposed():
        clips = processor(film, timestamps=1.0, fps=25)["pixel_values"].to(model.dtype)
        with torch.no_grad():
            outputs = model(clips)
        (found,) = model.detect_actions(film, processor, timestamps=[1.0], fps=25)
        return outputs, found

    (exact, _), _ = proposed(), prepare_to_answer(model, BFLOAT16)
    rounded, found = proposed()
    assert model.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.logits.float(), exact.logits, atol=0.02, rtol=0.05)
    torch.testing.assert_close(rounded.pred_boxes, exact.pred_boxes, atol=0.5, rtol=0)
    assert found["boxes"].dtype == found["scores"].dtype == np.float32


def test_excluded_key_frames_are_not_looked_at(corpus):
    excluded = [row % 2 == 0 for row in range(len(corpus))]
    model = detector(perfect_answers(corpus, len(NAMES)))
    result = evaluate(model, corpus.add_column("excluded", excluded))
    assert result.num_examples == len(corpus) - sum(excluded)
    assert sum(len(times) for _, times, _ in model.asked) == result.num_examples


def test_a_split_without_annotations_is_refused(corpus):
    empty = corpus.map(lambda row: {"boxes": [], "labels": [], "actor_ids": [], "starts": [], "ends": []})
    with pytest.raises(ValueError, match="nothing is annotated in the .* rows of split 'test'"):
        evaluate(detector({}), empty)


def test_without_persons_only_frames_are_scored(corpus):
    model = detector(perfect_answers(corpus, len(NAMES)))
    assert set(evaluate(model, corpus.remove_columns(["actor_ids"])).metrics) == {"mAP@0.5"}


def test_processes_share_the_videos_and_agree_with_one(corpus, monkeypatch):
    from hf_vidmodels.evaluation import action_detection_evaluation as module

    answers = perfect_answers(corpus, len(NAMES))
    one = evaluate(detector(answers), corpus)
    parts = []
    for gathered in (None, parts):
        for number in range(2):
            process = SimpleNamespace(process_index=number, num_processes=2, is_main_process=True, print=print)

            def gather(found, gathered=gathered):
                if gathered is None:
                    parts.extend(found)
                    raise InterruptedError
                return gathered

            monkeypatch.setattr(module, "gather_object", gather)
            try:
                two = evaluate(detector(answers), corpus, accelerator=process)
            except InterruptedError:
                continue
            assert two.metrics == one.metrics
            assert two.predictions == one.predictions
    assert len(parts) == 3


def test_a_model_that_needs_boxes_is_given_the_proposals_or_the_true_boxes(corpus):
    config = VideoResNetConfig.from_preset(
        "tiny-slow", num_labels=len(NAMES), id2label=NAMES, label2id={name: label for label, name in NAMES.items()}
    )
    model = VideoResNetForActionDetection(config).eval()
    processor = VideoResNetVideoProcessor.from_config(config, size={"shortest_edge": 40}, sampling_rate=4)
    with pytest.warns(UserWarning, match="given the true boxes"):
        result = evaluate_detection(model, processor, corpus, split="test", batch_size=2)
    assert "on the true boxes" in result.tables[0]["title"]
    proposals = [[[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]] for _ in range(len(corpus))]
    scored = corpus.add_column("proposals", proposals).add_column("proposal_scores", [[0.9, 0.2]] * len(corpus))
    result = evaluate_detection(model, processor, scored, split="test", proposal_threshold=0.8)
    boxes = {tuple(box) for of_video in result.predictions.values() for row in of_video for box in row["boxes"]}
    assert boxes == {(0.0, 0.0, 0.5, 0.5)}


def test_a_model_of_60_classes_is_not_scored_on_80():
    names = [f"action {number}" for number in range(80)]
    with pytest.raises(ValueError, match="different classes: 60 against 80 classes"):
        refuse_other_classes(
            dict(enumerate(names[:60])), features_for("action-detection", ["labels"], names)["labels"]
        )


def test_tubes_become_tubelets_over_the_key_times_that_they_cover():
    tubes = np.array([[[0, 0, 1, 1], [1, 0, 2, 1], [2, 0, 3, 1]]], dtype=float)
    detections = [
        {
            "timestamp": time,
            "boxes": tubes[:, 1],
            "scores": np.ones((1, 2)),
            "tubes": tubes,
            "tube_times": np.array([time - 1, time, time + 1]),
        }
        for time in (2.0, 2.5, 4.0)
    ]
    boxes, scores, starts = tubelets_of(detections, np.array([2.0, 2.5, 4.0]))
    assert boxes.shape == (3, 5, 4) and scores.shape == (3, 2)
    np.testing.assert_allclose(boxes[0, :, 0], [0, 0.5, 1, 1.5, 2])
    assert starts.tolist() == [-2, -1, 2]


def test_detections_without_tubes_cover_their_key_time():
    detections = [{"timestamp": 1.0, "boxes": np.ones((2, 4)), "scores": np.ones((2, 3))}]
    boxes, _, starts = tubelets_of(detections, np.array([1.0]))
    assert boxes.shape == (2, 1, 4) and starts.tolist() == [0, 0]


def test_gaps_between_key_times_are_counted():
    assert frame_numbers(np.array([2.0, 3.0, 6.0])).tolist() == [0, 1, 4]
    rules = rules_for(np.arange(0, 2, 1 / 25), inclusive=True)
    assert (rules.shortest, rules.longest_gap) == (15, 5)
    assert rules_for(np.arange(5.0), inclusive=False).shortest == 1


def test_one_person_doing_one_thing_from_one_beginning_is_one_tube():
    row = {"boxes": [[0, 0, 1, 1]], "labels": [[3, 4]], "actor_ids": [7]}
    rows = [row | {"starts": [0.5]}, row | {"starts": [0.5]}, row | {"starts": [2.5]}]
    tubes = annotated_tubes(rows, np.array([1.0, 2.0, 3.0]))
    assert [(tube["label"], tube["frames"].tolist()) for tube in tubes] == [
        (3, [0, 1]),
        (4, [0, 1]),
        (3, [2]),
        (4, [2]),
    ]
