"""Every error that unlearnkit raises on purpose, in one tree.

    UnlearnkitError
      TraceError                 the training step could not be turned into a graph that can be sketched
        UnsupportedOpsError        operations without a Taylor rule, all of them at once
        PiecewiseOpsError          operations that are only piecewise analytic, and not allowed by the recipe
      RecipeError                the recipe asks for something that cannot be done exactly
      EstimationError            the numbers do not carry the question
        NonFiniteError             a coefficient overflowed or became NaN
      FormatError                malformed bytes
        UnknownVersionError        a schema version that this release does not know
      VerificationError          well-formed, but false
        DigestMismatchError        bytes that are not the ones that were promised
        SignatureError             a signature that does not verify
        ThresholdError             too few trusted signatures
        ChainError                 a log line that does not continue the one before it
        InclusionError             an entry that is not in the tree
        ConsistencyError           two tree heads that no single history explains
        RollbackError              a history shorter than one already seen
      RefusedError               true, but not allowed
        PolicyError                the policy says no
        BudgetExceededError        the delta budget is spent
        AssumptionError            an assumption of the method does not hold
      UnknownNameError           a unit, probe or file that is not there

A caller's plain mistakes are ValueError or TypeError; OSError passes through. A message says what is wrong
(got, expected, where); the hint says what to do about it. Nothing here logs or exits.
"""

from __future__ import annotations

from collections.abc import Sequence


class UnlearnkitError(Exception):
    """Base of the tree. ``hint`` says what the caller can do.

    Example:
        >>> try:
        ...     bundle.probe("loss")
        ... except uk.UnlearnkitError as error:
        ...     print(error)
        the bundle has no probe 'loss'; it has: logits, own_loss, test_loss

    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class TraceError(UnlearnkitError):
    """The training step could not be turned into a graph that can be sketched."""


class _OpsError(TraceError):
    """A list of offending operations; ``problems`` has one entry for each."""

    def __init__(self, message: str, problems: Sequence[object], *, hint: str | None = None) -> None:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        super().__init__(f"{message}\n{lines}", hint=hint)
        self.problems = tuple(problems)


class UnsupportedOpsError(_OpsError):
    """Operations without a Taylor rule."""


class PiecewiseOpsError(_OpsError):
    """Operations that are only piecewise analytic, used without ``Recipe(allow_piecewise=True)``."""


class RecipeError(UnlearnkitError):
    """The recipe asks for something that cannot be done exactly; the message names the setting."""


class EstimationError(UnlearnkitError):
    """The numbers do not carry the question."""


class NonFiniteError(EstimationError):
    """A coefficient overflowed or became NaN.

    step: training step, counted from 0, or None outside training. node: the operation. where: module and source line.
    """

    def __init__(self, message: str, *, step: int | None, node: str, where: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.step = step
        self.node = node
        self.where = where


class FormatError(UnlearnkitError):
    """Malformed bytes."""


class UnknownVersionError(FormatError):
    """A schema version that this release does not know."""


class VerificationError(UnlearnkitError):
    """Well-formed, but false."""


class DigestMismatchError(VerificationError):
    """Bytes that are not the ones that were promised."""


class SignatureError(VerificationError):
    """A signature that does not verify."""


class ThresholdError(VerificationError):
    """Too few trusted signatures."""


class ChainError(VerificationError):
    """A log line that does not continue the one before it; ``index`` is its position."""

    def __init__(self, message: str, *, index: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.index = index


class InclusionError(VerificationError):
    """An entry that is not in the tree."""


class ConsistencyError(VerificationError):
    """Two tree heads that no single history explains; ``older`` and ``newer`` are the evidence, as raw bytes."""

    def __init__(self, message: str, *, older: bytes, newer: bytes, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.older = older
        self.newer = newer


class RollbackError(VerificationError):
    """A history shorter than one already seen."""


class RefusedError(UnlearnkitError):
    """True, but not allowed."""


class PolicyError(RefusedError):
    """The policy says no."""


class BudgetExceededError(RefusedError):
    """The delta budget of a bundle is spent."""


class AssumptionError(RefusedError):
    """An assumption of the method does not hold."""


class UnknownNameError(UnlearnkitError):
    """A unit, probe or file that is not there."""
