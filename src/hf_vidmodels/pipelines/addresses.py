"""Addresses of videos in pipelines: `file://` and http, as the pipelines of transformers take them.

Only pipelines fetch: what an address in the table of a corpus names is never asked for.
"""

from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname, urlopen

# Seconds without an answer after which a server is given up.
TIMEOUT = 30.0


def fetch_video(source: Any) -> Any:
    """Give the path that a `file://` address names, or what is behind an http address; anything else as it is.

    Raises:
        OSError: the server does not answer, or has no such file.
        ValueError: the address is of another kind.
    """
    if not isinstance(source, str) or "://" not in source:
        return source
    parts = urlsplit(source)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return url2pathname(parts.path)
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"{source} is no address that can be read; give a path, or a file:// or http address")
    try:
        with urlopen(source, timeout=TIMEOUT) as answer:
            return {"path": source, "bytes": answer.read()}
    except (OSError, HTTPException) as error:
        raise OSError(f"{source} cannot be fetched ({error}); check the address, or download the file") from error
