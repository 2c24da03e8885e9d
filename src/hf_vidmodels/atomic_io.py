"""Files and folders that are either complete or absent, whatever interrupts the writer; JSON objects read back."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from .text_files import read_json


@contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path` and move it there when the block ends well.

    A block that raises (a full disk included) leaves an earlier `path` untouched and no temporary file behind.

    Args:
        path: the final file; its folder is made when missing.
        mode: `"wb"` or `"w"` (UTF-8).

    Raises:
        OSError: when the file cannot be written; the message names `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise _writing_error(error, path) from error
    finally:
        Path(temporary).unlink(missing_ok=True)


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write `content` as indented JSON, atomically.

    Raises:
        TypeError: when `content` holds what JSON cannot say.
        OSError: as `atomic_write`.
    """
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    with atomic_write(path, "w") as file:
        file.write(text + "\n")


def read_json_object(path: str | os.PathLike[str], what: str) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Args:
        path: the file.
        what: what it should hold, as the end of a sentence: `"the official options"`.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is not JSON (`text_files.read_json`), or JSON of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; it should hold {what}")
    try:
        content = read_json(path)
    except ValueError as error:
        raise ValueError(f"{error}; it should hold {what}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a JSON object, got {type(content).__name__}; it should hold {what}")
    return content


@contextmanager
def atomic_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary folder that becomes `path` when the block ends well.

    When another process finished the same folder first, its result stays and this one is dropped, so that several
    processes may build one cache entry at once.

    Raises:
        OSError: when something in it cannot be written; the message names `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
    try:
        yield temporary
        os.chmod(temporary, 0o755)
        try:
            os.rename(temporary, path)
        except OSError:
            if not path.is_dir():
                raise
    except OSError as error:
        raise _writing_error(error, path) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _writing_error(error: OSError, path: Path) -> OSError:
    if error.errno is None or str(path) in str(error):
        return error
    return OSError(error.errno, f"{os.strerror(error.errno)} while writing {path}; nothing half-written was kept")
