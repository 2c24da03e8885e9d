"""The arguments of the ASM-Loc recipe."""

from dataclasses import dataclass
from typing import ClassVar

from ...configuration.configuration_asm_loc import AsmLocConfig
from ..arguments import TrainingArguments, argument
from ..sections import MODEL, PRESET


@dataclass
class AsmLocArguments(TrainingArguments):
    """Arguments of the ASM-Loc recipe."""

    sections: ClassVar = {MODEL: AsmLocConfig}
    default_preset: ClassVar = "asm-loc-thumos"

    feature_extractor: str | None = argument(
        None,
        "How features are made when the corpus has only videos: a JSON file of settings, by path or by the name of "
        "one that comes with the recipes (asm_loc/embedded_features). none: the corpus has features.",
    )
    feature_cache_dir: str | None = argument(
        None, "Folder that keeps features made from videos; by default the package's cache.", changes_result=False
    )
    feature_processes: int = argument(1, "Processes that make features from videos.", changes_result=False)

    def check_ranges(self) -> None:
        """Refuse to make features with no process."""
        super().check_ranges()
        self.require(self.feature_processes >= 1, "feature_processes", "must be at least 1")

    @property
    def num_steps(self) -> int:
        """The networks of the cascade."""
        settings = AsmLocConfig.presets[self.model[PRESET]] | self.model_settings
        return 1 + settings.get("num_refinement_steps", AsmLocConfig.num_refinement_steps)
