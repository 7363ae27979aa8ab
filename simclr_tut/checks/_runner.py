"""How every checker runs a student's answer: silenced, timed, and never with a traceback."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType, ModuleType

import numpy as np
import torch

SECONDS = 10.0


@dataclass(frozen=True)
class Result:
    """What a checker found: a share of the points from 0 to 1, and the line it printed."""

    name: str
    score: float
    points: int
    message: str

    @property
    def passed(self) -> bool:
        """Whether the answer earned every point."""
        return self.score == 1.0

    def _ipython_display_(self) -> None:
        """Show nothing as a cell's value: the printed line has said it."""


class Mistake(Exception):
    """Raised by a checker: one sentence that names the mistake, and the share of points earned."""

    def __init__(self, sentence: str, score: float = 0.0) -> None:
        super().__init__(sentence)
        self.score = score


class _Late(BaseException):
    """Raised inside a candidate that runs too long; not an Exception, so that few catch it."""


@contextlib.contextmanager
def global_state() -> Iterator[None]:
    """Put back what a candidate may set for the whole process: random states, dtype, folder …"""
    generators = torch.random.get_rng_state(), np.random.get_state(), random.getstate()
    dtype, threads, folder = torch.get_default_dtype(), torch.get_num_threads(), os.getcwd()
    limit, trace = sys.getrecursionlimit(), sys.gettrace()
    torch.set_default_dtype(torch.float32)
    anomaly = torch.is_anomaly_enabled()
    try:
        with torch.enable_grad():  # a notebook may have switched gradients off
            yield
    finally:
        sys.settrace(trace)
        sys.setrecursionlimit(limit)
        torch.random.set_rng_state(generators[0])
        np.random.set_state(generators[1])
        random.setstate(generators[2])
        torch.set_default_dtype(dtype)
        torch.autograd.set_detect_anomaly(anomaly)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        os.chdir(folder)


def checker(points: int = 1, seconds: float | None = None,
            answers: tuple[object, ...] = ()) -> Callable[[Callable], Callable]:
    """Turn ``body(candidate) -> pass line`` into a checker that survives any candidate.

    The body raises ``Mistake`` for an answer that is wrong. Anything else that is raised, a
    candidate that hangs, prints or warns ends in one printed line. ``None`` is "not attempted".
    The checker returns a ``Result``.

    Args: answers: functions of the package that are the answer; a candidate whose code names one
        earns nothing. A copy of their text cannot be noticed.
    """

    def wrap(body: Callable[..., str]) -> Callable[..., Result]:
        @functools.wraps(body)
        def check(candidate: object = None) -> Result:
            if candidate is None:
                score, message = 0.0, "not attempted yet: set the name in the cell above, run it, "\
                                      "then run this cell again."
                mark = "…"
            else:
                limit = SECONDS if seconds is None else seconds
                score, message = _judge(body, candidate, limit)
                taken = _taken(candidate, answers) if score == 1.0 else None
                if taken:
                    score, message = 0.0, (
                        f"right, but {taken} of the package does the work. Write the lines "
                        "yourself: they are what the exercise is about.")
                message = " ".join(message.split())  # one line, whatever it quotes
                mark = "✓" if score == 1.0 else "✗"
            earned = f"{score * points:g} of {points} points" if points > 1 else (
                f"{score * points:g} of 1 point")
            print(f"{mark} {body.__name__}: {message} ({earned})")
            return Result(body.__name__, score, points, message)

        check.points = points
        return check

    return wrap


def _judge(body: Callable[..., str], candidate: object, seconds: float) -> tuple[float, str]:
    try:
        with global_state(), warnings.catch_warnings(), \
                contextlib.redirect_stdout(io.StringIO()), \
                contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            return 1.0, _within(seconds, body, candidate)
    except Mistake as mistake:
        return min(max(float(mistake.score), 0.0), 0.99), str(mistake)
    except _Late:
        return 0.0, (f"your code was still running after {seconds:g} s and was stopped. Look for a "
                     "loop that never ends, or a loop over pixels where one tensor operation does.")
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a candidate may raise anything, even SystemExit
        first = _first_line(error)
        if isinstance(error, RuntimeError) and "leaf Variable" in first:
            return 0.0, (f"autograd forbids to write into a parameter that it watches"
                         f"{_where(error)} Put the update under torch.no_grad().")
        if isinstance(error, RuntimeError) and "expanded size" in first:
            return 0.0, (f"an assignment has another number of rows on its left than on its right "
                         f"({first[:160]}){_where(error)} A slice that runs past the end is "
                         "shorter than you think.")
        if isinstance(error, RuntimeError) and ("must match" in first or "cannot be mult" in first):
            return 0.0, (f"two shapes do not fit ({first[:160]}){_where(error)} Print both. "
                         "Factors of shape (N,) meet pictures as (N, 1, 1, 1).")
        return 0.0, (f"your code stopped with {type(error).__name__}"
                     f"{': ' + first[:160] if first else ''}{_where(error)}")


def _taken(candidate: object, answers: tuple[object, ...]) -> str | None:
    """The name of the package's answer that the candidate's code names, if it does.

    Looks at the candidate, at what it and the functions of the same notebook name, and at
    imports inside them. Never raises: an object may answer any question with an error.
    """
    def resolve(function: FunctionType, code: CodeType) -> Iterator[object]:
        found = [function.__globals__.get(name) for name in code.co_names]
        found += [cell.cell_contents for cell in function.__closure__ or ()]
        found += [sys.modules.get(name) for name in code.co_names]  # imported inside
        for _ in range(2):  # losses.nt_xent, and simclr_tut.losses.nt_xent
            found += [getattr(value, name, None) for value in found if isinstance(value, ModuleType)
                      for name in code.co_names]
        yield from found
        for inner in code.co_consts:
            if isinstance(inner, CodeType):
                yield from resolve(function, inner)

    try:
        seen, waiting = set(), [candidate]
        while waiting and len(seen) < 200:
            value = waiting.pop()
            if id(value) in seen:
                continue
            seen.add(id(value))
            for answer in answers:
                if value is answer or (isinstance(answer, type) and type(value) is answer):
                    return f"{answer.__module__}.{answer.__qualname__}"
            own = isinstance(value, FunctionType) and not value.__module__.startswith("simclr_tut")
            if own and (value is candidate
                        or value.__module__ == getattr(candidate, "__module__", None)):
                waiting += list(resolve(value, value.__code__))
    except Exception:
        return None
    return None


def _first_line(error: BaseException) -> str:
    try:
        return (str(error).strip().splitlines() or [""])[0].rstrip(".")
    except BaseException:  # an exception of the student's own whose text fails, too
        return ""


def _where(error: BaseException) -> str:
    """The line of the student's cell where the error arose, when there is one."""
    trace, found = error.__traceback__, None
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if "ipykernel" in name or name.startswith("<"):
            found = trace.tb_lineno
        trace = trace.tb_next
    return f" (line {found} of your cell)." if found else "."


def _within(seconds: float, body: Callable[..., str], candidate: object) -> str:
    """Run the body; raise ``_Late`` inside it after ``seconds``."""
    on_time = (hasattr(signal, "setitimer")
               and threading.current_thread() is threading.main_thread())
    if not on_time:
        return _within_thread(seconds, body, candidate)

    ticks = 0

    def stop(_: int, frame: object) -> None:
        # A bare ``except:`` in a loop swallows what is raised here. So every second time a trace
        # raises a few lines later, where the code may be outside its ``try``.
        nonlocal ticks
        ticks += 1
        lines = ticks // 2 % 7

        def later(frame: object, event: str, _: object) -> Callable:
            nonlocal lines
            lines -= event == "line"
            if lines < 0:
                raise _Late
            return later

        if ticks > 1:
            while frame is not None and frame.f_code is not body.__code__:
                frame.f_trace = later
                frame = frame.f_back
            sys.settrace(later)
        if ticks % 2:
            raise _Late

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.1)
    try:
        return body(candidate)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.settrace(None)
        signal.signal(signal.SIGALRM, before or signal.SIG_DFL)


def _within_thread(seconds: float, body: Callable[..., str], candidate: object) -> str:
    """As ``_within`` where no timer can interrupt (Windows): wait, then leave the thread behind."""
    outcome: dict[str, object] = {}

    def work() -> None:
        try:
            outcome["line"] = body(candidate)
        except BaseException as error:
            outcome["error"] = error

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise _Late
    if "error" in outcome:
        raise outcome["error"]
    return str(outcome["line"])


