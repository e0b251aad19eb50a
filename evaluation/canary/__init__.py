"""Canary checks of a promoted service: the same questions to the stable and the candidate one, judged in pairs."""

from evaluation.canary.decision import CanaryDecision
from evaluation.canary.judging import judge
from evaluation.canary.policy import CanaryPolicy

__all__ = ["CanaryDecision", "CanaryPolicy", "judge"]
