"""Upload a finished run or a saved model to the Hub: checked before, retried on the way, clear when it fails."""

import itertools
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError
from huggingface_hub.utils import validate_repo_id

from ..atomic_io import atomic_write
from .cards import set_model_id
from .repository_folder import check_folder

logger = logging.getLogger(__name__)

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 30.0
TRANSIENT_STATUSES = frozenset({408, 409, 412, 429})
LOGIN_ADVICE = "run `hf auth login` with a token that may write, then try again"

Result = TypeVar("Result")


def push_folder(
    folder: str | os.PathLike[str],
    repo_id: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    commit_message: str | None = None,
    max_retries: int = 4,
) -> str:
    """Upload `folder` to the model repository `repo_id` in one commit, making the repository when it is new.

    The card's loading example is made to name `repo_id` first. `repository_folder.repository_files` says which files
    are sent. Requests that fail for a passing reason (a lost connection, too many requests, a fault of the server)
    are repeated with growing waits; files that arrived are not sent again.

    Args:
        folder: a Hub-ready folder, see `repository_folder.check_folder`.
        repo_id: `user/name` or `organization/name`.
        private: whether a new repository is private; `None` takes the owner's default. Existing ones stay as they are.
        revision: branch to commit to, made when missing; `None` for the main one.
        commit_message: first line of the commit.
        max_retries: how often a failing request is repeated.

    Returns:
        Address of the repository.

    Raises:
        FileNotFoundError, ValueError: when the folder is not fit to be shared, or `repo_id` is no repository name.
        PermissionError: when there is no token or the Hub refuses it.
        ConnectionError: when the Hub cannot be reached or keeps failing.
        OSError: when the Hub refuses the upload for another reason.
    """
    folder = Path(folder)
    if max_retries < 0:
        raise ValueError(f"max_retries must be at least 0, got {max_retries}")
    check_repo_id(repo_id)
    files = check_folder(folder)
    _check_access(repo_id)
    _name_model_in_card(folder / "README.md", repo_id)
    api = HfApi()

    def persist(action: Callable[[], Result]) -> Result:
        return _with_retries(action, folder, repo_id, max_retries)

    repository = persist(lambda: api.create_repo(repo_id, private=private, exist_ok=True))
    if revision is not None:
        persist(lambda: api.create_branch(repository.repo_id, branch=revision, exist_ok=True))
    persist(
        lambda: api.upload_folder(
            repo_id=repository.repo_id,
            folder_path=folder,
            allow_patterns=[_literal_pattern(name) for name in files],
            revision=revision,
            commit_message=commit_message or f"Upload {folder.resolve().name} with hf_vidmodels",
        )
    )
    return str(repository)


def check_repo_id(repo_id: str) -> None:
    """Refuse a name that no repository can have.

    Raises:
        ValueError: it is one.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ValueError(
            f"{repo_id!r} is no name of a repository; give user/name of letters, digits and single '-', '_' or '.'"
        ) from error


def _check_access(repo_id: str) -> None:
    if constants.is_offline_mode():
        raise ConnectionError(f"HF_HUB_OFFLINE is set, so nothing is uploaded to {repo_id}; unset it and try again")
    if get_token() is None:
        raise PermissionError(f"no Hugging Face token is known, so nothing is uploaded to {repo_id}; {LOGIN_ADVICE}")


def _name_model_in_card(path: Path, repo_id: str) -> None:
    card = path.read_text(encoding="utf-8")
    if (addressed := set_model_id(card, repo_id)) != card:
        with atomic_write(path, "w") as file:
            file.write(addressed)


def _literal_pattern(name: str) -> str:
    """Make a pattern of the Hub client that matches this one path."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _with_retries(action: Callable[[], Result], folder: Path, repo_id: str, max_retries: int) -> Result:
    wait = FIRST_WAIT_S
    for attempt in itertools.count(1):
        try:
            return action()
        except (HTTPError, RuntimeError) as error:
            cause = _cause(error)
            if attempt > max_retries or not _is_transient(cause):
                raise _final_error(cause, folder, repo_id, attempt) from error
            logger.warning("%s; trying again in %g s (%d of %d)", _reason(cause), wait, attempt, max_retries)
            time.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT_S)


def _cause(error: Exception) -> BaseException:
    """Unwrap the Hub client's `RuntimeError("Error while uploading ...")`."""
    return error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error


def _status(error: BaseException) -> int | None:
    return error.response.status_code if isinstance(error, HfHubHTTPError) else None


def _is_transient(error: BaseException) -> bool:
    status = _status(error)
    return status is None or status >= 500 or status in TRANSIENT_STATUSES


def _reason(error: BaseException) -> str:
    """Say what happened without the client's own message, which can hold addresses that give access."""
    status = _status(error)
    if status is None:
        return f"the connection to the Hub failed ({type(error).__name__})"
    return f"the Hub answered with status {status}"


def _final_error(error: BaseException, folder: Path, repo_id: str, attempts: int) -> OSError:
    status = _status(error)
    if status in (401, 403):
        return PermissionError(f"the Hub does not let this token write to {repo_id} (status {status}); {LOGIN_ADVICE}")
    if not _is_transient(error):
        return OSError(f"uploading {folder} to {repo_id} was refused: {_reason(error)}; check the repository's name")
    times = "once" if attempts == 1 else f"{attempts} times"
    return ConnectionError(
        f"uploading {folder} to {repo_id} failed {times}, {_reason(error)}; nothing is lost, run "
        f"hf-vidmodels push --folder {folder} --repo_id {repo_id} again later"
    )
