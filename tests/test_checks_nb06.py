"""Checkers of notebook 06: right answers pass, typical wrong ones are recognised by name."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from simclr_tut import checks


def probe(on="test", intercept=True, alpha=1.0, measure=None, scale=True):
    def fit(train_x, train_y, test_x, test_y):
        scaler = StandardScaler(with_std=scale).fit(train_x.numpy())
        model = Ridge(alpha=alpha, fit_intercept=intercept).fit(
            scaler.transform(train_x.numpy()), train_y.numpy())
        x, y = (test_x, test_y) if on == "test" else (train_x, train_y)
        if measure is None:
            return float(model.score(scaler.transform(x.numpy()), y.numpy()))
        return float(measure(model.predict(scaler.transform(x.numpy())), y.numpy()))
    return fit


def planted(views=(0, 1), row=-1, white=1.0, roll=0, shuffle=0, inplace=False):
    def plant(view1, view2, bits):
        made = [view1, view2] if inplace else [view1.clone(), view2.clone()]
        for i in views:
            values = bits.roll(shuffle * i, 0).float()[:, None] * white
            made[i][:, :, row, :bits.shape[1]] = values
        return tuple(made)
    return plant


def share(positive=0, divisor=None):
    def count(labels):
        same = (labels[:, None] == labels).sum(1)
        return float((2 * same - 2 + positive).float().mean()) / (
            divisor(len(labels)) if divisor else 2 * len(labels) - 2)
    return count


@pytest.mark.parametrize(("name", "answer"), [
    ("factor_r2", probe()), ("plant_bits", planted()), ("false_negative_share", share()),
    ("lost_factor", "b"),
])
def test_right_answers_pass(name, answer, capsys):
    result = getattr(checks, name)(answer)
    assert result.passed, capsys.readouterr().out


WRONG = [
    ("factor_r2", probe(on="train"), "fitted to"),
    ("factor_r2", probe(intercept=False), "intercept"),
    ("factor_r2", probe(scale=False), "standardise"),
    ("factor_r2", probe(alpha=0.0), "penalty"),
    ("factor_r2", probe(measure=lambda f, y: np.corrcoef(f, y)[0, 1] ** 2), "squared correlation"),
    ("factor_r2", probe(measure=lambda f, y: ((f - y) ** 2).mean()), "mean squared error"),
    ("factor_r2", lambda *d: 1 - probe()(*d), "not explained"),
    ("factor_r2", lambda *d: float("nan"), "nan"),
    ("factor_r2", lambda *d: d[0], "one number"),
    ("factor_r2", lambda *d: d[0].sub_(1).sum(), "changes its inputs"),
    ("plant_bits", planted(views=(0,)), "only view 1"),
    ("plant_bits", planted(views=(1,)), "only view 2"),
    ("plant_bits", planted(row=0), "top row"),
    ("plant_bits", planted(white=255.0), "255"),
    ("plant_bits", planted(shuffle=1), "another image"),
    ("plant_bits", planted(inplace=True), "changes its inputs"),
    ("plant_bits", lambda a, b, bits: a, "two views"),
    ("plant_bits", lambda a, b, bits: (a, b), "no pixel"),
    ("plant_bits", lambda a, b, bits: (a * torch.nan, b), "NaN"),
    ("false_negative_share", share(positive=1), "the false negatives"),
    ("false_negative_share", share(positive=1, divisor=lambda n: 2 * n - 1), "as a negative"),
    ("false_negative_share", share(positive=2, divisor=lambda n: 2 * n), "itself"),
    ("false_negative_share", share(divisor=lambda n: 2 * n), "not by all"),
    ("false_negative_share", share(divisor=lambda n: 1), "number of views"),
    ("false_negative_share", lambda labels: None, "returns nothing"),
    ("lost_factor", "A", "hue"), ("lost_factor", "D", "height"), ("lost_factor", 7, "as a letter"),
    ("lost_factor", "C", "scale"), ("lost_factor", "hue", "one letter"),
]


@pytest.mark.parametrize(("name", "answer", "word"), WRONG)
def test_wrong_answers_are_named(name, answer, word, capsys):
    result = getattr(checks, name)(answer)
    assert not result.passed
    assert word in capsys.readouterr().out


def raising(*_):
    raise RuntimeError("lost")


@pytest.mark.parametrize("name", ["factor_r2", "plant_bits", "false_negative_share", "lost_factor"])
@pytest.mark.parametrize("answer", [None, 3, "x", raising, lambda: None, print])
def test_anything_survives(name, answer, capsys):
    assert not getattr(checks, name)(answer).passed
    assert capsys.readouterr().out.count("\n") == 1
