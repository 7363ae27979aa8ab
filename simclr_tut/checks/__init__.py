"""Checkers of the exercises: ``checks.NAME(candidate)`` prints one line and returns a Result."""

from simclr_tut.checks._runner import Mistake, Result, checker

__all__ = ["Mistake", "Result", "checker"]
