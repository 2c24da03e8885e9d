"""The one table of tasks: everything that differs from one task to the next is named in its row.

Auto classes and pipelines, the commands `predict`, `evaluate` and `check`, content checks and annotation sheets read
the rows; no other module lists tasks. What a row names lies in the task's own modules and is written
`".module:name"` (with the dot: below this package), so that this module imports none of them: `resolve` does, on use.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Option:
    """An option on the command line that not every task takes.

    Args:
        name: without its dashes.
        help: its line in the help text.
        settings: further arguments of `ArgumentParser.add_argument`; the value must be None or False when not given,
            and `"type": Path` says that the option names a file or folder to read.
    """

    name: str
    help: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """One row.

    Args:
        name: as in pipelines and on the Hub.
        answer: what a model answers with, for the documentation of its Auto class.
        auto_class: name of transformers' Auto class, or of our own, which is made where transformers has none.
        contract: its columns, a `TaskContract`.
        check_contents: `(SplitReport) -> None`, what must hold for the contents of a split.
        draw_examples: `(examples, features, title) -> Figure`, shows annotations.
        instances: column whose entries are counted in a corpus's table.
        pipeline: class of the pipeline, where transformers has none that serves our models.
        pipeline_kind: `"image"` or `"video"`, what the pipeline takes.
        evaluate: `(model, arguments, accelerator) -> Evaluation`, scores a checkpoint on a corpus.
        find_inputs: `(path) -> inputs by name`, what a file or folder holds for a prediction.
        predict: `(arguments, inputs, accelerator) -> None`, writes what a checkpoint finds in them.
        draws_with: optional package without which a prediction cannot be drawn, where there is one.
        evaluate_options: options of the evaluate command that it takes besides those of all tasks.
        predict_options: the same of the predict command.
    """

    name: str
    answer: str
    auto_class: str
    contract: str
    check_contents: str
    draw_examples: str
    instances: str | None = None
    pipeline: str | None = None
    pipeline_kind: str = "image"
    evaluate: str | None = None
    find_inputs: str | None = None
    predict: str | None = None
    draws_with: str | None = "matplotlib"
    evaluate_options: tuple[Option, ...] = ()
    predict_options: tuple[Option, ...] = ()


BFLOAT16 = "bf16"
PRECISIONS = ("no", BFLOAT16)
NUM_VIEWS = Option("num_views", "views in time of each video (default: the model's test protocol)", {"type": int})
NUM_CROPS = Option("num_crops", "crops of each view (default: likewise)", {"type": int, "choices": (1, 3)})
MIXED_PRECISION = Option(
    "mixed_precision",
    "bf16: compute in bfloat16, about three times as fast on a CPU with AMX; logits differ in the third digit "
    "(default: no)",
    {"choices": PRECISIONS},
)
MEDIA_DIR = Option("media_dir", "folder of the videos of a published list, where that is not data_dir", {"type": Path})
SKIP_MISSING_FILES = Option(
    "skip_missing_files", "leave out videos of a published list that are not there", {"action": "store_true"}
)
STEP = Option(
    "step", "step of the cascade that answers, counted from 0 (default: the one chosen in training)", {"type": int}
)
EMBED_VIDEO = Option("embed_video", "put the video into its page (default: link to it)", {"action": "store_true"})
NO_FIGURES = Option(
    "no_figures", "write what is found, and draw no pictures, films and pages", {"action": "store_true"}
)
TOP_K = Option("top_k", "keep so many results of each input at most", {"type": int})

TASKS = {
    task.name: task
    for task in (
        Task(
            name="image-classification",
            answer="the class of a picture",
            auto_class="AutoModelForImageClassification",
            contract=".data.contracts:IMAGE_CLASSIFICATION",
            check_contents=".data.content_checks:check_image_classification",
            draw_examples=".data.annotation_sheet:draw_classified_images",
            evaluate=".evaluation.image_classification_evaluation:evaluate_on_corpus",
            find_inputs=".commands.input_files:find_pictures",
            predict=".commands.predict_image_classes:predict_image_classes",
            evaluate_options=(MIXED_PRECISION,),
            predict_options=(TOP_K, MIXED_PRECISION, NO_FIGURES),
        ),
        Task(
            name="video-classification",
            answer="the class of a video",
            auto_class="AutoModelForVideoClassification",
            contract=".data.contracts:VIDEO_CLASSIFICATION",
            check_contents=".data.content_checks:check_video_classification",
            draw_examples=".data.annotation_sheet:draw_classified_videos",
            pipeline=".pipelines.video_classification_pipeline:BatchedVideoClassificationPipeline",
            pipeline_kind="video",
            evaluate=".evaluation.video_classification_evaluation:evaluate_on_corpus",
            find_inputs=".commands.predict_video_classes:find_classified_videos",
            predict=".commands.predict_video_classes:classify_videos",
            evaluate_options=(
                NUM_VIEWS,
                NUM_CROPS,
                MIXED_PRECISION,
                MEDIA_DIR,
                SKIP_MISSING_FILES,
            ),
            predict_options=(TOP_K, NUM_VIEWS, NUM_CROPS, MIXED_PRECISION, NO_FIGURES),
        ),
        Task(
            name="motion-pretraining",
            answer="how things move in a video, learned without labels",
            auto_class="AutoModelForPreTraining",
            contract=".data.contracts:MOTION_PRETRAINING",
            check_contents=".data.content_checks:check_motion_pretraining",
            draw_examples=".data.annotation_sheet:draw_classified_videos",
            evaluate=".evaluation.motion_evaluation:evaluate_on_corpus",
            find_inputs=".commands.predict_video_classes:find_classified_videos",
            predict=".commands.predict_motion:find_motions",
            evaluate_options=(MIXED_PRECISION, MEDIA_DIR, SKIP_MISSING_FILES),
            predict_options=(MIXED_PRECISION, NO_FIGURES),
        ),
        Task(
            name="mask-labeling",
            answer="a mask for each given box of a picture",
            auto_class="AutoModelForMaskLabeling",
            contract=".data.contracts:MASK_LABELING",
            check_contents=".data.content_checks:check_mask_labeling",
            draw_examples=".data.annotation_sheet:draw_labelled_objects",
            instances="objects",
            pipeline=".pipelines.mask_labeling:MaskLabelingPipeline",
            evaluate=".evaluation.mask_evaluation:evaluate_on_corpus",
            find_inputs=".commands.input_files:find_pictures",
            predict=".commands.predict_masks:label_pictures",
            draws_with=None,
            evaluate_options=(MIXED_PRECISION,),
            predict_options=(
                MIXED_PRECISION,
                NO_FIGURES,
                Option(
                    "boxes",
                    "COCO instance file, or JSON with the boxes xyxy of each picture by its name",
                    {"type": Path},
                ),
            ),
        ),
        Task(
            name="temporal-action-localization",
            answer="scored action segments of an untrimmed video",
            auto_class="AutoModelForTemporalActionLocalization",
            contract=".data.contracts:TEMPORAL_ACTION_LOCALIZATION",
            check_contents=".data.content_checks:check_temporal_localization",
            draw_examples=".data.annotation_sheet:draw_segments",
            instances="segments",
            pipeline=".pipelines.temporal_action_localization:TemporalActionLocalizationPipeline",
            pipeline_kind="video",
            evaluate=".evaluation.localization_evaluation:evaluate_on_corpus",
            find_inputs=".commands.predict_segments:find_sources",
            predict=".commands.predict_segments:localize_actions",
            evaluate_options=(
                MIXED_PRECISION,
                Option("feature_processes", "processes that make features (default: 1)", {"type": int}),
            ),
            predict_options=(
                TOP_K,
                STEP,
                EMBED_VIDEO,
                MIXED_PRECISION,
                NO_FIGURES,
                Option("truth", "corpus whose true segments are drawn beside what is found, by name of the video"),
            ),
        ),
        Task(
            name="action-detection",
            answer="boxes of people in a video and what each of them does",
            auto_class="AutoModelForActionDetection",
            contract=".data.contracts:ACTION_DETECTION",
            check_contents=".data.content_checks:check_action_detection",
            draw_examples=".data.annotation_sheet:draw_actions",
            instances="boxes",
            pipeline=".pipelines.action_detection:ActionDetectionPipeline",
            pipeline_kind="video",
            evaluate=".evaluation.action_detection_evaluation:evaluate_on_corpus",
            find_inputs=".commands.predict_actions:find_films",
            predict=".commands.predict_actions:detect_actions",
            evaluate_options=(
                STEP,
                MIXED_PRECISION,
                Option("rules", "of which evaluation (default: ava)", {"choices": ("ava", "act", "multisports")}),
                Option(
                    "proposal_threshold",
                    "boxes of people in the corpus that its detector scored lower are left out (default: none)",
                    {"type": float},
                ),
            ),
            predict_options=(
                STEP,
                EMBED_VIDEO,
                MIXED_PRECISION,
                NO_FIGURES,
                Option(
                    "proposals",
                    "CSV of the boxes of people in AVA's form, for a model that needs them",
                    {"type": Path},
                ),
                Option("fps", "frames a second of folders of frames", {"type": float}),
            ),
        ),
        Task(
            name="object-localization",
            answer="a box for a picture's object",
            auto_class="AutoModelForObjectLocalization",
            contract=".data.contracts:OBJECT_LOCALIZATION",
            check_contents=".data.content_checks:check_object_localization",
            draw_examples=".data.annotation_sheet:draw_located_objects",
            pipeline=".pipelines.object_localization_pipeline:ObjectLocalizationPipeline",
            find_inputs=".commands.input_files:find_pictures",
            predict=".commands.predict_attention:explain_pictures",
            predict_options=(
                TOP_K,
                NO_FIGURES,
                Option("objective", "of the attention: class_specific, centered or class_oblivious (the first)"),
                Option("classes", "class names or ids to explain (default: the best TOP_K, or 1)", {"nargs": "+"}),
            ),
        ),
    )
}


def resolve(place: str) -> Any:
    """Import what a row names.

    Args:
        place: `".module:name"` below this package, or `"module:name"` of any module.
    """
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module, __package__), name)
