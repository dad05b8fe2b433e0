"""Releases bytes: appends what the examples look like today to `schemas/<topic>/examples/<version>.bin`.

Run it after adding examples (`PYTHONPATH=src:tests python tests/contract/regenerate_bytes.py`). Bytes once released
are never rewritten: they stand for what upstream teams have in their topics, and every later version of the service has
to go on reading them.
The format is a sequence of messages, each after its length as four bytes, big-endian.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cxstream.domain import vocabulary
from cxstream.kafka.codec import Codec
from cxstream.kafka.schemas import Schemas

ROOT = Path(__file__).resolve().parents[2] / "schemas"


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


def main() -> None:
    """Append the messages of examples that are in no file yet."""
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
