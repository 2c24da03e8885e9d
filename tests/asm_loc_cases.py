"""The official ASM-Loc values in tests/fixtures/asm_loc, as our functions take them; see the READMEs there."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from hf_vidmodels.configuration.configuration_asm_loc import AsmLocConfig
from hf_vidmodels.conversion.convert_asm_loc import config_from_official

FOLDER = Path(__file__).parent / "fixtures" / "asm_loc"
NAMES = ("thumos_tiny", "activitynet_tiny")


@dataclass(frozen=True)
class AsmLocCase:
    """One set of reference values: official options, ours, tensors of both files, and the two JSON files."""

    name: str
    options: dict[str, Any]
    config: AsmLocConfig
    io: dict[str, np.ndarray]
    tensors: dict[str, np.ndarray]
    pipeline: dict[str, Any]
    postprocess: dict[str, Any]

    @property
    def class_names(self) -> list[str]:
        return self.pipeline["class_names"]

    def proposals(self, video: str) -> dict[str, np.ndarray]:
        return as_proposals(self.pipeline["pseudo_proposals_step1"][video], self.class_names)

    def true_labels(self, video: str) -> list[int]:
        annotations = self.pipeline["gt"]["database"][video]["annotations"]
        return sorted({self.class_names.index(annotation["label"]) for annotation in annotations})

    def guiding_labels(self, video: str) -> list[int] | None:
        return self.true_labels(video) if video in self.pipeline["split"]["train"] else None

    def stage_settings(self, stages: str) -> dict[str, Any]:
        names = ("class_threshold", "upsample_scale", "frames_per_second", "frames_per_snippet")
        return {"stages": getattr(self.config, f"{stages}_stages")} | {
            name: getattr(self.config, name) for name in names
        }

    def outputs(self, prefix: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        attention = self.tensors[f"{prefix}.temp_att"][:, 0]
        return self.tensors[f"{prefix}.fg_cls"], self.tensors[f"{prefix}.fg_cas"], attention


def as_proposals(rows: list[dict[str, Any]], class_names: list[str]) -> dict[str, np.ndarray]:
    return {
        "segments": np.array([row["segment"] for row in rows], dtype=np.float64).reshape(-1, 2),
        "scores": np.array([row["score"] for row in rows], dtype=np.float64),
        "labels": np.array([class_names.index(row["label"]) for row in rows], dtype=np.int64),
    }


@cache
def load_case(name: str) -> AsmLocCase:
    folder = FOLDER / name
    options = json.loads((folder / "config.json").read_text())
    return AsmLocCase(
        name=name,
        options=options,
        config=config_from_official(options),
        io=load_file(folder / "io.safetensors"),
        tensors=load_file(folder / "pipeline.safetensors"),
        pipeline=json.loads((folder / "pipeline.json").read_text()),
        postprocess=json.loads((folder / "postprocess.json").read_text()),
    )
