"""The oracle: an independent, slow, obvious reading of the vital signs contract for tests."""

from .evaluator import POLICY, Result, Verdict, evaluate

__all__ = ["POLICY", "Result", "Verdict", "evaluate"]
