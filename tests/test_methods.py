"""The families beside SimCLR: what each learns from, and that its gradient reaches the encoder."""

from dataclasses import replace

import pytest
import torch

from simclr_tut import config, methods, models, shapes, training


def family(name):
    torch.manual_seed(0)
    encoder = models.build_encoder("tiny")
    return (methods.Predictive if name == "predictive" else methods.Generative)(encoder)


@pytest.fixture(scope="module")
def frames():
    return shapes.make_sequences(16, 4, seed=0).images


def inputs(name, frames):
    frames = frames.float() / 255
    return {"predictive": (frames,), "generative": (frames[:, 0],)}[name]


@pytest.mark.parametrize("name", ["predictive", "generative"])
def test_gradients_reach_every_weight_of_the_encoder(name, frames):
    method = family(name)
    method.loss(*inputs(name, frames)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.encoder.parameters())
    assert method.encode(frames[:, 0].float() / 255).shape == (16, 128)


@pytest.mark.parametrize("name", ["predictive", "generative"])
def test_training_lowers_the_loss(name, frames):
    method = family(name)
    recipe = replace(config.Recipe(steps=40, batch_size=16, small_size=None), lr=0.1)
    pictures = frames if name == "predictive" else frames[:, 0]
    history = training.pretrain(method, pictures, methods.whole_pictures, recipe)
    assert sum(history.loss[-5:]) < 0.9 * sum(history.loss[:5])


def test_the_prediction_never_sees_the_frame_it_predicts(frames):
    method = family("predictive").eval()
    past = frames.float() / 255
    torch.manual_seed(0)
    error = method.loss(past)
    drawn = method.predict(past[:, :-1])
    expected = (drawn - past[:, -1]).square().mean() / 0.02
    torch.testing.assert_close(error, expected)
    with pytest.raises(ValueError, match="T >= 2"):
        method.loss(past[:, :1])


def test_samples_are_pictures_and_repeat_with_their_generator():
    method = family("generative").eval()
    first, again = (method.sample(5, torch.Generator().manual_seed(1)) for _ in range(2))
    assert first.shape == (5, 3, 32, 32) and torch.equal(first, again)
    assert first.min() >= 0 and first.max() <= 1
    with pytest.raises(ValueError, match="multiple of 8"):
        methods.Decoder(4, size=30)
