"""Encoders, head and weights on disk."""

import copy
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from simclr_tut import models

RECIPE = {"encoder": "tiny", "head_hidden": 32, "head_dim": 16, "head_layers": 2}


def model():
    return models.SimCLR(models.build_encoder("tiny"), models.ProjectionHead(128, 32, 16))


@pytest.mark.parametrize(("name", "small", "features", "side"), [
    ("tiny", True, 128, 4), ("small", True, 512, 4), ("medium", True, 512, 4),
    ("resnet18", True, 512, 4),
    ("resnet18", False, 512, 1),
    ("resnet50", True, 2048, 4)])
def test_shapes_of_h_and_of_the_last_map(name, small, features, side):
    encoder = models.build_encoder(name, small_images=small).eval()
    sides = []
    own = {"tiny": 4, "small": 4, "medium": 5}  # where the last residual block stands
    last = encoder[1][own[name]] if name in own else encoder[1].layer4
    last.register_forward_hook(lambda module, _, out: sides.append(out.shape[-1]))
    assert encoder(torch.rand(2, 3, 32, 32)).shape == (2, features)
    assert encoder.feature_dim == features and sides == [side]


def test_tiny_is_small_and_every_weight_learns():
    network = model()
    assert models.count_parameters(network.encoder) < 0.3e6
    network(torch.rand(4, 3, 32, 32)).square().sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_h_comes_before_the_head():
    network = model().eval()
    x = torch.rand(3, 3, 32, 32)
    torch.testing.assert_close(network(x), network.head(network.encode(x)))


def test_heads_have_the_asked_layers():
    assert len(models.ProjectionHead(8, layers=0).layers) == 0
    assert isinstance(models.ProjectionHead(8, layers=1).layers[0], torch.nn.Linear)
    kinds = [type(m).__name__ for m in models.ProjectionHead(8).layers]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
    with pytest.raises(ValueError, match="0 to 3 layers"):
        models.ProjectionHead(8, layers=4)


def test_a_block_that_learnt_nothing_passes_its_input_on():
    block = models.ResidualBlock(4, 4).eval()
    torch.nn.init.zeros_(block.norm2.weight)
    x = torch.rand(2, 4, 8, 8)
    torch.testing.assert_close(block(x), x)


def test_one_channel_and_unknown_encoders():
    assert models.build_encoder("tiny", 1)(torch.rand(2, 1, 28, 28)).shape == (2, 128)
    with pytest.raises(ValueError, match="must be one of tiny, small, medium, resnet18"):
        models.build_encoder("resnet")


def test_weights_come_back_bit_for_bit(tmp_path):
    first, path = model(), tmp_path / "sub" / "w.safetensors"
    models.save_weights(first, path, {**RECIPE, "note": "ä"})
    second = models.load_weights(path)
    assert models.load_recipe(path)["note"] == "ä" and not second.training
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(),
                                                 second.state_dict().values(), strict=True))
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_wrong_files_are_refused_with_the_reason(tmp_path):
    path = tmp_path / "w.safetensors"
    with pytest.raises(FileNotFoundError, match="Run notebooks/04"):
        models.load_weights(path)
    models.save_weights(model(), path, RECIPE)
    other = models.SimCLR(models.build_encoder("tiny"), models.ProjectionHead(128, 32, 8))
    with pytest.raises(ValueError, match="another architecture"):
        models.load_weights(path, other)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match="no whole weights file"):
        models.load_weights(path)
    with pytest.raises(ValueError, match="must name head_dim"):
        models.save_weights(model(), path, {k: v for k, v in RECIPE.items() if k != "head_dim"})


def test_a_failed_write_keeps_the_file_before_it(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    models.save_weights(model(), path, RECIPE)
    good = path.read_bytes()

    def full(*arguments, **named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(models, "save_file", full)
    with pytest.raises(OSError, match="the model in memory is whole"):
        models.save_weights(model(), path, RECIPE)
    assert path.read_bytes() == good


ASSETS = Path(models.__file__).parent / "assets"


def test_every_shipped_checkpoint_is_small_and_says_where_it_comes_from():
    shipped = json.loads((ASSETS / "checkpoints.json").read_text())
    assert {f"{name}.safetensors" for name in shipped} == {
        path.name for path in ASSETS.glob("*.safetensors")}
    for name, facts in shipped.items():
        path = ASSETS / f"{name}.safetensors"
        assert path.stat().st_size < 5_000_000
        assert models.pretrained_facts(name) == facts
        assert facts.items() >= models.load_recipe(path).items()
        assert facts["command"].startswith("python -m simclr_tut pretrain")
        assert {"seed", "steps", "batch_size", "seconds", "machine", "torch", "date",
                "probe_test"} <= set(facts)
        network = models.load_pretrained(name)
        assert network(torch.rand(2, 3, 32, 32)).shape == (2, 128)
        assert all(p.dtype == torch.float32 for p in network.parameters())
    with pytest.raises(ValueError, match="cifar10-small"):
        models.load_pretrained("imagenet")


def test_a_shipped_checkpoint_that_was_changed_is_refused(tmp_path, monkeypatch):
    (tmp_path / "assets").mkdir()
    for name in ("checkpoints.json", "shapes-small.safetensors"):
        (tmp_path / "assets" / name).write_bytes((ASSETS / name).read_bytes())
    monkeypatch.setattr(models.resources, "files", lambda package: tmp_path)
    models.load_pretrained("shapes-small")
    path = tmp_path / "assets" / "shapes-small.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is not the checkpoint that ships"):
        models.load_pretrained("shapes-small")
    path.unlink()
    with pytest.raises(ValueError, match="sha256 is no file"):
        models.load_pretrained("shapes-small")


def test_settled_batch_norm_holds_the_mean_statistics_and_keeps_the_weights():
    network = model()
    weights = {k: v.clone() for k, v in network.named_parameters()}
    batches = [torch.rand(8, 3, 32, 32) for _ in range(3)]
    first = network.encoder[1][0]
    with torch.no_grad():
        expected = torch.stack([first(b * 2 - 1).mean((0, 2, 3)) for b in batches]).mean(0)
    assert models.settle_batch_norm(network, batches) is network and not network.training
    torch.testing.assert_close(network.encoder[1][1].running_mean, expected, atol=1e-5, rtol=1e-4)
    assert network.encoder[1][1].momentum == 0.1
    assert all(torch.equal(weights[k], v) for k, v in network.named_parameters())
    settled = network.encoder[1][1].running_mean.clone()
    with pytest.raises(ValueError, match="at least one batch"):
        models.settle_batch_norm(network, iter([]))
    assert torch.equal(network.encoder[1][1].running_mean, settled)
    with pytest.raises(RuntimeError):
        models.settle_batch_norm(network, [torch.rand(8, 5, 32, 32)])
    assert network.encoder[1][1].momentum == 0.1 and not network.training


def test_a_model_is_built_from_the_names_of_a_recipe():
    built = models.build_model("tiny", head_hidden=64, head_dim=16, head_layers=3)
    assert built(torch.rand(4, 3, 32, 32)).shape == (4, 16)
    assert [m.out_features for m in built.head.modules() if isinstance(m, torch.nn.Linear)] == [
        64, 64, 16]


def settled_model(head_layers=2):
    torch.manual_seed(0)
    network = models.build_model("tiny", 32, 16, head_layers)
    return models.settle_batch_norm(network, [torch.rand(64, 3, 32, 32)])


def some_map(features=128, seed=1):
    draw = torch.Generator().manual_seed(seed)
    noise = torch.randn(features, features, generator=draw) / features**0.5
    return torch.eye(features) + 0.3 * noise, torch.randn(features, generator=draw)


@pytest.mark.parametrize("head_layers", [1, 2, 3])
@pytest.mark.parametrize("training", [False, True])
def test_an_appended_map_changes_h_and_leaves_z(head_layers, training, tmp_path):
    network, (matrix, offset), x = settled_model(head_layers), some_map(), torch.rand(8, 3, 32, 32)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    mapped = models.append_map(network, matrix, offset)
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert not mapped.training and mapped.encoder.feature_dim == 128
    torch.testing.assert_close(mapped.encode(x), network.encode(x) @ matrix + offset)
    path = tmp_path / "w.safetensors"
    recipe = {**RECIPE, "encoder": "tiny+map", "head_layers": head_layers}
    models.save_weights(mapped, path, recipe)
    for other in (mapped.train(training), models.load_weights(path).train(training)):
        torch.testing.assert_close(other(x), network.train(training)(x), atol=1e-4, rtol=1e-4)
    assert models.count_parameters(mapped.encoder) == models.count_parameters(network.encoder)


def test_a_map_can_follow_an_encoder_of_ones_own():
    class Own(torch.nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :128]

    network, (matrix, offset), x = settled_model(), some_map(), torch.rand(8, 3, 32, 32)
    network.encoder = Own()
    mapped = models.append_map(network, matrix, offset)
    torch.testing.assert_close(mapped.encode(x), x.flatten(1)[:, :128] @ matrix + offset)
    torch.testing.assert_close(mapped(x), network(x), atol=1e-4, rtol=1e-4)


def test_a_map_is_the_identity_until_it_is_set_and_keeps_its_digits_under_autocast():
    for name in ("tiny+map", "resnet18+map"):
        encoder = models.build_encoder(name).eval()
        h = encoder[:-1](torch.rand(2, 3, 32, 32))
        assert torch.equal(encoder[-1](h), h) and encoder.feature_dim == h.shape[1]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(encoder[-1](h), h)
    with pytest.raises(ValueError, match="encoder must be one of tiny"):
        models.build_encoder("+map")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_mapped_model_changes_its_dtype_as_any_other(dtype):
    mapped = models.append_map(settled_model(), *some_map())
    x = torch.rand(4, 3, 32, 32)
    exact, other = mapped(x), copy.deepcopy(mapped).to(dtype)(x.to(dtype))
    assert other.dtype == dtype
    torch.testing.assert_close(other.float(), exact, atol=0.1, rtol=0.1)


@pytest.mark.parametrize(("change", "error", "message"), [
    (lambda n, m, b: (n, m[:5], b), ValueError, "128 features; got \\(5, 128\\)"),
    (lambda n, m, b: (n, m, b[:5]), ValueError, "offset \\(128,\\)"),
    (lambda n, m, b: (n, m * 0, b), ValueError, "must have an inverse"),
    (lambda n, m, b: (n, m * torch.nan, b), ValueError, "must have an inverse"),
    (lambda n, m, b: (n, m, b * torch.inf), ValueError, "must have an inverse"),
    (lambda n, m, b: (settled_model(0), m, b), ValueError, "ProjectionHead of 1 to 3 layers"),
    (lambda n, m, b: (models.SimCLR(n.encoder, torch.nn.Linear(128, 9)), m, b), ValueError,
     "ProjectionHead of 1"),
    (lambda n, m, b: (models.append_map(n, m, b), m, b), ValueError, "a map already"),
    (lambda n, m, b: (n, m.numpy(), b), TypeError, "must be tensors"),
])
def test_a_map_that_the_head_cannot_undo_is_refused(change, error, message):
    with pytest.raises(error, match=message):
        models.append_map(*change(settled_model(), *some_map()))


def test_weights_that_are_not_finite_or_tell_no_recipe_are_refused(tmp_path):
    network, path = model(), tmp_path / "w.safetensors"
    with torch.no_grad():
        next(network.parameters()).fill_(torch.nan)
    models.save_weights(network, path, RECIPE)
    with pytest.raises(ValueError, match="NaN or infinity.*lower learning rate"):
        models.load_weights(path)
    for said in ({}, {"recipe": "[1]"}, {"recipe": '{"encoder": "tiny"}'}, {"recipe": "{"}):
        save_file({"a": torch.ones(1)}, path, metadata=said or None)
        with pytest.raises(ValueError, match="no whole weights file of this course"):
            models.load_weights(path)


def test_a_folder_or_a_device_is_not_replaced_by_weights(tmp_path):
    for path in (tmp_path, tmp_path / "pipe"):
        if path != tmp_path:
            os.mkfifo(path)
        with pytest.raises(OSError, match="must name a file"):
            models.save_weights(model(), path, RECIPE)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="could not be written"):
        models.save_weights(model(), tmp_path / "file" / "w.safetensors", RECIPE)


@pytest.mark.parametrize("call", [
    lambda: models.build_encoder("tiny", 0), lambda: models.build_encoder("tiny", 1.5),
    lambda: models.ProjectionHead(8, 8.5), lambda: models.ProjectionHead(8, layers=1.5),
    lambda: models.ProjectionHead(0), lambda: models.build_encoder(None),
])
def test_impossible_networks_are_named(call):
    with pytest.raises(ValueError, match="must be|needs whole numbers"):
        call()


@pytest.mark.parametrize(("batches", "error", "message"), [
    ([torch.zeros(4, 3, 32, 32, dtype=torch.uint8)], TypeError, "batches must hold float"),
    (torch.rand(4, 3, 32, 32), TypeError, "batches must be a list"),
    (None, TypeError, "batches must be a list"),
    ([torch.rand(4, 3, 32, 32), torch.rand(1, 3, 32, 32)], ValueError, "two views or more"),
    ([torch.rand(4, 1, 32, 32)], RuntimeError, "channels"),
])
def test_batch_norm_that_cannot_be_settled_stays_as_it_was(batches, error, message):
    network = models.load_pretrained("shapes-small")
    before = {k: v.clone() for k, v in network.state_dict().items()}
    with pytest.raises(error, match=message):
        models.settle_batch_norm(network, batches)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_weights_that_their_recipe_does_not_describe_are_not_written(tmp_path):
    grey = models.build_model("tiny", in_channels=1)
    for network, recipe in ((grey, RECIPE), (model(), {**RECIPE, "encoder": "medium"})):
        with pytest.raises(ValueError, match="recipe must describe the model"):
            models.save_weights(network, tmp_path / "model.safetensors", recipe)
    mapped = models.append_map(settled_model(), *some_map())
    with pytest.raises(ValueError, match="its encoder is called tiny\\+map"):
        models.save_weights(mapped, tmp_path / "model.safetensors", RECIPE)
    assert not list(tmp_path.iterdir())
