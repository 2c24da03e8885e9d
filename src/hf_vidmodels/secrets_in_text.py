"""Access tokens and keys: how they look, and text without them."""

import re

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


def find_secret(text: str) -> bool:
    """Tell whether a text holds what looks like a secret, or the token that this process uses."""
    token = get_token()
    return SECRET_PATTERN.search(text) is not None or bool(token and token in text)


def mask_secrets(text: str) -> str:
    """Give a text with `MASK` in place of each secret."""
    token = get_token()
    return SECRET_PATTERN.sub(MASK, text.replace(token, MASK) if token else text)
