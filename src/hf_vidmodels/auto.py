"""The one table of methods, their registration with transformers' Auto classes, and our own Auto classes.

An eleventh method is one more row of `METHODS`. This is the only file that touches private names of transformers
(`_BaseAutoModelClass`, `_LazyAutoMapping`): they have moved between releases before.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForVideoClassification,
    AutoProcessor,
    AutoVideoProcessor,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto.auto_factory import _BaseAutoModelClass, _LazyAutoMapping
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from transformers.pipelines import PIPELINE_REGISTRY

from .configuration.configuration_asm_loc import AsmLocConfig
from .configuration.configuration_l2_caf import L2CafConfig
from .configuration.configuration_mal import MalConfig
from .configuration.configuration_stts import SttsConfig
from .modeling.modeling_asm_loc import AsmLocForTemporalActionLocalization
from .modeling.modeling_l2_caf import L2CafForObjectLocalization
from .modeling.modeling_mal import MalForMaskLabeling
from .modeling.modeling_stts import SttsForVideoClassification
from .pipelines.attention_localization import AttentionLocalizationPipeline
from .pipelines.mask_labeling import MaskLabelingPipeline
from .pipelines.temporal_action_localization import TemporalActionLocalizationPipeline
from .processing.processing_asm_loc import AsmLocProcessor
from .processing.processing_l2_caf import L2CafImageProcessor
from .processing.processing_mal import MalImageProcessor
from .processing.processing_stts import SttsVideoProcessor


class AutoModelForTemporalActionLocalization(_BaseAutoModelClass):
    """Loads any model that answers with scored action segments of untrimmed videos."""

    _model_mapping = _LazyAutoMapping(CONFIG_MAPPING_NAMES, OrderedDict())


class AutoModelForObjectLocalization(_BaseAutoModelClass):
    """Loads any model that answers with a box for an image's object."""

    _model_mapping = _LazyAutoMapping(CONFIG_MAPPING_NAMES, OrderedDict())


class AutoModelForMaskLabeling(_BaseAutoModelClass):
    """Loads any model that answers with a mask for each given box of an image."""

    _model_mapping = _LazyAutoMapping(CONFIG_MAPPING_NAMES, OrderedDict())


@dataclass(frozen=True)
class Method:
    """One row: everything transformers must know of a method.

    Args:
        stem: the name in file names (`modeling_<stem>.py`) and recipes.
        config_class: carries the `model_type`.
        primary_class: what `AutoModel` gives.
        task_classes: further Auto classes of transformers or of this file, each with the model it gives.
        processor_class: the processor, registered with the Auto class of its kind.
        processor_auto_class: `AutoFeatureExtractor`, `AutoImageProcessor` or `AutoVideoProcessor`.
    """

    stem: str
    config_class: type[PreTrainedConfig]
    primary_class: type[PreTrainedModel]
    processor_class: type
    processor_auto_class: type
    task_classes: dict[type, type[PreTrainedModel]] = field(default_factory=dict)


METHODS = (
    Method(
        stem="asm_loc",
        config_class=AsmLocConfig,
        primary_class=AsmLocForTemporalActionLocalization,
        processor_class=AsmLocProcessor,
        processor_auto_class=AutoFeatureExtractor,
        task_classes={AutoModelForTemporalActionLocalization: AsmLocForTemporalActionLocalization},
    ),
    Method(
        stem="l2_caf",
        config_class=L2CafConfig,
        primary_class=L2CafForObjectLocalization,
        processor_class=L2CafImageProcessor,
        processor_auto_class=AutoImageProcessor,
        task_classes={AutoModelForObjectLocalization: L2CafForObjectLocalization},
    ),
    Method(
        stem="mal",
        config_class=MalConfig,
        primary_class=MalForMaskLabeling,
        processor_class=MalImageProcessor,
        processor_auto_class=AutoImageProcessor,
        task_classes={AutoModelForMaskLabeling: MalForMaskLabeling},
    ),
    Method(
        stem="stts",
        config_class=SttsConfig,
        primary_class=SttsForVideoClassification,
        processor_class=SttsVideoProcessor,
        processor_auto_class=AutoVideoProcessor,
        task_classes={AutoModelForVideoClassification: SttsForVideoClassification},
    ),
)

# Tasks without a pipeline in transformers: name, pipeline, Auto class, kind of input.
PIPELINES = (
    (
        "temporal-action-localization",
        TemporalActionLocalizationPipeline,
        AutoModelForTemporalActionLocalization,
        "video",
    ),
    ("attention-localization", AttentionLocalizationPipeline, AutoModelForObjectLocalization, "image"),
    ("mask-labeling", MaskLabelingPipeline, AutoModelForMaskLabeling, "image"),
)

TASK_OF_AUTO_CLASS = {
    AutoModelForImageClassification: "image-classification",
    AutoModelForVideoClassification: "video-classification",
} | {auto_class: task for task, _, auto_class, _ in PIPELINES}


def register_all() -> None:
    """Make every method and task known to transformers; importing the package calls this once.

    Raises:
        ValueError: when a future transformers release uses one of our `model_type`s itself.
    """
    for method in METHODS:
        AutoConfig.register(method.config_class.model_type, method.config_class)
        AutoModel.register(method.config_class, method.primary_class)
        for auto_class, model_class in method.task_classes.items():
            auto_class.register(method.config_class, model_class)
        _register_processor(method)
    for task, pipeline_class, auto_class, kind in PIPELINES:
        PIPELINE_REGISTRY.register_pipeline(task, pipeline_class=pipeline_class, pt_model=auto_class, type=kind)


def method_of(config: PreTrainedConfig) -> Method:
    """Find the row of a configuration.

    Raises:
        ValueError: when the configuration belongs to no method of this package.
    """
    for method in METHODS:
        if method.config_class.model_type == config.model_type:
            return method
    known = ", ".join(method.config_class.model_type for method in METHODS)
    raise ValueError(f"model_type {config.model_type!r} is no method of hf_vidmodels; there are: {known}")


def task_of(config: PreTrainedConfig) -> str:
    """Give the pipeline task of a method's primary class, such as `"temporal-action-localization"`.

    Raises:
        ValueError: when the configuration belongs to no method of this package.
    """
    method = method_of(config)
    return next(
        TASK_OF_AUTO_CLASS[auto_class]
        for auto_class, model_class in method.task_classes.items()
        if model_class is method.primary_class and auto_class in TASK_OF_AUTO_CLASS
    )


def _register_processor(method: Method) -> None:
    # Without it AutoProcessor tries one kind after another and asks about the repository's code on the way.
    AutoProcessor.register(method.config_class, method.processor_class)
    if method.processor_auto_class is AutoImageProcessor:
        AutoImageProcessor.register(
            method.config_class, image_processor_classes={"torchvision": method.processor_class}
        )
    elif method.processor_auto_class in (AutoVideoProcessor, AutoFeatureExtractor):
        method.processor_auto_class.register(method.config_class, method.processor_class)
    else:
        raise ValueError(f"no rule to register a processor of {method.stem} with {method.processor_auto_class}")
