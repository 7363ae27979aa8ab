"""The runner of the checkers survives whatever a student hands in."""

import time

import pytest
import torch

from simclr_tut.checks import Mistake, checker


@checker(points=2, seconds=0.5)
def doubles(candidate):
    value = candidate(3)
    if value == 3:
        raise Mistake("your function returns its input.", score=0.5)
    if value != 6:
        raise Mistake(f"expected 6, got {value!r}.")
    return "doubles what it gets."


def swallow(x):
    while True:
        try:
            time.sleep(0.01)
        except:  # noqa: E722
            pass


def test_right_half_right_and_untouched(capsys):
    assert doubles(lambda x: 2 * x).passed
    assert doubles(lambda x: x).score == 0.5
    assert doubles().score == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("✓ doubles") and "2 of 2" in lines[0]
    assert "1 of 2" in lines[1] and "not attempted" in lines[2]


@pytest.mark.parametrize(("candidate", "said"), [
    (lambda x: 1 / 0, "ZeroDivisionError"),
    (lambda x: (_ for _ in ()).throw(SystemExit(3)), "SystemExit"),
    (lambda x: time.sleep(60), "still running"),
    (lambda x: [None for _ in iter(int, 1)], "still running"),
    (7, "TypeError"),
    (lambda x: None, "expected 6"),
])
def test_every_candidate_ends_in_one_line(candidate, said, capsys):
    result = doubles(candidate)
    assert result.score == 0 and said in result.message
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_noise_is_swallowed_and_the_random_state_is_put_back(capsys):
    def noisy(x):
        print("debug" * 100)
        torch.manual_seed(123)
        return 2 * x

    before = torch.random.get_rng_state()
    assert doubles(noisy).passed
    assert "debug" not in capsys.readouterr().out
    assert torch.equal(before, torch.random.get_rng_state())


def deaf(x):
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass


def test_a_loop_that_catches_everything_is_stopped(capsys):
    assert "still running" in doubles(deaf).message
    assert "still running" in doubles(swallow).message


def test_global_settings_are_put_back():
    def rude(x):
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        return 2 * x

    with torch.no_grad():
        assert doubles(rude).passed
        assert not torch.is_grad_enabled()
    assert torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled()


def test_an_exception_whose_text_fails(capsys):
    class Odd(Exception):
        def __str__(self):
            raise RuntimeError

    def candidate(x):
        raise Odd

    assert "Odd" in doubles(candidate).message
    assert len(capsys.readouterr().out.splitlines()) == 1
