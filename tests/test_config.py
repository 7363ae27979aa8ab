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
    ("weight_decay", -1, "from 0 to 1000"), ("warmup", 2, "from 0 to 1"),
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


@pytest.mark.parametrize(("name", "value", "message"), [
    ("batch_size", 8.0, "whole number"), ("seed", 1.0, "whole number"), ("warmup", 1, "below 1"),
    ("momentum", 1.0, "below 1"), ("crop", "a", "lowest, highest"), ("color", -1, "from 0 to 1.25"),
    ("crop", (0.5, 0.2), "lowest, highest"), ("optimizer", "lars", "one of sgd, muon, adam"),
    ("draws", 0, "1 or more"), ("validation_images", -5, "0 or more"),
    ("monitor_images", 0.5, "1 or more"),
])
def test_what_would_fail_later_is_named_when_it_is_set(name, value, message):
    with pytest.raises(ValueError, match=f"Recipe.{name} must be.*{message}"):
        dataclasses.replace(config.Recipe(), **{name: value})


def test_numbers_of_a_sweep_become_pythons(tmp_path):
    import numpy as np

    made = config.Recipe(batch_size=np.int64(8), temperature=np.float32(0.25), seed=np.int64(1))
    assert (type(made.batch_size), type(made.temperature), type(made.seed)) == (int, float, int)
    assert (made.batch_size, made.temperature, made.seed) == (8, 0.25, 1)


def test_the_readers_home_may_be_written_as_a_tilde(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("HOME", "CACHE", "DATA"):
        monkeypatch.setenv(f"SIMCLR_TUT_{name}", f"~/{name.lower()}")
    assert config.home().is_relative_to(tmp_path / "home")
    assert config.data_folders() == [tmp_path / "data", tmp_path / "cache"]
    monkeypatch.setenv("SIMCLR_TUT_DATA", "~nobody-of-that-name/x")
    assert config.data_folders()[0].name == "x"


@pytest.mark.parametrize(("said", "expected"), [("1", True), ("yes", True), ("", False),
                                                ("0", False), ("false", False), ("No", False)])
def test_offline_may_be_switched_off_in_words(monkeypatch, said, expected):
    monkeypatch.setenv("SIMCLR_TUT_SCALE", "laptop")
    monkeypatch.setenv("SIMCLR_TUT_OFFLINE", said)
    assert config.offline() is expected


def test_a_launchers_numbers_are_numbers(monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "x",
                        "LOCAL_RANK": "a"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="LOCAL_RANK.*got 'a'"):
        config.launched_processes()
