"""What all commands share: errors as one sentence, and a help text that keeps its line breaks."""

import argparse
import os
import sys
from collections.abc import Callable

from huggingface_hub.errors import StrictDataclassError

USAGE_ERROR_STATUS = 2


def command_parser(name: str, description: str) -> argparse.ArgumentParser:
    """Make the parser of `hf-vidmodels NAME`.

    Args:
        name: of the command.
        description: shown by --help with its line breaks.
    """
    return argparse.ArgumentParser(
        prog=f"hf-vidmodels {name}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def run(main: Callable[[], None]) -> None:
    """Call `main` and end the process with status 2 and one sentence when the user's input was at fault.

    `ValueError` and `OSError` (missing files, full disks) are the package's way to report input that does not fit, a
    `StrictDataclassError` is that of configurations.
    Set `HF_VIDMODELS_TRACEBACK=1` to see where they came from; any other exception always shows its traceback.
    """
    try:
        main()
    except (ValueError, OSError, StrictDataclassError) as error:
        if os.environ.get("HF_VIDMODELS_TRACEBACK") == "1":
            raise
        # A refused configuration says only which of its checks failed; the reason is its cause.
        cause = error.__cause__ if isinstance(error, StrictDataclassError) and error.__cause__ else error
        sentence = " ".join(str(cause).split()) or type(error).__name__
        print(f"error: {sentence}", file=sys.stderr)
        sys.exit(USAGE_ERROR_STATUS)
