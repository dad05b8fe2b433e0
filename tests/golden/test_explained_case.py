"""The explanation of one rich case, word by word as people read it."""

from __future__ import annotations

from pathlib import Path

from golden.explained_case import KEPT, explanation


def test_the_explanation_is_the_one_kept(tmp_path: Path) -> None:
    """What `cxstream explain` prints of a rich case is what was read and kept, to the letter.

    Where it changes on purpose: `PYTHONPATH=src:tests .venv/bin/python tests/golden/explained_case.py`, and read it.
    """
    assert explanation(tmp_path).splitlines() == KEPT.read_text("utf-8").splitlines()
