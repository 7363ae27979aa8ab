"""``python -m simclr_tut``: what a wrong word on the command line is answered with."""

import json

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from simclr_tut import __main__, config, data, evaluation, losses, models, training


@pytest.fixture
def place(monkeypatch, tmp_path):
    """Folders and files to be wrong about; nothing else is on this machine."""
    monkeypatch.delenv("SIMCLR_TUT_DATA", raising=False)
    monkeypatch.setenv("SIMCLR_TUT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SIMCLR_TUT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for name in ("labelled/train/a/0", "labelled/train/b/1", "labelled/train/b/2",
                 "labelled/test/a/3", "labelled/train/4", "plain/train/0", "plain/test/1",
                 "one/0"):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20), (40 * int(path.stem), 9, 9)).save(path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("hello")
    torch.save({"a": 1}, tmp_path / "pickle")
    recipe = {"encoder": "tiny", "head_hidden": 8, "head_dim": 8, "head_layers": 2}
    for name, facts in (("none", None), ("list", []), ("huge", {**recipe, "encoder": "huge"}),
                        ("word", {**recipe, "head_dim": "a"}), ("right", recipe)):
        save_file({"x": torch.ones(1)}, tmp_path / name,
                  metadata=None if facts is None else {"recipe": json.dumps(facts)})
    return tmp_path


def run(words):
    """The exit status, as the shell would see it."""
    try:
        return __main__.main(words.split(" ") if words else [])
    except SystemExit as end:
        return end.code


@pytest.mark.parametrize(("words", "said"), [
    ("", "arguments are required: command"),
    ("train", "invalid choice: 'train'"),
    ("doctor now", "unrecognized arguments: now"),
    ("pretrain --steps many", "argument --steps: invalid int value: 'many'"),
    ("pretrain --steps 1.5", "argument --steps: invalid int value"),
    ("pretrain --seconds 1 --steps 2", "--steps: not allowed with argument --seconds"),
    ("pretrain --dataset", "argument --dataset: expected one argument"),
    ("pretrain --seed x", "argument --seed: invalid int value"),
    ("evaluate a b", "unrecognized arguments: b"),
])
def test_what_is_no_command_is_answered_with_the_usage(capsys, words, said):
    assert run(words) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(("words", "said"), [
    ("pretrain --steps 0", "steps must be 1 or more and finite; got 0"),
    ("pretrain --steps -3", "steps must be 1 or more and finite; got -3"),
    ("pretrain --epochs nan", "epochs must be above 0 and finite; got nan"),
    ("pretrain --epochs inf", "epochs must be above 0 and finite; got inf"),
    ("pretrain --seconds inf", "seconds must be above 0 and finite; got inf"),
    ("pretrain --seconds -1", "seconds must be above 0 and finite; got -1"),
    ("pretrain --batch-size 0", "batch_size must be 1 or more and finite; got 0"),
    ("pretrain --batch-size 1 --dataset shapes", "at least 2 pictures in a batch; got 1 of"),
    ("pretrain --dataset one", "at least 2 pictures in a batch; got 1 of"),
    ("pretrain --seed -1", "seed must be from 0 to 4294967295; got -1"),
    ("pretrain --seed 99999999999999999999", "seed must be from 0 to 4294967295"),
    ("pretrain --dataset cifar11", "must be one of shapes, cifar10, stl10, fashion_mnist or"),
    ("pretrain --dataset text", "an existing folder of pictures; got 'text'"),
    ("pretrain --dataset empty", "holds no picture that can be read"),
    ("pretrain --dataset stl10", "set SIMCLR_TUT_DATA"),
    ("pretrain --dataset shapes --folder text", "cannot be made (File exists)"),
    ("pretrain --dataset shapes --folder ", "--folder must name a folder; got ''"),
    ("evaluate nowhere", "no weights at nowhere"),
    ("evaluate empty", "no weights at empty"),
    ("evaluate text", "no whole weights file of this course"),
    ("evaluate pickle", "no whole weights file of this course"),
    ("evaluate none", "no whole weights file of this course"),
    ("evaluate list", "no whole weights file of this course"),
    ("evaluate huge", "encoder must be one of tiny"),
    ("evaluate word", "no whole weights file of this course"),
    ("evaluate right", "another architecture"),
    ("evaluate --dataset cifar11", "must be one of shapes"),
    ("evaluate --dataset labelled/train", "has no folder 'test'"),
    ("evaluate --dataset plain", "no labelled train pictures"),
    ("download --dataset cifar11", "must be one of shapes"),
    ("download --dataset stl10", "set SIMCLR_TUT_DATA"),
    ("download", "its host did not answer"),
])
def test_a_wrong_value_is_named_in_one_line(place, capsys, words, said):
    assert run(words) == 1
    out, err = capsys.readouterr()
    assert said in err and err.startswith("simclr_tut: ") and err.count("\n") == 1


def test_a_checkpoint_in_place_of_weights_is_told_apart(place, capsys):
    assert run("pretrain --dataset shapes --steps 1 --folder run") == 0
    assert run("evaluate run/run.safetensors --dataset shapes") == 1
    assert "model.safetensors beside it" in capsys.readouterr().err
    assert run("evaluate run/model.safetensors --dataset shapes") == 0
    assert run("pretrain --dataset shapes --steps 2 --folder run") == 1
    assert "steps: 1 then, 2 now" in capsys.readouterr().err


def test_another_encoder_can_be_asked_for(place, capsys):
    assert run("pretrain --dataset shapes --steps 1 --encoder tiny --folder run") == 0
    assert models.load_recipe("run/model.safetensors")["encoder"] == "tiny"
    assert run("pretrain --dataset shapes --encoder huge") == 2
    assert "choose from" in capsys.readouterr().err


def test_an_encoder_can_end_in_the_map_that_whitens_h(place, capsys):
    same = "pretrain --dataset shapes --steps 3 --encoder tiny"
    assert run(f"{same} --folder one") == 0 and run(f"{same} --folder two --whiten") == 0
    one, two = (models.load_weights(f"{name}/model.safetensors") for name in ("one", "two"))
    assert models.load_recipe("two/model.safetensors")["encoder"] == "tiny+map"
    pictures = data.load_dataset("shapes", "train", config.recipe("pretrain").train_images)
    h, mapped = (evaluation.encode(network, pictures) for network in (one, two))
    torch.testing.assert_close(mapped, evaluation.whiten(h)[0], atol=1e-3, rtol=1e-3)


def test_pictures_without_a_label_are_left_out_of_an_evaluation(place, capsys):
    """As STL-10's unlabelled hundred thousand must be."""
    assert run("evaluate --dataset labelled") == 0
    assert "on 1 test images" in capsys.readouterr().out


def test_a_folder_needs_no_download(place, capsys):
    assert run("download --dataset labelled") == 0
    assert "labelled: 4 training images are ready" in capsys.readouterr().out


def test_an_interrupt_outside_the_steps_is_no_traceback(place, capsys, monkeypatch):
    def press(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(models, "build_model", press)
    assert run("pretrain --dataset shapes") == 130
    assert capsys.readouterr().err == "simclr_tut: interrupted\n"


def test_the_doctor_names_a_wrong_scale_and_a_wrong_path(place, capsys, monkeypatch):
    monkeypatch.setenv("SIMCLR_TUT_DATA", str(place / "nowhere"))
    assert run("doctor") == 0
    assert "which does not exist" in capsys.readouterr().out
    monkeypatch.setenv("SIMCLR_TUT_SCALE", "vast")
    assert run("doctor") == 1
    assert "smoke, laptop, gpu, long; got 'vast'" in capsys.readouterr().err


@pytest.mark.parametrize(("scale", "expected"), [
    ("smoke", "under 5"), ("laptop", "300 s of training"), ("gpu", "about 9, the others"),
    ("long", "200 epochs")])
def test_the_doctor_says_in_ten_lines_what_to_expect(place, capsys, monkeypatch, scale, expected):
    monkeypatch.setenv("SIMCLR_TUT_SCALE", scale)
    assert run("doctor") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:13].strip() for line in lines] == [
        "simclr_tut", "Python", "torch", "device", "cores", "bfloat16", "CIFAR-10", "your runs",
        "scale", "minutes"]
    assert expected in lines[-1]


def test_the_doctor_warns_of_one_core_and_of_a_torch_that_cannot_use_the_gpu(
        place, capsys, monkeypatch):
    monkeypatch.setenv("SIMCLR_TUT_SCALE", "laptop")
    monkeypatch.setattr(config, "cores", lambda: 1)
    monkeypatch.setattr(config, "pick_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert run("doctor") == 0
    out = capsys.readouterr().out
    assert "here is one: up to twice as long" in out and "install torch's CUDA build" in out
    monkeypatch.setattr(torch.version, "cuda", "12.8")  # the driver is too old, or switched off
    assert run("doctor") == 0
    assert "CUDA build" not in capsys.readouterr().out


def test_the_doctor_looks_and_fetches_nothing(place, capsys, monkeypatch):
    def fetched(*_, **__):
        raise AssertionError("a check-up must not download 170 MB")

    monkeypatch.setenv("SIMCLR_TUT_SCALE", "laptop")
    monkeypatch.delenv("SIMCLR_TUT_OFFLINE", raising=False)
    monkeypatch.setattr(data, "fetch", fetched)
    assert run("doctor") == 0
    assert "CIFAR-10     not on this machine: set SIMCLR_TUT_DATA" in capsys.readouterr().out


def test_processes_say_what_they_share_of_pictures_that_do_not_fill_the_batch(
        monkeypatch, capsys, tmp_path):
    few = data.load_dataset("shapes", n=33)
    monkeypatch.setattr(data, "load_dataset", lambda *_: few)
    monkeypatch.setattr(training, "pretrain",
                        lambda *_: training.History(loss=[1.0] * 3, steps=3, seconds=2.0))
    recipe = config.Recipe(steps=3, batch_size=64)
    __main__._pretrain_together(recipe, tmp_path, 0, 2)
    said = capsys.readouterr().out
    assert "2 processes, 16 of 32 pictures each" in said
    assert f"chance {losses.chance_loss(32):.3f}" in said and "(48 pictures a second)" in said
    assert models.load_recipe(tmp_path / "model.safetensors")["batch_size"] == 32
    with pytest.raises(ValueError, match="NT-Xent needs at least 2 pictures in a batch; got 0"):
        monkeypatch.setattr(data, "load_dataset", lambda *_: few.subset([0]))
        __main__._pretrain_together(recipe, tmp_path, 0, 2)


def test_an_empty_name_of_weights_is_refused(capsys):
    assert __main__.main(["evaluate", ""]) != 0
    assert "weights must name a file" in capsys.readouterr().err
