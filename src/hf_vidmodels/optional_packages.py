"""Packages that only some work needs: the extra that installs each, and the one door by which they are imported."""

from importlib import import_module
from types import ModuleType

# The module, the extra of setup.cfg that brings it, and its name in package registries.
EXTRAS = {
    "matplotlib": "draw",
    "cv2": "opencv",
    "h5py": "hdf5",
    "sklearn": "embedded",
    "scipy": "mat",
    "faster_coco_eval": "fast-eval",
    "tensorboard": "track",
}
DISTRIBUTIONS = {module: module for module in EXTRAS} | {
    "cv2": "opencv-python-headless",
    "sklearn": "scikit-learn",
    "faster_coco_eval": "faster-coco-eval",
}


class MissingPackageError(ImportError, ValueError):
    """An optional package is not installed; its message says how to install it."""


def require(module: str, work: str) -> ModuleType:
    """Import an optional package, or a module of it.

    Args:
        module: dotted name; its first part is a key of `EXTRAS`.
        work: what needs it, for the error: "drawing", "optical flow".

    Raises:
        MissingPackageError: when the package is not installed; a `ValueError` as well, so that commands end in its
            sentence.
    """
    package = module.partition(".")[0]
    try:
        import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        name, extra = DISTRIBUTIONS[package], EXTRAS[package]
        raise MissingPackageError(
            f"{work} needs the package {name}, which is not installed: pip install 'hf_vidmodels[{extra}]'",
            name=package,
        ) from error
    return import_module(module)
