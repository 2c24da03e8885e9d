"""Access tokens and keys: how they look, and text without them."""

import re
from typing import IO

from huggingface_hub import get_token

# Hugging Face, GitHub, OpenAI and alike, Amazon, Google, Slack, and private keys.
SECRET_PATTERN = re.compile(
    r"\b(?:hf|api_org)_[A-Za-z0-9]{20,}\b"
    r"|\bgh[oprsu]_[A-Za-z0-9]{36,}\b|\bgithub_pat_[A-Za-z0-9_]{40,}\b"
    r"|\bsk-[A-Za-z0-9_-]{32,}"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bAIza[A-Za-z0-9_-]{35}|\bxox[abprs]-[A-Za-z0-9-]{10,}"
    r"|-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"
)
MASK = "[token]"
_SECRET_BYTES = re.compile(SECRET_PATTERN.pattern.encode())
_CHUNK = 2**24
_OVERLAP = 2**12


def holds_secret(file: IO[bytes], num_bytes: int | None = None) -> bool:
    """Tell whether a file holds what looks like a secret, or the token that this process uses.

    Zero bytes are passed over, so that text is read in any coding of ASCII's letters, UTF-16 and UTF-32 among them.

    Args:
        file: opened in binary mode.
        num_bytes: how many are looked at; all by default.
    """
    token = get_token()
    rest, kept = num_bytes, b""
    while chunk := file.read(_CHUNK if rest is None else min(_CHUNK, rest)):
        rest = None if rest is None else rest - len(chunk)
        text = kept + chunk.replace(b"\0", b"")
        if _SECRET_BYTES.search(text) or (token and token.encode() in text):
            return True
        kept = text[-_OVERLAP:]
    return False


def mask_secrets(text: str) -> str:
    """Give a text with `MASK` in place of each secret."""
    token = get_token()
    return SECRET_PATTERN.sub(MASK, text.replace(token, MASK) if token else text)
