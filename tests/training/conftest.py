"""A toy run in this process, with everything but the recipe as in a real one."""

import gc
import sys
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from safetensors.torch import load_file

from hf_vidmodels.training import loop

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


# The loop collects garbage between stages; what the test session has imported need not be looked through each time.
gc.freeze()


@pytest.fixture(autouse=True)
def one_thread_and_no_accelerator_left():
    torch.set_num_threads(1)
    yield
    for shared in (AcceleratorState, GradientState, PartialState):
        shared._reset_state()


@pytest.fixture
def train(monkeypatch):
    """Return a function that trains the toy into a folder and gives its final weights; draws only when asked to."""

    def train_toy(output_dir, recipe_class=ToyRecipe, draw=False, **changes):
        args = ToyArguments(**(SETTINGS | {"output_dir": str(output_dir)} | changes))
        with monkeypatch.context() as patch:
            if not draw:
                patch.setattr(loop, "write_loss_curve", lambda folder, metric: None)
            loop.run(recipe_class(args), args)
        return load_file(Path(output_dir) / "model.safetensors")

    return train_toy
