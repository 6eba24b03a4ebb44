"""The shape of an API key, `dfk_<8 characters>_<secret>`, and its digest. Pure functions."""

import hashlib
import secrets
from typing import NamedTuple

#: Longer ones are not looked into; ours are 56 characters.
MAX_KEY_LENGTH = 200
SECRET_BYTES = 32


class NewKey(NamedTuple):
    plaintext: str
    prefix: str


def generate_key() -> NewKey:
    prefix = f"dfk_{secrets.token_hex(4)}"
    return NewKey(f"{prefix}_{secrets.token_urlsafe(SECRET_BYTES)}", prefix)


def digest(key: str) -> str:
    """Return the SHA-256 of an ASCII key, in hexadecimal."""
    return hashlib.sha256(key.encode("ascii")).hexdigest()
