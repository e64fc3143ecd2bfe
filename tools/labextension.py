"""Notes from which sources labextension/built was built, or checks that it was from these.

usage: python tools/labextension.py [--check]
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "labextension"
NOTE = FOLDER / "built.sha256"


def digest() -> str:
    """Of all that goes into the build."""
    files = ["package.json", "package-lock.json", "tsconfig.json"]
    files += sorted(
        str(path.relative_to(FOLDER))
        for folder in ("src", "style")
        for path in (FOLDER / folder).iterdir()
    )
    joined = hashlib.sha256()
    for name in files:
        joined.update(name.encode() + b"\0" + (FOLDER / name).read_bytes() + b"\0")
    return joined.hexdigest()


def main() -> int:
    if "--check" not in sys.argv:
        NOTE.write_text(digest() + "\n")
        return 0
    if NOTE.read_text().strip() == digest():
        return 0
    print("labextension/built is not of these sources: make labextension, and commit what it made")
    return 1


if __name__ == "__main__":
    sys.exit(main())
