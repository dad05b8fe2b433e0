"""Releases schemas and bytes. What is out is never rewritten: it stands for what upstream teams have in their topics.

Run it after adding a schema or examples (`PYTHONPATH=src:tests python tests/contract/regenerate_bytes.py`). It appends
the digests of new schemas to `schemas/released.sha256` (sha256sum can check them), and what examples look like today to
`schemas/<topic>/examples/<version>.bin`: a sequence of messages, each after its length as four bytes, big-endian.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from cxstream.domain import vocabulary
from cxstream.kafka.codec import Codec
from cxstream.kafka.schemas import Schemas

ROOT = Path(__file__).resolve().parents[2] / "schemas"
DIGESTS = ROOT / "released.sha256"


def examples(topic: str) -> dict[str, dict[str, Any]]:
    """Return the examples of a topic by file name."""
    files = sorted((ROOT / topic / "examples").glob("*.json"))
    return {file.name: json.loads(file.read_text("utf-8")) for file in files}


def released(file: Path) -> list[bytes]:
    """Return the messages of a file of released bytes."""
    content = file.read_bytes() if file.exists() else b""
    messages = []
    while content:
        size = int.from_bytes(content[:4], "big")
        messages.append(content[4 : 4 + size])
        content = content[4 + size :]
    return messages


def digests() -> dict[str, str]:
    """Return the digest of every released schema by its path below `schemas`."""
    lines = DIGESTS.read_text("utf-8").splitlines() if DIGESTS.exists() else []
    return {path: digest for digest, path in (line.split("  ") for line in lines)}


def digest_of(path: str) -> str:
    """Return the SHA-256 of a file below `schemas`, in hexadecimal digits."""
    return hashlib.sha256((ROOT / path).read_bytes()).hexdigest()


def main() -> None:
    """Append the digests of schemas, and the messages of examples, that are not there yet."""
    with DIGESTS.open("a", encoding="utf-8") as out:
        for file in sorted(ROOT.glob("*/v*.avsc")):
            path = file.relative_to(ROOT).as_posix()
            if path not in digests():
                out.write(f"{digest_of(path)}  {path}\n")
                out.flush()
    schemas = Schemas.packaged()
    codec = Codec(schemas, skew_ms=0)
    for topic in vocabulary.TOPICS:
        folder = ROOT / topic / "examples"
        known = {message for file in folder.glob("*.bin") for message in released(file)}
        version = schemas.latest(topic).name.partition("/")[2]
        with (folder / f"{version}.bin").open("ab") as out:
            for event in examples(topic).values():
                message = codec.encode(event)
                if message not in known:
                    out.write(len(message).to_bytes(4, "big") + message)


if __name__ == "__main__":
    main()
