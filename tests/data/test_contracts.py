import re

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, List, Value, Video
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_vidmodels.data.contracts import (
    describe_task,
    features_for,
    find_problems,
    infer_task,
    task_contract,
    unread_columns,
    validate_corpus,
)
from hf_vidmodels.tasks import TASKS

TEMPORAL = "temporal-action-localization"
NAMES = ["archery", "diving"]


def temporal(rows, **types):
    """A split of untrimmed videos; each row overrides a valid one."""
    valid = {
        "features": "a.npy",
        "duration": 10.0,
        "fps": 25.0,
        "labels": [0],
        "segments": [{"start": 1.0, "end": 2.0, "label": 0}],
        "subset": None,
    }
    rows = [{"video_id": f"v{index}"} | valid | row for index, row in enumerate(rows)]
    columns = list(rows[0]) if rows else ["video_id", *valid]
    features = features_for(TEMPORAL, columns, NAMES)
    features.update(types)
    return Dataset.from_dict({name: [row[name] for row in rows] for name in columns}, features=features)


def segment(start, end, label=0):
    return {"start": start, "end": end, "label": label}


def sentences(dataset, task=TEMPORAL, severity="error", **options):
    return [p.sentence for p in find_problems(dataset, task, **options) if p.severity == severity]


def picture():
    return {"bytes": None, "path": "never_opened.png"}


OBJECT = {"id": 1, "bbox": [1, 2, 3, 4], "category": 1, "area": 12.0, "iscrowd": 0}
VALID = {
    "image-classification": {"image": [picture(), picture()], "label": [1, None]},
    "video-classification": {"video": [picture()], "label": [1]},
    "motion-pretraining": {"video": [picture()]},
    "mask-labeling": {
        "image": [picture()],
        "image_id": ["a"],
        "objects": [[OBJECT]],
    },
    TEMPORAL: {"video_id": ["a"], "features": ["a.npy"], "duration": [3.0], "labels": [[0, 1]]},
    "action-detection": {
        "video_id": ["a", "a"],
        "video": ["a.mp4", "a.mp4"],
        "timestamp": [0.0, 1.0],
        "boxes": [[[0, 0, 0.5, 1]], []],
        "labels": [[[0, 1]], []],
    },
    "object-localization": {"image": [picture()], "label": [0], "bbox": [[1, 2, 3, 4]]},
}


def valid(task, **changes):
    columns = VALID[task] | changes
    return Dataset.from_dict(columns, features=features_for(task, columns, NAMES))


def people(**columns):
    """Two timestamps of one video, one person in the first; further columns are those of the contract."""
    return valid("action-detection", **columns)


def test_people_may_have_ids_tubes_and_proposals():
    dataset = people(
        actor_ids=[[3], []],
        starts=[[0.0], None],
        ends=[[None], []],
        proposals=[[[0, 0, 1, 1], [0, 0.5, 0.5, 1]], None],
        proposal_scores=[[0.5, 1.0], None],
        excluded=[False, None],
        fps=[30.0, None],
    )
    assert find_problems(dataset, "action-detection") == []


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ({"actor_ids": [[3, 4], []]}, "1 rows have not as many entries in actor_ids as boxes"),
        (
            {"boxes": [[[0, 0, 1, 1]] * 2, []], "labels": [[[0], [1]], []], "actor_ids": [[3, 3], []]},
            "one actor twice",
        ),
        ({"starts": [[0.5], []]}, "have starts after their own time"),
        ({"ends": [[-0.5], []]}, "have ends before their own time"),
        ({"proposals": [[[0, 0, 400, 300]], []]}, r"have a proposals outside \[0, 1\] .*divide pixel coordinates"),
        ({"proposals": [[[0, 0, 1, 1]], []], "proposal_scores": [[], []]}, "entries in proposal_scores as proposals"),
        ({"proposals": [[[0, 0, 1, 1]], []], "proposal_scores": [[1.5], []]}, r"proposal_scores outside \[0, 1\]"),
        ({"fps": [0.0, None]}, "no usable fps"),
    ],
)
def test_what_is_said_of_people_must_fit_them(columns, found):
    (sentence,) = sentences(people(**columns), "action-detection")
    assert re.search(found, sentence)


def test_a_video_of_several_classes_names_each_once_and_may_be_unlabelled_outside_of_training():
    features = features_for("video-classification", ["video", "label"], NAMES)
    features["label"] = List(features["label"])
    videos = [{"bytes": None, "path": f"{index}.mp4"} for index in range(3)]
    dataset = Dataset.from_dict({"video": videos, "label": [[0, 1], [1], None]}, features=features)
    assert sentences(DatasetDict({"test": dataset}), "video-classification") == []
    (sentence,) = sentences(DatasetDict({"train": dataset}), "video-classification")
    assert "1 rows have no label (row 2)" in sentence
    twice = Dataset.from_dict({"video": videos, "label": [[0, 1], [1, 1], [0]]}, features=features)
    (sentence,) = sentences(twice, "video-classification")
    assert "1 rows have a class twice in 'label' (row 1)" in sentence


@pytest.mark.parametrize("task", TASKS)
def test_every_task_accepts_its_own_columns_and_is_recognised_by_them(task):
    dataset = valid(task)
    assert find_problems(dataset, task) == []
    validate_corpus(DatasetDict({"train": dataset}), task)
    assert infer_task(dataset.column_names, "pets") == task


@pytest.mark.parametrize("task", TASKS)
def test_every_missing_column_is_named_with_what_was_found(task):
    for name in VALID[task]:
        dataset = valid(task).remove_columns(name)
        with pytest.raises(ValueError, match=rf"{task} needs a column '{name}'.*; columns found: "):
            validate_corpus(dataset, task)


@pytest.mark.parametrize("task", TASKS)
def test_the_description_names_every_column(task):
    text = describe_task(task)
    assert all(f"  {column.name}: {column.meaning}" in text for column in task_contract(task).columns)


def test_a_misspelt_column_gets_the_way_out():
    dataset = temporal([{}]).rename_column("labels", "label").rename_column("segments", "segment")
    (message,) = sentences(dataset)
    assert "needs a column 'labels' (classes that occur in the video)" in message
    assert "label (List(ClassLabel))" in message and "rename 'label' to 'labels'?" in message
    assert unread_columns(dataset.column_names, TEMPORAL) == [
        "the column 'label' is not read (did you mean 'labels'?)",
        "the column 'segment' is not read (did you mean 'segments'?)",
    ]


def test_one_of_features_and_video_is_enough():
    assert sentences(temporal([{}])) == []
    assert sentences(temporal([{}]).rename_column("features", "video")) == []
    assert "needs a column 'features' or 'video'" in sentences(temporal([{}]).remove_columns("features"))[0]


@pytest.mark.parametrize(
    ("name", "type_", "value"),
    [
        ("labels", List(Value("string")), ["archery"]),
        ("labels", ClassLabel(names=NAMES), 0),
        ("duration", Value("string"), "10"),
        ("segments", List({"start": Value("float64"), "stop": Value("float64")}), [{"start": 0, "stop": 1}]),
        ("video_id", Value("int64"), 7),
    ],
)
def test_a_column_of_the_wrong_type_is_named_with_found_and_needed(name, type_, value):
    (message,) = sentences(temporal([{name: value}], **{name: type_}))
    assert f"the column '{name}'" in message and f"but {TEMPORAL} needs" in message


@pytest.mark.parametrize(
    ("name", "type_", "value"),
    [
        ("features", List(Value("string")), ["rgb.npy", "flow.npy"]),
        ("features", List(List(Value("float32"))), [[1.0, 2.0]]),
        ("duration", Value("float32"), 10),
        ("duration", Value("int32"), 10),
        ("fps", Value("null"), None),
        ("video_id", Value("large_string"), "a"),
    ],
)
def test_types_that_hold_the_same_are_accepted(name, type_, value):
    assert sentences(temporal([{name: value}], **{name: type_})) == []


def test_videos_must_not_be_decoded_by_the_column():
    dataset = Dataset.from_dict(
        {"video": [], "label": []}, Features({"video": Video(), "label": ClassLabel(names=NAMES)})
    )
    assert (
        "is Video(decode=True) but video-classification needs Video(decode=False)"
        in sentences(dataset, "video-classification")[0]
    )


def test_an_unknown_task_is_named_with_the_nearest():
    with pytest.raises(ValueError, match=r"no task 'image-clasification' \(did you mean 'image-classification'\?\)"):
        validate_corpus(temporal([{}]), "image-clasification")
    with pytest.raises(ValueError, match="pets: the columns text are those of no task"):
        infer_task(["text"], "pets")


def test_an_empty_split_is_an_error():
    corpus = DatasetDict({"train": temporal([{}]), "test": temporal([])})
    assert sentences(corpus) == ["split 'test' is empty; give it at least one example or leave it out"]
    assert sentences(DatasetDict()) == ["the corpus has no split"]


def test_duplicate_and_missing_video_ids_are_named():
    rows = [{"video_id": name} for name in ("a", "b", "a", "c", "b", None, "")]
    missing, twice = sentences(temporal(rows))
    assert "2 video_ids occur more than once (a, b)" in twice
    assert "2 rows have no video_id (row 5, row 6)" in missing


def test_a_video_in_two_splits_is_named():
    corpus = DatasetDict({"train": temporal([{}, {}]), "test": temporal([{}])})
    (message,) = sentences(corpus)
    assert message == "1 video_ids are in split 'train' and in split 'test' (v0); remove them from one of the two"


@pytest.mark.parametrize("duration", [np.nan, np.inf, 0.0, -1.0, None])
def test_an_unusable_duration_is_named(duration):
    (message,) = sentences(temporal([{}, {"duration": duration, "segments": []}]))
    assert "1 rows have no usable duration" in message and "(v1)" in message


def test_the_rate_may_be_unknown_but_not_wrong():
    assert sentences(temporal([{"fps": None}])) == []
    assert "no usable fps (found: 0)" in sentences(temporal([{"fps": 0.0}]))[0]


def test_videos_without_labels_stop_training_but_not_evaluation():
    corpus = DatasetDict({"train": temporal([{"labels": []}]), "test": temporal([{"video_id": "t", "labels": []}])})
    assert sentences(corpus) == [
        "split 'train': 1 videos have no labels (v0); training needs at least one class for each video"
    ]
    assert "split 'test': 1 videos have no labels (t)" in sentences(corpus, severity="warning")[0]


def test_segments_that_end_before_they_start_are_counted_and_named():
    rows = [{"segments": [segment(0, 1), segment(5, 3)]}] * 7
    (message,) = sentences(temporal([{"video_id": f"v{i}"} | row for i, row in enumerate(rows)]))
    assert "7 segments end before they start (v0 [5, 3], v1 [5, 3]" in message
    assert "and 2 more" in message and "swap or remove" in message


def test_times_that_are_no_numbers_or_negative_are_errors_and_zero_length_is_a_warning():
    dataset = temporal([{"segments": [segment(np.nan, 1), segment(-1, 1), segment(2, 2), segment(None, 1)]}])
    not_number, negative = sentences(dataset)
    assert "2 segments have a start or end that is not a number" in not_number
    assert "1 segments start before the video (v0 [-1, 1])" in negative
    assert "1 segments have no length" in sentences(dataset, severity="warning")[0]


def test_segments_beyond_the_duration_are_an_error_that_can_be_allowed():
    dataset = temporal([{}, {"segments": [segment(1, 10.4), segment(9, 10.6), segment(9, 99)]}])
    (message,) = sentences(dataset)
    assert "2 segments in 1 videos reach beyond the end" in message
    assert "(v1 ends at 10 s, its last segment at 99 s)" in message and "allow_out_of_duration" in message
    assert sentences(dataset, allow_out_of_duration=True) == []
    with pytest.warns(UserWarning, match="2 segments in 1 videos"):
        validate_corpus(dataset, TEMPORAL, allow_out_of_duration=True)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(-2, 14), st.integers(-2, 14)), max_size=4), min_size=1, max_size=5))
def test_counts_of_bad_segments_equal_a_plain_loop(videos):
    dataset = temporal([{"segments": [segment(*times) for times in video]} for video in videos])
    times = [pair for video in videos for pair in video]
    counted = {
        "end before they start": sum(end < start for start, end in times),
        "start before the video": sum(start < 0 for start, _ in times),
        "have no length": sum(end == start for start, end in times),
        "reach beyond": sum(end > 10.5 for _, end in times),
    }
    found = sentences(dataset) + sentences(dataset, severity="warning")
    for what, count in counted.items():
        reported = [int(sentence.split()[2]) for sentence in found if what in sentence]
        assert sum(reported) == count


def test_class_ids_outside_the_list_are_named():
    wide = temporal([{}, {"labels": [2, 0]}], labels=List(ClassLabel(num_classes=3)))
    dataset = Dataset(wide.data.table.replace_schema_metadata(None), info=temporal([{}]).info)
    assert sentences(dataset) == [
        "the corpus: 1 rows have an unknown class in 'labels': 2 (v1); class ids go from 0 to 1"
    ]


def test_splits_with_different_class_lists_are_refused():
    other = temporal([{"video_id": "t"}], labels=List(ClassLabel(names=NAMES[::-1])))
    (message,) = sentences(DatasetDict({"train": temporal([{}]), "test": other}))
    assert "different lists of classes in the column 'labels' (train: 2, test: 2)" in message


def test_classes_without_a_training_example_are_a_warning():
    corpus = DatasetDict({"train": temporal([{}]), "test": temporal([{"video_id": "t", "labels": [0, 1]}])})
    assert sentences(corpus) == []
    assert "1 classes have no example in split 'train' (diving)" in sentences(corpus, severity="warning")[0]


def test_all_kinds_of_errors_are_raised_together():
    dataset = temporal([{"video_id": "a", "segments": [segment(5, 3)]}, {"video_id": "a", "duration": np.nan}])
    with pytest.raises(ValueError) as error:
        validate_corpus(dataset, TEMPORAL)
    assert all(part in str(error.value) for part in ("more than once (a)", "end before they start", "usable duration"))


@pytest.mark.parametrize(
    ("task", "column", "value", "message"),
    [
        ("mask-labeling", "image_id", [None], "1 rows have no image_id"),
        ("mask-labeling", "objects", [[OBJECT, OBJECT]], r"1 ids of objects occur more than once \(annotation 1\)"),
        ("mask-labeling", "objects", [[OBJECT | {"bbox": [1, 2, 0, 4]}]], "bbox .* of annotation 1 has no positive"),
        ("mask-labeling", "objects", [[OBJECT | {"id": None, "bbox": [1, 2, -3, 4]}]], "of an object of a has no"),
        ("mask-labeling", "objects", [[OBJECT | {"category": None}]], "unknown class in 'category': null"),
        ("object-localization", "bbox", [[5, 2, 3, 4]], "1 rows have a bbox of no width or height"),
        ("object-localization", "bbox", [[np.nan, 2, 3, 4]], "NaN or infinite numbers in bbox"),
        ("object-localization", "label", [None], "unknown class in 'label': null"),
        ("action-detection", "boxes", [[[0, 0, 0.5, 1.5]], []], r"1 rows have a boxes outside \[0, 1\] \(a\)"),
        ("action-detection", "labels", [[], []], "not as many entries in labels as boxes"),
        ("action-detection", "timestamp", [1.0, 1.0], r"several rows for one timestamp"),
        ("action-detection", "timestamp", [np.nan, 1.0], "no usable timestamp"),
        ("video-classification", "label", [None], "unknown class in 'label': null"),
    ],
)
def test_contents_of_the_other_tasks_are_checked(task, column, value, message):
    with pytest.raises(ValueError, match=message):
        validate_corpus(valid(task, **{column: value}), task)


def test_boxes_without_four_numbers_are_named():
    columns = VALID["object-localization"] | {"bbox": [[1.0, 2.0, 3.0]]}
    features = Features({"image": Image(), "label": ClassLabel(names=NAMES), "bbox": List(Value("float64"))})
    dataset = Dataset.from_dict(columns, features=features)
    assert "1 rows have a bbox without exactly 4 numbers" in sentences(dataset, "object-localization")[0]
