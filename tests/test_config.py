"""Scales, recipes and places."""

import dataclasses

import pytest
import torch

from simclr_tut import config


def test_every_recipe_exists_at_every_scale(monkeypatch):
    for scale in config.SCALES:
        monkeypatch.setenv("SIMCLR_TUT_SCALE", scale)
        assert config.scale() == scale
        for name in config._RECIPES:
            assert config.recipe(name).name == name
    assert config.recipe("pretrain").epochs == 200


def test_unknown_names_are_refused(monkeypatch):
    with pytest.raises(ValueError, match="recipe must be one of families"):
        config.recipe("pretran")
    monkeypatch.setenv("SIMCLR_TUT_SCALE", "tiny")
    with pytest.raises(ValueError, match="smoke, laptop, gpu, long; got 'tiny'"):
        config.scale()


def test_a_recipe_takes_one_budget_above_zero():
    with pytest.raises(ValueError, match="one budget"):
        config.Recipe(seconds=1, steps=2)
    with pytest.raises(ValueError, match="temperature must be above 0"):
        config.Recipe(temperature=0)


def test_runs_live_apart_by_scale_and_an_unwritable_home_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("SIMCLR_TUT_HOME", str(tmp_path))
    monkeypatch.setenv("SIMCLR_TUT_SCALE", "smoke")
    smoke = config.home()
    monkeypatch.setenv("SIMCLR_TUT_SCALE", "laptop")
    assert smoke != config.home() and smoke.is_dir()
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("SIMCLR_TUT_HOME", str(blocked))
    with pytest.raises(OSError, match="SIMCLR_TUT_HOME"):
        config.home()


def test_the_scale_line_names_scale_machine_data_and_minutes():
    line = config.scale_line(config.recipe("pretrain"), 6)
    assert line.startswith("scale: smoke · ") and line.endswith("CIFAR-10 · about 6 min")


@pytest.mark.parametrize(("name", "value", "message"), [
    ("lr", float("inf"), "lr must be above 0"), ("lr", "0.1", "lr must be above 0"),
    ("batch_size", 2.5, "whole number"), ("batch_size", None, "batch_size must be 1 or more"),
    ("steps", 1.5, "whole number"), ("momentum", 1.5, "from 0 to 1"),
    ("weight_decay", -1, "0 or more"), ("warmup", 2, "from 0 to 1"),
    ("seed", -1, "from 0 to 4294967295"),
    ("eval_every", 0, "1 or more"), ("small_share", float("nan"), "from 0 to 1"),
    ("head_layers", 4, "from 0 to 3"), ("temperature", True, "above 0"),
])
def test_every_number_of_a_recipe_is_checked_when_it_is_set(name, value, message):
    with pytest.raises(ValueError, match=f"Recipe.{name} must be.*got") as caught:
        dataclasses.replace(config.Recipe(), **{name: value})
    assert message in str(caught.value)


def test_an_account_without_a_home_works_with_folders_of_its_own(tmp_path, monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(config.Path, "home", homeless)
    monkeypatch.setenv("SIMCLR_TUT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SIMCLR_TUT_CACHE", str(tmp_path / "cache"))
    assert config.home().is_dir() and config.data_folders()[-1] == tmp_path / "cache"
    monkeypatch.delenv("SIMCLR_TUT_CACHE")
    with pytest.raises(OSError, match="Set SIMCLR_TUT_HOME and SIMCLR_TUT_CACHE"):
        config.data_folders()


@pytest.mark.parametrize(("fast", "encoder"), [(True, "resnet18"), (False, "medium")])
def test_a_gpu_without_bfloat16_trains_a_smaller_encoder_in_notebook_04(monkeypatch, fast, encoder):
    monkeypatch.setenv("SIMCLR_TUT_SCALE", "gpu")
    monkeypatch.setattr(config, "has_fast_bf16", lambda device: fast)
    assert config.recipe("pretrain").encoder == encoder
    assert config.recipe("scaling").encoder == "resnet18"


def test_bfloat16_that_a_gpu_only_imitates_does_not_count(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported",
                        lambda including_emulation=True: including_emulation)
    assert not config.has_fast_bf16(torch.device("cuda"))


def test_minutes_of_the_laptop_are_not_promised_elsewhere(monkeypatch):
    monkeypatch.setenv("SIMCLR_TUT_SCALE", "gpu")
    assert "6 min" not in config.scale_line(config.recipe("pretrain"), 6)
    monkeypatch.setenv("SIMCLR_TUT_SCALE", "laptop")
    assert config.scale_line(config.recipe("pretrain"), 6).endswith("about 6 min")
