"""The journal of `hf-vidmodels label`: masks on the disk as they are made, so that a killed run goes on where it was.

A folder with `settings.json`, which says what the masks depend on, and files of JSON lines, one for each process of
each start. A portion is a line for each of its boxes and a last line that closes it, written together; what follows
the last closed portion of a file was cut off and does not count. Memory holds where the line of each box is.
"""

import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ...atomic_io import read_json_object, write_json
from ...printable_text import cut_text

SETTINGS_FILE = "settings.json"
RECORDS = "records-*.jsonl"
LOCK_FILE = "lock"
# A killed process loses nothing that it has written; only a fall of the whole machine loses so many seconds.
SECONDS_BETWEEN_SYNCS = 5.0
SECONDS_TO_WAIT_FOR_OTHERS = 10.0


class JournalReader:
    """The closed portions of a journal.

    Args:
        folder: of the journal.
        num_boxes: boxes of the plan, by row.
        num_portions: portions of the plan.

    Attributes:
        closed: (num_portions,) bool.
        complete: (num_portions,) bool, which are closed and hold no picture that could not be read.
        unreadable: why the picture of a box could not be read, by row.
    """

    def __init__(self, folder: Path, num_boxes: int, num_portions: int) -> None:
        self.closed = np.zeros(num_portions, bool)
        self.complete = np.zeros(num_portions, bool)
        self.unreadable: dict[int, str] = {}
        self._files = sorted(folder.glob(RECORDS))
        self._file_of = np.full(num_boxes, -1, np.int32)
        self._offset_of = np.zeros(num_boxes, np.int64)
        self._handles: dict[int, Any] = {}
        for number, path in enumerate(self._files):
            self._read(number, path)

    def result(self, row: int) -> dict[str, Any] | None:
        """Give what was written about a box, or None."""
        number = int(self._file_of[row])
        if number < 0:
            return None
        if number not in self._handles:
            self._handles[number] = self._files[number].open("rb")
        handle = self._handles[number]
        handle.seek(self._offset_of[row])
        return json.loads(handle.readline())

    def close(self) -> None:
        """Close the files."""
        for handle in self._handles.values():
            handle.close()

    def _read(self, number: int, path: Path) -> None:
        rows, offsets, unreadable, offset = [], [], {}, 0
        with path.open("rb") as file:
            for line in file:
                record = _parse(line)
                if record is None:
                    # Nothing in this file was written after it.
                    return
                if "portion" in record:
                    self._file_of[rows] = number
                    self._offset_of[rows] = offsets
                    self.closed[record["portion"]] = True
                    self.complete[record["portion"]] = not unreadable
                    for row in rows:
                        self.unreadable.pop(row, None)
                    self.unreadable |= unreadable
                    rows, offsets, unreadable = [], [], {}
                else:
                    rows.append(record["row"])
                    offsets.append(offset)
                    if "unreadable" in record:
                        unreadable[record["row"]] = record["unreadable"]
                offset += len(line)


class JournalWriter:
    """The file of one process of one start.

    Args:
        folder: of the journal.
        name: of the file, new for each process of each start.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        self._synced = time.monotonic()

    def append(self, portion: int, results: Iterable[Mapping[str, Any]]) -> None:
        """Write what was found for the boxes of a portion, and close it.

        Raises:
            OSError: the disk is full, or the like.
        """
        lines = [json.dumps(result, separators=(",", ":")) for result in (*results, {"portion": portion})]
        block = memoryview(("\n".join(lines) + "\n").encode())
        while block:
            block = block[os.write(self._descriptor, block) :]
        if time.monotonic() - self._synced > SECONDS_BETWEEN_SYNCS:
            self._sync()

    def close(self) -> None:
        """Bring all of it to the disk."""
        self._sync()
        os.close(self._descriptor)

    def _sync(self) -> None:
        os.fsync(self._descriptor)
        self._synced = time.monotonic()


def begin_journal(folder: Path, settings: Mapping[str, Any], *, restart: bool) -> None:
    """Write the settings of a new journal, or see that the one there is was begun with the same.

    Args:
        folder: of the journal.
        settings: what the masks depend on, as JSON can say it.
        restart: throw away what there is.

    Raises:
        ValueError: other settings; names the first that differs.
        OSError: it cannot be written.
    """
    if restart:
        for file in (folder / SETTINGS_FILE, *folder.glob(RECORDS)):
            file.unlink(missing_ok=True)
    path = folder / SETTINGS_FILE
    if path.is_file():
        refuse_other_settings(read_json_object(path, "the settings of a labelling run"), settings, str(folder))
    else:
        write_json(path, settings)


def refuse_other_settings(before: Mapping[str, Any], now: Mapping[str, Any], where: str) -> None:
    """Raise ValueError when masks were begun with other settings, naming the first that differs."""
    # What went through JSON has lists for tuples.
    now = json.loads(json.dumps(now))
    for name in dict.fromkeys((*now, *before)):
        if before.get(name) != now.get(name):
            raise ValueError(
                f"{where} holds masks that were begun with another {name} ({_short(before.get(name))}, now "
                f"{_short(now.get(name))}); go on with the same, choose another output, or say --restart to throw "
                "them away"
            )


@contextmanager
def only_run_on(folder: Path) -> Iterator[None]:
    """Hold the journal, so that no second run writes the same output at once.

    The folder is made when missing, and removed again when nothing came into it.

    Raises:
        ValueError: another run holds it, and does not end within ten seconds.
    """
    from filelock import FileLock, Timeout

    deadline = time.monotonic() + SECONDS_TO_WAIT_FOR_OTHERS
    lock = FileLock(folder / LOCK_FILE)
    while not lock.is_locked:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=max(0.0, deadline - time.monotonic()))
        except Timeout as error:
            raise ValueError(f"another run is labelling into {folder}; wait for it or end it") from error
        except FileNotFoundError:
            # The other run has just finished and taken the folder away.
            continue
    try:
        yield
    finally:
        if not is_begun(folder):
            shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def is_begun(folder: Path) -> bool:
    """Tell whether a journal has its settings."""
    return (folder / SETTINGS_FILE).is_file()


def next_record_name(folder: Path, process: int) -> str:
    """Give the name of a new file of records for a process of this start."""
    starts = [int(path.name.split("-")[1]) for path in folder.glob(RECORDS)]
    return f"records-{max(starts, default=0) + 1:04d}-{process:04d}.jsonl"


def _parse(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and ("row" in record or "portion" in record) else None


def _short(value: Any) -> str:
    return cut_text(json.dumps(value), 60)
