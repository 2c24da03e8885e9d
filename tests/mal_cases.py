"""The official MAL values in tests/fixtures/mal and, where they are, the complete ones; see the README there."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

FIXTURES = Path(__file__).parent / "fixtures" / "mal"
SHARED = Path("/work/shared/parity/mal")
COMPLETE_CASES = (
    sorted(folder.name for folder in SHARED.iterdir()) if SHARED.is_dir() else ["conv_stem", "linear_patch"]
)
CASES = [
    FIXTURES / "linear_patch",
    *(
        pytest.param(SHARED / name, marks=pytest.mark.skipif(not SHARED.is_dir(), reason=f"there is no {SHARED}"))
        for name in COMPLETE_CASES
    ),
]


@dataclass(frozen=True)
class MalCase:
    """Official options, weights, tensors and the contents of the JSON files of one case."""

    config: dict[str, Any]
    state_dict: dict[str, torch.Tensor]
    io: dict[str, torch.Tensor]
    expected: dict[str, Any]
    label_expected: dict[str, Any]

    def tensors(self, prefix: str) -> dict[str, torch.Tensor]:
        """Tensors whose name starts with `prefix`, by the rest of their name."""
        return {name.removeprefix(prefix): value for name, value in self.io.items() if name.startswith(prefix)}

    def mean_field_settings(self, **overrides: Any) -> dict[str, Any]:
        options = self.config["args"] | overrides
        return {
            "kernel_size": options["crf_kernel_size"],
            "zeta": options["crf_zeta"],
            "num_iterations": options["crf_num_iter"],
            "low": options["crf_value_low_thres"],
            "high": options["crf_value_high_thres"],
        }


@cache
def load_case(folder: Path) -> MalCase:
    def read(name: str) -> dict[str, Any]:
        return json.loads((folder / name).read_text())

    return MalCase(
        config=read("config.json"),
        state_dict=load_file(folder / "state_dict.safetensors"),
        io=load_file(folder / "io.safetensors"),
        expected=read("expected.json"),
        label_expected=read("label_expected.json"),
    )
