"""The one table of methods: an eleventh method is one more row of `METHODS`.

Rows hold names, so that reading them imports nothing: a class is loaded when it is asked for.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

# Base class of a kind of processor, the Auto class that loads it and the file it is saved in. Video processors are
# image processors.
PROCESSOR_KINDS = (
    ("ProcessorMixin", "AutoProcessor", "processor_config.json"),
    ("BaseVideoProcessor", "AutoVideoProcessor", "video_preprocessor_config.json"),
    ("ImageProcessingMixin", "AutoImageProcessor", "preprocessor_config.json"),
    ("FeatureExtractionMixin", "AutoFeatureExtractor", "preprocessor_config.json"),
)


def kind_of_processor(processor_class: type) -> tuple[str, str]:
    """Give the name of the Auto class that loads a processor, and of the file it is saved in.

    Raises:
        ValueError: it is no processor of transformers.
    """
    bases = {base.__name__ for base in processor_class.__mro__ if base.__module__.startswith("transformers.")}
    for base, auto_class, file_name in PROCESSOR_KINDS:
        if base in bases:
            return auto_class, file_name
    raise ValueError(f"{processor_class.__name__} is no processor of transformers, so no Auto class could load it")


@dataclass(frozen=True)
class Method:
    """One row: everything transformers must know of a method.

    Args:
        stem: the name in file names (`modeling_<stem>.py`) and recipes.
        config: name of the configuration class in `configuration_<stem>.py`.
        processor: name of the processor class in `processing_<stem>.py`; its Auto class follows from its kind.
        models: names of the model classes in `modeling_<stem>.py` by task. `AutoModel` gives the one that a checkpoint
            names in its `architectures`, and without such a name the first, the primary class.
        outputs: names of what the models return, defined beside them.
        model_type: that of the configuration class, where it is not the stem.
    """

    stem: str
    config: str
    processor: str
    models: Mapping[str, str]
    outputs: tuple[str, ...] = ()
    model_type: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "model_type", self.model_type or self.stem)

    @property
    def rooms(self) -> dict[str, str]:
        """By the name of each of its public classes the room that it is defined in."""
        in_modeling = dict.fromkeys((*self.models.values(), *self.outputs), "modeling")
        return {self.config: "configuration", **in_modeling, self.processor: "processing"}

    def load(self, name: str) -> Any:
        """Import one of its public classes.

        Raises:
            KeyError: when the name is none of them.
        """
        room = self.rooms[name]
        return getattr(importlib.import_module(f".{room}.{room}_{self.stem}", __package__), name)

    @cached_property
    def config_class(self) -> type["PreTrainedConfig"]:
        """The configuration class."""
        return self.load(self.config)

    @cached_property
    def processor_class(self) -> type:
        """The processor class."""
        return self.load(self.processor)

    @cached_property
    def processor_auto_class(self) -> type:
        """The Auto class of the processor's kind, such as `AutoVideoProcessor`."""
        import transformers

        return getattr(transformers, kind_of_processor(self.processor_class)[0])

    @cached_property
    def primary_class(self) -> type["PreTrainedModel"]:
        """The model class that `AutoModel` gives when nothing says otherwise."""
        return self.load(next(iter(self.models.values())))


METHODS = (
    Method(
        stem="asm_loc",
        config="AsmLocConfig",
        processor="AsmLocProcessor",
        models={"temporal-action-localization": "AsmLocForTemporalActionLocalization"},
        outputs=("AsmLocOutput",),
    ),
    Method(
        stem="collaborative_memory",
        config="CollaborativeMemoryConfig",
        processor="CollaborativeMemoryVideoProcessor",
        models={
            "video-classification": "CollaborativeMemoryForVideoClassification",
            "action-detection": "CollaborativeMemoryForActionDetection",
        },
        outputs=("CollaborativeMemoryDetectorOutput", "CollaborativeMemoryOutput"),
    ),
    Method(
        stem="cross_x",
        config="CrossXConfig",
        processor="CrossXImageProcessor",
        models={"image-classification": "CrossXForImageClassification"},
        outputs=("CrossXOutput",),
    ),
    Method(
        stem="gta",
        config="GtaConfig",
        processor="GtaVideoProcessor",
        models={"video-classification": "GtaForVideoClassification"},
        outputs=("GtaOutput",),
        model_type="gta_video",
    ),
    Method(
        stem="hierarchical_motion",
        config="HierarchicalMotionConfig",
        processor="HierarchicalMotionVideoProcessor",
        models={
            "video-classification": "HierarchicalMotionForVideoClassification",
            "motion-pretraining": "HierarchicalMotionForPreTraining",
        },
        outputs=("HierarchicalMotionOutput", "HierarchicalMotionPreTrainingOutput"),
    ),
    Method(
        stem="l2_caf",
        config="L2CafConfig",
        processor="L2CafImageProcessor",
        models={"object-localization": "L2CafForObjectLocalization"},
        outputs=("L2CafExplanation", "L2CafOutput"),
    ),
    Method(
        stem="mal",
        config="MalConfig",
        processor="MalImageProcessor",
        models={"mask-labeling": "MalForMaskLabeling"},
        outputs=("MalOutput",),
        model_type="mask_auto_labeler",
    ),
    Method(
        stem="semiformer",
        config="SemiformerConfig",
        processor="SemiformerImageProcessor",
        models={"image-classification": "SemiformerForImageClassification"},
        outputs=("SemiformerOutput",),
    ),
    Method(
        stem="step",
        config="StepConfig",
        processor="StepVideoProcessor",
        models={"action-detection": "StepForActionDetection"},
        outputs=("StepOutput",),
        model_type="step_action_detector",
    ),
    Method(
        stem="stts",
        config="SttsConfig",
        processor="SttsVideoProcessor",
        models={"video-classification": "SttsForVideoClassification"},
        outputs=("SttsOutput",),
    ),
    Method(
        stem="video_resnet",
        config="VideoResNetConfig",
        processor="VideoResNetVideoProcessor",
        models={
            "video-classification": "VideoResNetForVideoClassification",
            "action-detection": "VideoResNetForActionDetection",
        },
        outputs=("VideoResNetClassifierOutput", "VideoResNetDetectorOutput"),
    ),
)
