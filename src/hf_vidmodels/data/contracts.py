"""The columns that a corpus of each task has, and the check that a data set keeps to them.

A `TaskContract` for every task, named by its row in `tasks.TASKS`, says which columns there are, of which `datasets`
type, and what stands in them. Loaders build their data sets from it (`features_for`), `validate_corpus` checks any
data set against it, and `describe_task` prints it.
"""

import difflib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..tasks import TASKS, resolve
from .content_checks import Problem, find_content_problems
from .split_checks import find_split_problems

if TYPE_CHECKING:
    from datasets import ClassLabel, Dataset, DatasetDict, Features


@dataclass(frozen=True)
class Column:
    """One column of a task.

    Attributes:
        name: name of the column.
        kind: type, a key of the table in `_types_of`.
        meaning: what stands in it, with units and conventions.
        required: whether a corpus without it is refused.
    """

    name: str
    kind: str
    meaning: str
    required: bool = True


@dataclass(frozen=True)
class TaskContract:
    """The columns of one task.

    Attributes:
        columns: all columns that the library reads; further ones are ignored.
        one_of: of these columns at least one is there; empty when every required column stands for itself.
    """

    columns: tuple[Column, ...]
    one_of: tuple[str, ...] = ()

    def column(self, name: str) -> Column | None:
        """Give the column called `name`, or None."""
        return next((column for column in self.columns if column.name == name), None)


# What the rows of `tasks.TASKS` name.
IMAGE_CLASSIFICATION = TaskContract(
    (
        Column("image", "image", "the picture"),
        Column("label", "class", "its class; null = unlabelled"),
    )
)
VIDEO_CLASSIFICATION = TaskContract(
    (
        Column("video", "video", "the video file"),
        Column(
            "label",
            "class or classes",
            "its class, or its classes; null = unlabelled, which split train may not be",
        ),
    )
)
MOTION_PRETRAINING = TaskContract(
    (
        Column("video", "video", "the video file"),
        Column("label", "class or classes", "its class, or its classes, which only evaluations look at", False),
    )
)
MASK_LABELING = TaskContract(
    (
        Column("image", "image", "the picture"),
        Column("image_id", "identifier", "its name or number, once in the corpus"),
        Column(
            "objects",
            "objects",
            "its objects; bbox is xywh in pixels, area in square pixels; also read: segmentation {size, counts}, "
            "its mask as compressed RLE, or null",
        ),
        Column("file_name", "string", "path of the picture in its published folder", False),
        Column("height", "count", "height of the picture in pixels; null = unknown", False),
        Column("width", "count", "width of the picture in pixels; null = unknown", False),
        Column("video_id", "identifier", "video that the picture is a frame of", False),
        Column("frame_index", "count", "which of the annotated frames of its video, from 0", False),
    )
)
TEMPORAL_ACTION_LOCALIZATION = TaskContract(
    (
        Column("video_id", "string", "name of the video, once in the corpus"),
        Column("features", "features", "snippet features (L, C): a file, a pair of files (rgb, flow), or rows", False),
        Column("video", "video file", "the video file", False),
        Column("duration", "number", "length of the video in seconds"),
        Column("fps", "number", "frames per second of the features, or of the video; null = as the model's", False),
        Column("frames_per_snippet", "count", "frames from one feature to the next; null = as the model's", False),
        Column("labels", "classes", "classes that occur in the video"),
        Column("segments", "segments", "the actions, in seconds; for evaluation only", False),
        Column("subset", "string", "subset of the published corpus that the video belongs to", False),
    ),
    one_of=("features", "video"),
)
ACTION_DETECTION = TaskContract(
    (
        Column("video_id", "string", "name of the video; one row for each of its timestamps"),
        Column(
            "video",
            "video file",
            "the film, a folder of numbered frames, or a folder that holds such a folder for each second",
        ),
        Column("timestamp", "number", "seconds from the start of the video"),
        Column("boxes", "boxes", "people at this time: xyxy, relative to width and height, in [0, 1]"),
        Column("labels", "classes per box", "classes of what each of them does"),
        Column("keyframe", "count", "index of the frame at this time", False),
        Column("actor_ids", "counts", "who each of them is, in all rows of the video; null = unknown", False),
        Column("starts", "numbers", "when the tube of each of them begins, in seconds; null = unknown", False),
        Column("ends", "numbers", "when the tube of each of them ends, in seconds; null = unknown", False),
        Column("proposals", "boxes", "boxes that a detector gives for this time, as boxes", False),
        Column("proposal_scores", "numbers", "the detector's score of each proposal, in [0, 1]", False),
        Column("excluded", "truth", "true = annotated in part, for neither training nor evaluation", False),
        Column("fps", "number", "frames per second of a folder of frames; null = as the video says", False),
    )
)
OBJECT_LOCALIZATION = TaskContract(
    (
        Column("image", "image", "the picture"),
        Column("label", "class", "class of its object"),
        Column("bbox", "box", "box of its object: xyxy in pixels"),
        Column("image_id", "identifier", "its name or number, once in the corpus", False),
        Column("boxes", "boxes", "all boxes of the picture, xyxy in pixels; bbox is the first", False),
    )
)


# What an object may have beside the fields of its contract, and the kind of it.
OBJECT_FIELDS = {"category_id": "count", "instance_id": "count", "segmentation": "rle"}


def features_for(
    task: str, names: Iterable[str], class_names: Sequence[str], object_fields: Iterable[str] = ()
) -> "Features":
    """Give the `datasets.Features` of the columns `names` of `task`.

    Args:
        task: a key of `tasks.TASKS`.
        names: columns of the task to be built, in this order.
        class_names: all classes, their position is the class id.
        object_fields: keys of `OBJECT_FIELDS` that entries of the column `objects` have beside those of the contract.
    """
    from datasets import ClassLabel, Features, List

    label = ClassLabel(names=list(class_names))
    contract = task_contract(task)
    features = Features({name: _types_of(contract.column(name).kind, label)[0] for name in names})
    if object_fields:
        further = {name: _types_of(OBJECT_FIELDS[name], label)[0] for name in object_fields}
        features["objects"] = List({**features["objects"].feature, **further})
    return features


def task_contract(task: str) -> TaskContract:
    """Give the contract of a task.

    Raises:
        ValueError: there is no such task; names the nearest.
    """
    if task not in TASKS:
        raise ValueError(f"there is no task {task!r}{nearest_hint(task, TASKS)}; tasks are: {', '.join(TASKS)}")
    return resolve(TASKS[task].contract)


def describe_task(task: str) -> str:
    """Give the columns of a task as lines of text: name, type, meaning."""
    from datasets import ClassLabel

    contract = task_contract(task)
    lines = [f"columns of a corpus for {task}:"]
    for column in contract.columns:
        need = "required" if column.required else "optional"
        need = f"one of {' or '.join(contract.one_of)} required" if column.name in contract.one_of else need
        types = " or ".join(_show(type_) for type_ in _types_of(column.kind, ClassLabel(names=["a"])))
        lines.append(f"  {column.name}: {column.meaning} [{need}; {types}]")
    return "\n".join(lines)


def infer_task(column_names: Iterable[str], where: str) -> str:
    """Give the task whose columns these are: the one that requires most of them among those that are satisfied.

    Args:
        column_names: columns of a corpus.
        where: the corpus.

    Raises:
        ValueError: they are the columns of no task.
    """
    names = set(column_names)
    task = _task_with(names)
    if task is None:
        raise ValueError(
            f"{where}: the columns {', '.join(sorted(names)) or '(none)'} are those of no task; name the task "
            f"({', '.join(TASKS)}) to see what is missing"
        )
    return task


def refuse_other_task(column_names: Iterable[str], task: str, where: str) -> None:
    """Refuse columns that are those of another task than the one asked for.

    Args:
        column_names: columns of a corpus.
        task: the task asked for.
        where: the corpus.

    Raises:
        ValueError: says which task it is, and what is missing.
    """
    names = set(column_names)
    missing = _missing_columns(task_contract(task), names)
    other = _task_with(names) if missing else None
    # Videos alone, which are enough to learn from without labels, are of no task: there a column was forgotten.
    if other is not None and sum(column.required for column in task_contract(other).columns) > 1:
        meaning = task_contract(task).column(missing[0]).meaning
        raise ValueError(
            f"{where} is a corpus for {other}, not for {task}: {task} needs a column {missing[0]!r} ({meaning}); "
            f"columns found: {', '.join(sorted(names))}"
        )


def _task_with(names: set[str]) -> str | None:
    contracts = {task: task_contract(task) for task in TASKS}
    fitting = {
        task: sum(column.required for column in contract.columns)
        for task, contract in contracts.items()
        if not _missing_columns(contract, names)
    }
    return max(fitting, key=fitting.__getitem__, default=None)


def find_column_problems(corpus: "Dataset | DatasetDict", task: str) -> list[Problem]:
    """Find columns that are missing, of the wrong type, or of other classes in one split than in another.

    Args:
        corpus: a data set, or data sets by split name.
        task: a key of `tasks.TASKS`.

    Raises:
        ValueError: there is no such task.
    """
    contract = task_contract(task)
    splits = _by_split(corpus)
    if not splits:
        return [Problem("error", "the corpus has no split")]
    problems = [
        Problem("error", f"{f'split {name!r}: ' if name else ''}{sentence}")
        for name, dataset in splits.items()
        for sentence in _column_errors(dataset.features, contract, task)
    ]
    return problems or _class_list_errors(splits, contract)


def find_problems(corpus: "Dataset | DatasetDict", task: str, *, allow_out_of_duration: bool = False) -> list[Problem]:
    """Find everything that is wrong with a corpus: columns first and, where these are right, their contents.

    Args:
        corpus: a data set, or data sets by split name.
        task: a key of `tasks.TASKS`.
        allow_out_of_duration: segments beyond the end of their video are a warning instead of an error, as published
            annotations contain some.

    Raises:
        ValueError: there is no such task.
    """
    splits = _by_split(corpus)
    unread = [
        Problem("warning", sentence) for data in splits.values() for sentence in unread_columns(data.features, task)
    ]
    return find_column_problems(corpus, task) or [
        *dict.fromkeys(unread),
        *find_content_problems(splits, task, allow_out_of_duration=allow_out_of_duration),
        *find_split_problems(splits),
    ]


def validate_corpus(corpus: "Dataset | DatasetDict", task: str, *, allow_out_of_duration: bool = False) -> None:
    """Refuse a corpus that does not fit its task; arguments as `find_problems`.

    What can be lived with (segments of no length, classes that training never shows, ...) is a Python warning.

    Raises:
        ValueError: one sentence for each kind of error, naming the column or the first offending videos and the fix.
    """
    problems = find_problems(corpus, task, allow_out_of_duration=allow_out_of_duration)
    for problem in problems:
        if problem.severity == "warning":
            warnings.warn(problem.sentence, stacklevel=2)
    errors = [problem.sentence for problem in problems if problem.severity == "error"]
    if errors:
        raise ValueError(". ".join(errors))


def unread_columns(column_names: Iterable[str], task: str) -> list[str]:
    """Give a sentence for each column that looks like a misspelt column of the task."""
    names = list(column_names)
    absent = [column.name for column in task_contract(task).columns if column.name not in names]
    known = {column.name for column in task_contract(task).columns}
    hints = {name: nearest_hint(name, absent) for name in names if name not in known}
    return [f"the column {name!r} is not read{hint}" for name, hint in hints.items() if hint]


def nearest_hint(name: str, known: Iterable[str]) -> str:
    """Give `, did you mean 'x'?` for the known name nearest to `name`, or an empty string."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    nearest = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return f" (did you mean {by_lower[nearest[0]]!r}?)" if nearest else ""


def _by_split(corpus: "Dataset | DatasetDict") -> "Mapping[str, Dataset]":
    return corpus if isinstance(corpus, Mapping) else {"": corpus}


def _types_of(kind: str, label: "ClassLabel") -> tuple[Any, ...]:
    """Give the `datasets` types that a kind of column may have; loaders build the first."""
    from datasets import Array2D, Image, List, Value, Video

    text, number = Value("string"), Value("float64")
    box = List(number, length=4)
    return {
        "string": (text,),
        "identifier": (text, Value("int64")),
        "number": (number,),
        "count": (Value("int64"),),
        "image": (Image(),),
        "video": (Video(decode=False),),
        "video file": (text, Video(decode=False)),
        "features": (text, List(text), List(List(Value("float32"))), Array2D(shape=(None, 1), dtype="float32")),
        "class": (label,),
        "classes": (List(label),),
        "class or classes": (label, List(label)),
        "classes per box": (List(List(label)),),
        "box": (box,),
        "truth": (Value("bool"),),
        "counts": (List(Value("int64")),),
        "numbers": (List(number),),
        "boxes": (List(box),),
        "segments": (List({"start": number, "end": number, "label": label}),),
        "rle": ({"size": List(Value("int64"), length=2), "counts": text},),
        "objects": (
            List({"id": Value("int64"), "bbox": box, "category": label, "area": number, "iscrowd": Value("int64")}),
        ),
    }[kind]


def _missing_columns(contract: TaskContract, names: set[str]) -> list[str]:
    missing = [column.name for column in contract.columns if column.required and column.name not in names]
    if contract.one_of and not names.intersection(contract.one_of):
        missing.append(contract.one_of[0])
    return missing


def _column_errors(features: "Features", contract: TaskContract, task: str) -> list[str]:
    from datasets import ClassLabel, Value

    label = ClassLabel(names=["a"])
    found = ", ".join(f"{name} ({_show(type_)})" for name, type_ in features.items()) or "none"
    unused = [name for name in features if contract.column(name) is None]
    errors = []
    for name in _missing_columns(contract, set(features)):
        column = contract.column(name)
        alternatives = f" or {' or '.join(contract.one_of[1:])!r}" if name in contract.one_of else ""
        hint = nearest_hint(name, unused).replace("did you mean", "rename").replace("?", f" to '{name}'?")
        errors.append(f"{task} needs a column {name!r}{alternatives} ({column.meaning}); columns found: {found}{hint}")
    for column in contract.columns:
        type_ = features.get(column.name)
        if type_ is None or (not column.required and type_ == Value("null")):
            continue
        expected = _types_of(column.kind, label)
        if not any(_fits(wanted, type_) for wanted in expected):
            wanted = " or ".join(_show(wanted) for wanted in expected)
            errors.append(
                f"the column {column.name!r} ({column.meaning}) is {_show(type_)} but {task} needs {wanted}; "
                f"convert it with dataset.cast_column({column.name!r}, ...)"
            )
    return errors


def _class_list_errors(splits: Mapping[str, "Dataset"], contract: TaskContract) -> list[Problem]:
    """Refuse splits whose class lists differ, because the same id would mean different classes."""
    for column in contract.columns:
        lists = {
            split: class_names
            for split, dataset in splits.items()
            if column.name in dataset.features and (class_names := class_names_of(dataset.features[column.name]))
        }
        if len({tuple(class_names) for class_names in lists.values()}) > 1:
            sizes = ", ".join(f"{split}: {len(class_names)}" for split, class_names in lists.items())
            return [
                Problem(
                    "error",
                    f"the splits have different lists of classes in the column {column.name!r} ({sizes}); cast all of "
                    "them to one ClassLabel",
                )
            ]
    return []


def class_names_of(feature: Any) -> list[str] | None:
    """Give the class names of a column's type, however deep its ClassLabel lies, or None."""
    if hasattr(feature, "names"):
        return feature.names
    parts = feature.values() if isinstance(feature, dict) else [getattr(feature, "feature", None)]
    return next((names for part in parts if part is not None and (names := class_names_of(part))), None)


def _fits(wanted: Any, found: Any) -> bool:
    """Compare types where the width of numbers and the class names do not matter."""
    from datasets import LargeList, List, Value, Video

    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(
            name in found and _fits(part, found[name]) for name, part in wanted.items()
        )
    if isinstance(wanted, List):
        return isinstance(found, (List, LargeList)) and _fits(wanted.feature, found.feature)
    if isinstance(wanted, Value):
        return isinstance(found, Value) and _type_family(found.dtype) in _accepted_families(wanted.dtype)
    if isinstance(wanted, Video):
        return isinstance(found, Video) and not found.decode
    return isinstance(found, type(wanted))


def _type_family(dtype: str) -> str:
    return dtype.removeprefix("large_").rstrip("0123456789").removeprefix("u")


def _accepted_families(dtype: str) -> tuple[str, ...]:
    accepted = {"float64": ("float", "int"), "float32": ("float",), "int64": ("int", "bool"), "bool": ("bool",)}
    return accepted.get(dtype, ("string",))


def _show(type_: Any) -> str:
    """Write a type in short: class names left out."""
    from datasets import LargeList, List, Value, Video

    if isinstance(type_, dict):
        return "{" + ", ".join(f"{name}: {_show(part)}" for name, part in type_.items()) + "}"
    if isinstance(type_, (List, LargeList)):
        return f"List({_show(type_.feature)})"
    if isinstance(type_, Value):
        return type_.dtype
    if isinstance(type_, Video):
        return "Video(decode=True)" if type_.decode else "Video(decode=False)"
    return type(type_).__name__
