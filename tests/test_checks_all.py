"""What holds for every checker, whatever its exercise: it survives, it names, it is not fooled."""

import re
import time
import warnings

import pytest
import test_checks
import test_checks_more
import test_checks_nb06
import test_checks_nb07
import test_checks_nb08
import test_checks_nb09
import test_checks_unseen
import torch
from model_solutions import model_solutions
from torch import nn

from simclr_tut import checks
from simclr_tut.checks import _runner

PUBLIC = sorted(set(checks.__all__) - {"Mistake", "Result", "checker"})
FUNCTIONS = sorted(name for name, answer in model_solutions().items() if callable(answer))
OTHERS = sorted(set(PUBLIC) - set(FUNCTIONS))
# These hand the candidate no tensor that it could write into.
NOTHING_TO_CHANGE = {"hold_then_fall", "cosine_to_a_floor", "room_to_fall", "multiply_adds",
                     "cifar_stem", "deep_head", "scaled_rate", "training_hours", "t_interval",
                     "temperature_property"}


def judge(name, candidate, capsys):
    """The checker's result; it must have printed one line and nothing else."""
    capsys.readouterr()
    result = getattr(checks, name)(candidate)
    out = capsys.readouterr()
    assert len(out.out.splitlines()) == 1 and not out.err, out
    return result


def test_every_checker_has_a_model_solution():
    assert sorted(model_solutions()) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_the_model_solution_passes(name, capsys):
    result = judge(name, model_solutions()[name], capsys)
    assert result.passed, result.message


@pytest.mark.parametrize("name", FUNCTIONS)
def test_noise_does_no_harm(name, capsys):
    def noisy(*arguments):
        print("debug" * 50)
        warnings.warn("look at me", stacklevel=1)
        torch.set_default_dtype(torch.float32)
        return model_solutions()[name](*arguments)

    assert judge(name, noisy, capsys).passed


def forever(*_):
    while True:
        pass


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("candidate", [forever, lambda *_: time.sleep(60)], ids=["loop", "sleep"])
def test_what_hangs_is_stopped(name, candidate, capsys, monkeypatch):
    monkeypatch.setattr(_runner, "SECONDS", 0.2)
    assert "still running" in judge(name, candidate, capsys).message


def spoil(value):
    """The same answer with NaN in every number."""
    if isinstance(value, torch.Tensor):
        return value * torch.nan if value.is_floating_point() else value.float() * torch.nan
    if isinstance(value, tuple | list):
        return type(value)(spoil(part) for part in value)
    if isinstance(value, nn.Module):
        for parameter in value.parameters():
            parameter.data.fill_(torch.nan)
        return value
    return float("nan") if isinstance(value, float | int) and not isinstance(value, bool) else value


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nan_earns_little(name, capsys):
    def broken(*arguments):
        result = model_solutions()[name](*arguments)
        for module in arguments:  # exercises whose result is a changed module
            if result is None and isinstance(module, nn.Module):
                for parameter in module.parameters():
                    spoiled = parameter.grad if name == "cached_gradient" else parameter.data
                    spoiled.fill_(torch.nan)
                return None
        return spoil(result)

    result = judge(name, broken, capsys)
    if name in {"temperature_property", "cifar_stem", "deep_head"}:
        return  # a bool has no NaN; an architecture is judged before its numbers
    assert result.score <= 0.5, result.message
    assert re.search("NaN|nan|not a number|whole numbers|infinity", result.message), result.message


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - NOTHING_TO_CHANGE))
def test_writing_into_the_inputs_is_noticed(name, capsys):
    def rude(*arguments):
        result = model_solutions()[name](*arguments)
        given = [a for part in arguments for a in (part if isinstance(part, list) else [part])]
        with torch.no_grad():
            tensors = [a for a in given if isinstance(a, torch.Tensor)]
            modules = [a for a in given if isinstance(a, nn.Module)]
            for tensor in tensors[:1] or list(modules[-1].parameters())[:1]:
                tensor[...] = tensor.flip(0) + 1
        return result

    result = judge(name, rude, capsys)
    assert not result.passed
    if name != "step_in_order":  # there the model is meant to change
        assert "change" in result.message, result.message


JUNK = ["text", [], {}, 12.5, True, b"x", object(), torch.zeros(7, 7, 7), lambda: 1, print, type]


@pytest.mark.parametrize("name", PUBLIC)
def test_junk_as_an_answer(name, capsys):
    for junk in JUNK:
        assert not judge(name, junk, capsys).passed, junk


@pytest.mark.parametrize("name", FUNCTIONS)
def test_junk_as_a_result(name, capsys):
    for junk in [*JUNK, None]:
        assert not judge(name, lambda *_, junk=junk: junk, capsys).passed, junk


# ------------------------------------------------------------------------------ named mistakes
def cases() -> dict[str, list[object]]:
    """Checker's name -> the wrong answers that some test holds against a sentence."""
    found: dict[str, list[object]] = {name: [] for name in PUBLIC}
    for module in (test_checks, test_checks_more, test_checks_nb06, test_checks_unseen):
        for name, candidate, _ in module.WRONG:
            found[name].append(candidate)
    for module in (test_checks_nb07, test_checks_nb08, test_checks_nb09):
        for name in PUBLIC:
            found[name] += [case[0] for case in getattr(module, name.upper(), ())]
    return found


# Sentences about answers of the wrong kind: not a mistake in the matter.
KIND = re.compile("must be|must have shape|returns nothing|still running|your code stopped|hand in|"
                  "not attempted|holds NaN|is nan|the loss is nan|return one number|one letter|"
                  "as a tensor|return two|four letters|two letters|string of four|number in br|"
                  "changes its inputs")
LETTERS = {"small_crops", "lost_factor", "kinds_of_learning", "diagnosis", "colder"}


@pytest.mark.parametrize("name", PUBLIC)
def test_at_least_four_wrong_answers_are_known_by_name(name):
    sentences = set()
    for candidate in cases()[name]:
        result = getattr(checks, name)(candidate)
        if not result.passed and (name in LETTERS or not KIND.search(result.message)):
            sentences.add(re.sub(r"[-+]?\d+(\.\d+)?(e-?\d+)?|'.*?'|got .*", "#", result.message))
    assert len(sentences) >= 4, sorted(sentences)


@pytest.mark.parametrize("name", PUBLIC)
def test_no_sentence_is_the_solution(name, capsys):
    """What a checker prints never holds a line of the model solution."""
    from notebook_files import NOTEBOOKS, code_cells, tags

    lines = set()
    for path in NOTEBOOKS:
        for cell in code_cells(path):
            if "solution" in tags(cell) and f"checks.{name}(" in cell["source"]:
                lines |= {re.sub(r"\s", "", line) for line in cell["source"].splitlines()
                          if len(re.sub(r"\s", "", line)) > 25 and "checks." not in line}
    for candidate in cases()[name]:
        printed = re.sub(r"\s", "", getattr(checks, name)(candidate).message)
        assert not any(line in printed for line in lines)


# ---------------------------------------------------------------------- the package's own answer
def in_the_notebook(source, **names):
    """A function as a student's cell defines it."""
    namespace = {"__name__": "__main__", **names}
    exec(compile(source, "<cell>", "exec"), namespace)
    return namespace["answer"]


@pytest.mark.parametrize(("name", "source"), [
    ("rank_of", "from simclr_tut.losses import effective_rank as answer"),
    ("rank_of", "from simclr_tut import losses\ndef answer(z): return losses.effective_rank(z)"),
    ("rank_of", "import simclr_tut.losses\nanswer = lambda z: simclr_tut.losses.effective_rank(z)"),
    ("rank_of", "def answer(z):\n    from simclr_tut.losses import effective_rank\n"
                "    return effective_rank(z)"),
    ("rank_of", "from simclr_tut.losses import effective_rank\ndef helper(z):\n"
                "    return effective_rank(z)\ndef answer(z): return helper(z)"),
    ("rank_of", "from simclr_tut.losses import effective_rank as e\n"
                "def answer(z):\n    def inner(): return e(z)\n    return inner()"),
    ("neighbouring_rows", "from simclr_tut.losses import nt_xent\n"
                          "def answer(z, t): return nt_xent(z[::2], z[1::2], t)"),
    ("step_in_order", "from simclr_tut.training import train_step as answer"),
    ("momentum_update", "from simclr_tut.methods import follow as answer"),
    ("factor_r2", "from simclr_tut.evaluation import ridge_r2 as answer"),
    ("mended_loss", "from simclr_tut.losses import nt_xent as answer"),
])
def test_the_package_s_answer_is_noticed(name, source, capsys):
    result = judge(name, in_the_notebook(source), capsys)
    assert result.score == 0 and "of the package does the work" in result.message


def test_an_answer_that_only_stands_beside_the_package_s_passes(capsys):
    source = "from simclr_tut import losses\nother = losses.effective_rank\nimport torch\n" \
             "def answer(z):\n    s = torch.linalg.svdvals(z)\n    p = s / s.sum()\n" \
             "    return torch.special.entr(p).sum().exp()"
    assert judge("rank_of", in_the_notebook(source), capsys).passed
