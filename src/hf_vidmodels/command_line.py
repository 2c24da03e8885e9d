"""What all commands share: help that keeps its line breaks, quiet libraries, and an end in one sentence, always."""

import argparse
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import FrameType

from huggingface_hub.errors import StrictDataclassError

from .printable_text import PrintableStream, printable
from .secrets_in_text import mask_secrets

USAGE_ERROR_STATUS = 2
# As sysexits.h has it for mistakes of a program.
UNEXPECTED_STATUS = 70
# As shells give it after Ctrl-C and after SIGTERM.
STOPPED_STATUS = 130
TERMINATED_STATUS = 143
TRACEBACK_VARIABLE = "HF_VIDMODELS_TRACEBACK"


def command_parser(name: str, description: str) -> argparse.ArgumentParser:
    """Make the parser of `hf-vidmodels NAME`.

    Args:
        name: of the command.
        description: shown by --help with its line breaks.
    """
    return argparse.ArgumentParser(
        prog=f"hf-vidmodels {name}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def whole_number_from(least: int) -> Callable[[str], int]:
    """Give the `type` of an option that takes whole numbers of at least `least`, for `add_argument`."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be a whole number of at least {least}, got {text}")
        return int(text)

    return read


def quiet_libraries() -> None:
    """Keep libraries from drawing progress bars of their own: for weights, and for files that lie here already.

    Downloads from the Hub keep theirs.
    """
    # Read when `datasets` is imported, which this function need not wait for; worker processes inherit it.
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    from transformers.utils import logging

    logging.disable_progress_bar()


class TerminatedError(KeyboardInterrupt):
    """SIGTERM came, as from a batch system: what Ctrl-C keeps is kept."""


@contextmanager
def _terminated_as_by_ctrl_c() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() == owner:
            raise TerminatedError
        # A forked worker, whose parent ends it so.
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    earlier = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)


def run(main: Callable[[], None]) -> None:
    """Call `main` and end the process with one sentence when it fails.

    Status 2 is for what the user can mend: `ValueError` and `OSError` (missing files, full disks) are the package's
    way to report input that does not fit, a `StrictDataclassError` is that of configurations, an `ImportError` that
    of packages which are not installed, and memory may be too small. Ctrl-C ends with status 130, SIGTERM with 143;
    all else is a mistake of the program, status 70. With `HF_VIDMODELS_TRACEBACK=1` the traceback comes first.

    What is printed meanwhile shows characters that steer terminals as escapes; secrets are masked in errors.

    Raises:
        SystemExit: when `main` fails.
    """
    try:
        with _terminated_as_by_ctrl_c(), redirect_stdout(PrintableStream(sys.stdout)):
            main()
    except KeyboardInterrupt as stop:
        status = TERMINATED_STATUS if isinstance(stop, TerminatedError) else STOPPED_STATUS
        _end("stopped: what was finished is kept; the same command again goes on, where it can", status)
    except (ValueError, OSError, StrictDataclassError, ImportError) as error:
        # A refused configuration says only which of its checks failed; the reason is its cause.
        cause = error.__cause__ if isinstance(error, StrictDataclassError) and error.__cause__ else error
        _end(f"error: {_file_for_folder(cause) or one_line(cause)}", USAGE_ERROR_STATUS)
    except Exception as error:
        if _lacks_memory(error):
            way_out = "give it less at once, such as a smaller --batch_size"
            _end(f"error: the memory is too small ({one_line(error)}); {way_out}", USAGE_ERROR_STATUS)
        way_out = f"please report it with the traceback that {TRACEBACK_VARIABLE}=1 shows"
        _end(f"unexpected: {type(error).__name__}: {one_line(error)}; {way_out}", UNEXPECTED_STATUS)


def _file_for_folder(error: BaseException) -> str | None:
    """Give the sentence for a folder that cannot be made because a file has its name, or that of one above it."""
    if isinstance(error, FileExistsError | NotADirectoryError) and error.filename is not None:
        above = next((path for path in (Path(error.filename), *Path(error.filename).parents) if path.exists()), None)
        if above is not None and not above.is_dir():
            return f"{above} is a file, where a folder is needed; name another, or move the file away"
    return None


def _lacks_memory(error: Exception) -> bool:
    # PyTorch has a class for accelerators only; on the CPU its allocator raises a plain RuntimeError.
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "DefaultCPUAllocator" in str(error)
    )


def _end(sentence: str, status: int) -> None:
    if os.environ.get(TRACEBACK_VARIABLE) == "1":
        print(mask_secrets(traceback.format_exc()), file=sys.stderr)
    print(printable(mask_secrets(sentence)), file=sys.stderr)
    sys.exit(status)


def one_line(error: BaseException) -> str:
    """Give the message of an error without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__
