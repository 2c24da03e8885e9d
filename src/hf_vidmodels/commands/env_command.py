"""Print what a report of a fault needs: versions, platform, devices, decoders and optional packages.

    hf-vidmodels env

Nothing in it names you: no folders, no host, no user, no tokens. Copy it into the report.
"""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from ..__about__ import __version__
from ..command_line import command_parser
from ..optional_packages import DISTRIBUTIONS, EXTRAS

REQUIRED = (
    "torch",
    "torchvision",
    "transformers",
    "datasets",
    "accelerate",
    "evaluate",
    "huggingface_hub",
    "safetensors",
    "numpy",
    "pillow",
    "pycocotools",
    "av",
)
# Variables that change what runs and hold no secret.
VARIABLES = (
    "ACCELERATE_USE_CPU",
    "CUDA_VISIBLE_DEVICES",
    "HF_HUB_OFFLINE",
    "OMP_NUM_THREADS",
    "PYTORCH_ENABLE_MPS_FALLBACK",
    "WORLD_SIZE",
)


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and print."""
    command_parser("env", __doc__).parse_args(argv)
    facts = {
        "hf_vidmodels": __version__,
        "Python": f"{platform.python_version()} ({platform.python_implementation()})",
        "platform": platform.platform(),
        **{name: installed_version(name) for name in REQUIRED},
        **describe_devices(),
        "decoder": describe_decoder(),
        **{
            DISTRIBUTIONS[module]: f"{installed_version(DISTRIBUTIONS[module])} (extra {extra})"
            for module, extra in EXTRAS.items()
        },
        **{name: os.environ[name] for name in VARIABLES if name in os.environ},
    }
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:{width}}  {value}")


def installed_version(distribution: str) -> str:
    """Give the version of an installed package, or say that it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


def describe_devices() -> dict[str, str]:
    """Say what PyTorch can compute on: the processor with its threads, and every GPU."""
    import torch

    facts = {"CPU": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads for PyTorch"}
    if torch.cuda.is_available():
        kind = "ROCm" if torch.version.hip else "CUDA"
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            facts[f"GPU {index}"] = f"{properties.name}, {properties.total_memory / 2**30:.1f} GiB"
        facts[kind] = str(torch.version.hip or torch.version.cuda)
    elif torch.accelerator.is_available():
        facts["accelerator"] = str(torch.accelerator.current_accelerator())
    else:
        facts["GPU"] = "none that PyTorch sees"
    return facts


def describe_decoder() -> str:
    """Name the libraries of FFmpeg that PyAV brings, with their versions."""
    try:
        import av
    except ImportError as error:
        return f"PyAV cannot be imported: {error}"
    libraries = ", ".join(f"{name} {'.'.join(map(str, found))}" for name, found in sorted(av.library_versions.items()))
    return f"PyAV with {libraries}"
