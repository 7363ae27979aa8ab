"""What goes into the package is the run's encoder, and no flag is passed over in silence."""

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from simclr_tut import data, evaluation, models

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import ship_checkpoint  # noqa: E402


@pytest.fixture
def assets(tmp_path, monkeypatch):
    """An empty package folder, and data of 300 drawn pictures a split."""
    whole = {split: data.load_dataset("shapes", split, 300) for split in ("train", "test")}
    monkeypatch.setattr(ship_checkpoint, "ASSETS", tmp_path / "assets")
    monkeypatch.setattr(ship_checkpoint.data, "load_dataset", lambda _, split: whole[split])
    (tmp_path / "assets").mkdir()
    return tmp_path / "assets"


def weights(path, encoder="tiny"):
    torch.manual_seed(0)
    model = models.build_model(encoder, 16, 8, 2)
    models.save_weights(model, path, {"encoder": encoder, "head_hidden": 16, "head_dim": 8,
                                      "head_layers": 2, "dataset": "shapes", "seconds": 1.5})
    return model.eval()


def ship(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["ship_checkpoint.py", *map(str, arguments)])
    ship_checkpoint.main()


def test_facts_are_those_of_the_file_that_ships(assets, tmp_path, monkeypatch, capsys):
    model = weights(tmp_path / "run.safetensors")
    ship(monkeypatch, "new", tmp_path / "run.safetensors", "--command", "how", "--threads", "7")
    shipped = models.load_weights(assets / "new.safetensors")
    facts = json.loads((assets / "checkpoints.json").read_text())["new"]
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(),
                                                 shipped.state_dict().values(), strict=True))
    train, test = (ship_checkpoint.data.load_dataset("shapes", s) for s in ("train", "test"))
    knn = evaluation.knn_accuracy(evaluation.encode(model, train), train.labels,
                                  evaluation.encode(model, test), test.labels)
    assert facts["knn_test"] == pytest.approx(knn, abs=1e-4)
    assert facts["threads"] == 7 and facts["seconds"] == 1.5 and facts["command"] == "how"
    assert "knn_test" in capsys.readouterr().out


def test_with_whiten_plain_knn_is_whitened_knn(assets, tmp_path, monkeypatch):
    weights(tmp_path / "run.safetensors")
    for name, flags in (("plain", ()), ("white", ("--whiten",))):
        ship(monkeypatch, name, tmp_path / "run.safetensors", "--command",
             " ".join(("how", *flags)), *flags)
    facts = json.loads((assets / "checkpoints.json").read_text())
    assert facts["white"]["encoder"] == "tiny" + models.MAP
    assert facts["white"]["knn_test"] == pytest.approx(facts["plain"]["white_knn_test"], abs=0.01)


@pytest.mark.parametrize("case", ["shipped already", "mapped already"])
def test_refuses_to_whiten_what_it_cannot(case, assets, tmp_path, monkeypatch, capsys):
    place = assets / "new.safetensors" if case == "shipped already" else tmp_path / "run"
    weights(place, "tiny" if case == "shipped already" else "tiny" + models.MAP)
    before = place.read_bytes()
    (assets / "checkpoints.json").write_text('{"new": {}}')
    with pytest.raises((SystemExit, ValueError)) as refusal:
        ship(monkeypatch, "new", place, "--command", "how --whiten", "--whiten")
    said = capsys.readouterr().err + str(refusal.value)
    assert ("--whiten changes weights" if case == "shipped already" else "in a map already") in said
    with pytest.raises(SystemExit):
        ship(monkeypatch, "new", tmp_path / "other", "--command", "how", "--whiten")
    assert "or in neither" in capsys.readouterr().err
    assert place.read_bytes() == before
    assert (assets / "checkpoints.json").read_text() == '{"new": {}}'


def test_facts_written_anew_keep_where_the_file_was_trained(assets, tmp_path, monkeypatch):
    weights(tmp_path / "run.safetensors")
    ship(monkeypatch, "new", tmp_path / "run.safetensors", "--command", "how")
    listed = assets / "checkpoints.json"
    facts = json.loads(listed.read_text())
    facts["new"] |= {"machine": "a large GPU", "torch": "1.0", "python": "3.0", "commit": "abc",
                     "date": "2020-01-01", "threads": 99, "knn_test": 0.0}
    listed.write_text(json.dumps(facts))
    ship(monkeypatch, "new", assets / "new.safetensors", "--command", "how, said better")
    again = json.loads(listed.read_text())["new"]
    assert again["knn_test"] > 0 and again["command"] == "how, said better"
    assert {k: v for k, v in again.items() if k not in ("knn_test", "command")} == {
        k: v for k, v in facts["new"].items() if k not in ("knn_test", "command")}


def test_a_broken_list_of_checkpoints_stops_it_before_any_weights_change(
        assets, tmp_path, monkeypatch):
    weights(tmp_path / "run.safetensors")
    (assets / "checkpoints.json").write_text("{")
    with pytest.raises(ValueError):
        ship(monkeypatch, "new", tmp_path / "run.safetensors", "--command", "how")
    assert not (assets / "new.safetensors").exists()


def test_matrices_lose_half_their_bits_only_where_the_file_would_be_too_large(
        tmp_path, monkeypatch):
    model = weights(tmp_path / "run")
    full = (tmp_path / "run").stat().st_size
    for limit, dtype in ((full, torch.float32), (full - 1, torch.float16)):
        monkeypatch.setattr(ship_checkpoint, "LIMIT", limit)
        ship_checkpoint.shrink(tmp_path / "run", tmp_path / "out", False)
        kept = load_file(tmp_path / "out")
        assert {v.dtype for v in kept.values() if v.dim() > 1} == {dtype}
        assert {v.dtype for v in kept.values() if v.dim() == 1} == {torch.float32}
    torch.testing.assert_close(models.load_weights(tmp_path / "out").state_dict(),
                               model.state_dict(), atol=1e-3, rtol=1e-3)
    monkeypatch.setattr(ship_checkpoint, "LIMIT", 1000)
    with pytest.raises(SystemExit, match="16 bits"):
        ship_checkpoint.shrink(tmp_path / "run", tmp_path / "out", False)
