"""What a folder must hold to be a model repository on the Hub, and which of its files belong there."""

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers.dynamic_module_utils import get_relative_import_files

from ..atomic_io import read_json_object
from ..data.features.stream_settings import StreamSettings
from ..secrets_in_text import holds_secret
from ..text_files import read_text

# Resumable training states, and what trackers, Python and the Hub client write beside a model.
LOCAL_FOLDERS = frozenset({"checkpoints", "runs", "logs", "wandb", "trackio", "mlruns", "tensorboard", "__pycache__"})
SHARED_HIDDEN_NAMES = frozenset({".eval_results", ".gitattributes"})
# Formats whose loading can run code that came with the file, wherever they stand among the suffixes of a name.
UNSAFE_SUFFIXES = frozenset(
    ("bin", "ckpt", "cloudpickle", "dill", "jbl", "joblib", "mar", "nemo", "pck", "pcl", "pickle", "pkl", "pt", "pt2")
    + ("pth", "pyth", "t7")
)
# How pickles of protocol 2 to 5 begin, and arrays of Python objects.
_PICKLE_HEAD = re.compile(rb"\x80[\x02-\x05]|\x93NUMPY.{0,200}'descr': '\|O'", flags=re.DOTALL)
_HEAD_BYTES = 256


def repository_files(folder: str | os.PathLike[str]) -> list[str]:
    """List the files of `folder` that belong in its repository.

    Left out are training checkpoints, the folders of experiment trackers, and hidden files other than
    `.eval_results/` and `.gitattributes`.

    Returns:
        Paths relative to `folder` with `/` between parts, sorted.

    Raises:
        FileNotFoundError: when there is no such folder.
        ValueError: when one of them is a symbolic link, or lies behind one.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder; name the output_dir of a finished run or a saved model")
    files = []
    for path in folder.rglob("*"):
        name = PurePosixPath(path.relative_to(folder).as_posix())
        if not _is_shared(name):
            continue
        if path.is_symlink():
            raise ValueError(
                f"{path} is a symbolic link, which is not followed when a folder is shared; put a copy there"
            )
        if path.is_file():
            files.append(str(name))
    return sorted(files)


def check_folder(folder: str | os.PathLike[str]) -> list[str]:
    """Check that `folder` is a whole model repository that is safe to share.

    It needs `config.json`, readable safetensors weights, a `README.md` with metadata, the code that the `auto_map` of
    `config.json` names, and the networks that make its features where these are no models of the Hub. It may hold no
    pickles, no access tokens and no symbolic links.

    Returns:
        The files to upload, as `repository_files`.

    Raises:
        FileNotFoundError: when a needed file is missing; the message says how to make it.
        ValueError: when a file is there but broken or must not be shared.
    """
    folder = Path(folder)
    files = repository_files(folder)
    _refuse_unsafe_files(folder, files)
    config = _read_config(folder)
    _check_weights(folder)
    _check_card(folder)
    _check_code(folder, config)
    _check_feature_extractor(folder, files, config)
    _refuse_secrets(folder, files)
    return files


def _is_shared(path: PurePosixPath) -> bool:
    hidden = any(part.startswith(".") and part not in SHARED_HIDDEN_NAMES for part in path.parts)
    return not hidden and path.parts[0] not in LOCAL_FOLDERS and "__pycache__" not in path.parts


def _refuse_unsafe_files(folder: Path, files: list[str]) -> None:
    if unsafe := [name for name in files if _is_unsafe(folder, name)]:
        raise ValueError(
            f"{folder} holds {', '.join(unsafe)}: only safetensors weights are shared, because loading such files can "
            "run code; save the model with save_pretrained and remove them"
        )


def _is_unsafe(folder: Path, name: str) -> bool:
    suffixes = re.findall(r"\.([a-z0-9]+)", PurePosixPath(name).name.lower())
    if UNSAFE_SUFFIXES & set(suffixes):
        return True
    with (folder / name).open("rb") as file:
        return _PICKLE_HEAD.match(file.read(_HEAD_BYTES)) is not None


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; save the model there with model.save_pretrained({str(folder)!r})")
    config = read_json_object(path, "the configuration that model.save_pretrained writes")
    if "model_type" not in config:
        raise ValueError(f"{path} has no model_type, so no Auto class can load it; save the model again")
    return config


def _check_weights(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    names = ["model.safetensors"]
    if index.is_file():
        weight_map = read_json_object(index, "which file holds which weight").get("weight_map")
        if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
            raise ValueError(f"{index} has no weight_map of file names; save the model again")
        names = sorted(set(weight_map.values()))
    for name in names:
        path = folder / name
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; save the weights with model.save_pretrained({str(folder)!r})")
        try:
            with safe_open(path, framework="np"):
                continue
        except SafetensorError as error:
            raise ValueError(f"{path} is no whole safetensors file ({error}); save the model again") from error


def _check_card(folder: Path) -> None:
    path = folder / "README.md"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; make the card of a finished run with "
            f"hf_vidmodels.hub.cards.write_card({str(folder)!r}), or write one"
        )
    if not re.match(r"---\r?\n.+?\r?\n---\r?\n", read_text(path), flags=re.DOTALL):
        raise ValueError(f"{path} does not begin with metadata between two lines of ---, as the Hub expects")


def _check_code(folder: Path, config: dict[str, Any]) -> None:
    if "auto_map" not in config:
        raise FileNotFoundError(
            f"{folder} has no code (no auto_map in config.json), so that only processes with hf_vidmodels could load "
            f"it; add it with hf_vidmodels.hub.code_export.export_code(model, {str(folder)!r}, [processor])"
        )
    for stem in sorted(set(_local_modules(folder, config["auto_map"]))):
        try:
            get_relative_import_files(folder / f"{stem}.py")
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"the code in {folder} is not whole, {Path(error.filename).name} is missing; write it again with "
                f"hf_vidmodels.hub.code_export.export_code(model, {str(folder)!r}, [processor])"
            ) from error


def _local_modules(folder: Path, auto_map: Any) -> Iterator[str]:
    """Yield the module of each class; one with `--` lies in another repository."""
    references = auto_map.values() if isinstance(auto_map, dict) else [auto_map]
    for reference in references:
        # Auto classes of tokenizers have two classes each, of which one may be missing.
        for one in reference if isinstance(reference, list) else [reference]:
            if one is not None and (not isinstance(one, str) or not re.fullmatch(r"(.+--)?\w+\.\w+", one)):
                raise ValueError(
                    f"{folder / 'config.json'} has an auto_map that names no module and class: {auto_map!r:.200}; "
                    "export the code again"
                )
            if one is not None and "--" not in one:
                yield one.split(".")[0]


def _check_feature_extractor(folder: Path, files: list[str], config: dict[str, Any]) -> None:
    """Refuse a checkpoint whose feature networks stay behind on this machine."""
    settings = config.get("feature_extractor")
    streams = settings.get("streams") if isinstance(settings, dict) else None
    for stream, fields in streams.items() if isinstance(streams, dict) else ():
        one = StreamSettings.from_dict(fields)
        if one.lives_in_checkpoint:
            travels = any(name.startswith(f"{one.subfolder}/") for name in files)
        else:
            made_anew = one.random_init_seed is not None
            travels = made_anew or one.names_hub_model
        if not travels:
            place = one.weights or one.model or one.subfolder
            raise ValueError(
                f"{folder / 'config.json'} takes its {stream} features from {place}, which is not in the folder, so "
                "that the checkpoint would take no video elsewhere; save the networks there with "
                "SnippetFeatureExtractor.save, or set feature_extractor to null"
            )


def _refuse_secrets(folder: Path, files: list[str]) -> None:
    for name in files:
        with (folder / name).open("rb") as file:
            # Weights are numbers; what is written about them stands in front.
            header = 8 + int.from_bytes(file.read(8), "little") if name.endswith(".safetensors") else None
            file.seek(0)
            if holds_secret(file, header):
                raise ValueError(f"{folder / name} holds what looks like an access token or key; remove it first")
