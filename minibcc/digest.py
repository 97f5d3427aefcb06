"""SHA-256 from Python itself, for the few kilobytes that a short run hashes.

hashlib loads OpenSSL, which takes longer than compiling Hello, World! from the cache. CPython
carries an implementation of its own, under a name that changed with 3.12; hashlib has the rest (its
own falls back on it, and `random` takes it the same way). For megabytes OpenSSL's is the faster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import sha256
else:
    try:
        from _sha2 import sha256
    except ImportError:
        try:
            from _sha256 import sha256
        except ImportError:
            from hashlib import sha256

__all__ = ["sha256"]
