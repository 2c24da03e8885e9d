"""A toy run in this process, with everything but the recipe as in a real one."""

import sys
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from safetensors.torch import load_file

from hf_vidmodels.training.loop import run

sys.path.insert(0, str(Path(__file__).parent))

from toy_recipe import ToyArguments, ToyRecipe  # noqa: E402

SETTINGS = {
    "num_train_epochs": 2,
    "per_device_train_batch_size": 3,
    "gradient_accumulation_steps": 2,
    "learning_rate": 0.05,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 2,
    "max_grad_norm": 1.0,
    "logging_steps": 2,
    "save_strategy": "steps",
    "save_steps": 1,
    "save_total_limit": None,
    "dataset_name": "toy",
    "disable_tqdm": True,
}


@pytest.fixture(autouse=True)
def one_thread_and_no_accelerator_left():
    torch.set_num_threads(1)
    yield
    for shared in (AcceleratorState, GradientState, PartialState):
        shared._reset_state()


@pytest.fixture
def train():
    """Return a function that trains the toy into a folder and gives its final weights."""

    def train_toy(output_dir, recipe_class=ToyRecipe, **changes):
        args = ToyArguments(**(SETTINGS | {"output_dir": str(output_dir)} | changes))
        run(recipe_class(args), args)
        return load_file(Path(output_dir) / "model.safetensors")

    return train_toy
