"""The official Semiformer values in tests/fixtures/semiformer (shortened) and ../shared/parity/semiformer (whole)."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hf_vidmodels.conversion.convert_semiformer import convert_semiformer
from hf_vidmodels.modeling.modeling_semiformer import SemiformerForImageClassification

FIXTURES = Path(__file__).parent / "fixtures" / "semiformer"
WHOLE = Path(__file__).parents[2] / "shared" / "parity" / "semiformer"


@dataclass
class SemiformerCase:
    """One case: official options, tensors, numbers, and weights where there are some."""

    options: dict[str, Any]
    io: dict[str, torch.Tensor]
    expected: dict[str, Any]
    weights: dict[str, torch.Tensor] | None

    def model(self, **changes: Any) -> SemiformerForImageClassification:
        """Make the converted model, with other fields of its configuration."""
        return convert_semiformer(self.weights, self.options | changes)


@cache
def load_case(name: str, whole: bool = False) -> SemiformerCase:
    """Load a case; a test that needs the whole of it is skipped where that is not."""
    folder = (WHOLE if whole else FIXTURES) / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here")
    weights = folder / "state_dict.safetensors"
    return SemiformerCase(
        options=json.loads((folder / "config.json").read_text()),
        io=load_file(folder / "io.safetensors"),
        expected=json.loads((folder / "expected.json").read_text()),
        weights=load_file(weights) if weights.is_file() else None,
    )
