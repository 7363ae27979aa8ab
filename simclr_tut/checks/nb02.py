"""Checkers of notebook 02."""

from __future__ import annotations

import copy
import functools
import math

import torch
from torch import nn
from torchvision.models import densenet121

from simclr_tut import models
from simclr_tut.checks._common import call, compare, number, seeded
from simclr_tut.checks._runner import Mistake, checker


@functools.cache
def _densenet() -> nn.Module:
    """Torchvision's DenseNet-121, drawn once: its weights take longer than the check."""
    return densenet121(weights=None)


@checker(points=3, answers=(models.build_encoder,))
def cifar_stem(candidate) -> str:
    """``candidate(network) -> network``: torchvision's DenseNet with the stem for 32 pixels."""
    network = copy.deepcopy(_densenet())
    last = network.features.denseblock4
    changed = call(candidate, network)
    if not isinstance(changed, nn.Module):
        raise Mistake(f"return the network; got {type(changed).__name__}.")
    if not any(module is last for module in changed.modules()):
        raise Mistake("change the network you were given and return it; do not build another.", 0.3)
    if any(part is None for module in changed.modules() for part in module._modules.values()):
        raise Mistake("None cannot be called in a layer's place: nn.Identity() passes everything "
                      "on.", 0.5)
    if any(hasattr(changed, name) for name in ("conv0", "conv1", "pool0", "maxpool", "fc")):
        raise Mistake("you hang new layers on the network that it never calls. print(network) "
                      "shows the names it uses: features.conv0, and so on.", 0.2)
    conv = next((m for m in changed.modules() if isinstance(m, nn.Conv2d)), None)
    if conv is None or conv.stride in (2, (2, 2)):
        raise Mistake("the first convolution still has stride 2: half of the places are gone in "
                      "the first layer.", 0.3)
    if conv.kernel_size != (3, 3):
        raise Mistake(f"the first convolution has a kernel of {conv.kernel_size}; the paper's B.9 "
                      "uses 3 x 3.", 0.4)
    if conv.padding not in (1, (1, 1), "same"):
        raise Mistake("without padding of 1 the picture shrinks by two pixels in the first "
                      "convolution.", 0.5)
    if (conv.in_channels, conv.out_channels) != (3, 64):
        raise Mistake("the first convolution must go from 3 to 64 channels, since what follows "
                      "expects 64.", 0.4)
    sides = []
    handle = last.register_forward_hook(lambda _, __, out: sides.append(out.shape[-1]))
    with torch.no_grad():
        try:
            out = changed.eval()(torch.rand(2, 3, 32, 32))
        except RuntimeError as error:
            raise Mistake(f"a picture of 32 pixels does not get through: {error!s:.80}") from error
    handle.remove()
    if sides != [4]:
        raise Mistake(f"the last feature map has side {(sides or ['none'])[0]}, not 4: the pooling "
                      "after the first convolution is still there. nn.Identity() passes everything "
                      "on.", 0.5)
    if not isinstance(out, torch.Tensor) or out.shape != (2, 1024):
        raise Mistake(f"the network returns {tuple(getattr(out, 'shape', ()))}, not (2, 1024): the "
                      "classifier is still there, or cut to another width, so this is no h.", 0.7)
    if isinstance(changed.classifier, nn.Linear):
        raise Mistake("the classifier is another linear layer: what it returns is not h, the "
                      "features themselves.", 0.6)
    if conv.bias is not None:
        raise Mistake("all right but for a bias in the first convolution, which the batch norm "
                      "after it subtracts.", 0.9)
    return "a 32-pixel picture ends as 4 x 4, and h has 1,024 numbers."


@checker(points=2)
def head_parameters(candidate) -> str:
    """A number: the parameters of ProjectionHead(512, 512, 128)."""
    value = number(candidate, "the number of parameters")
    right = models.count_parameters(models.ProjectionHead(512, 512, 128))
    compare(value, right, (
        (512 * 512 + 512 * 128, "those are the two matrices alone. Batch norm has two numbers a "
                                "channel, and the last layer has a bias.", 0.5),
        (512 * 512 + 512 * 128 + 128, "the batch norm in between is missing: a scale and a shift "
                                      "for each of its channels.", 0.7),
        (right - 128, "the bias of the last layer is missing.", 0.7),
        (right + 512, "the first layer has no bias here: the batch norm after it would subtract "
                      "it.", 0.7),
        (512 * 512 + 512 + 512 * 128 + 128, "that is two linear layers with biases. Here the first "
                                            "has none, and a batch norm follows it.", 0.6),
        (right + 1024, "running means and variances are no parameters: no gradient reaches them.",
         0.7),
        (2 * 512 * 512, "the head ends in 128, not in 512.", 0.3),
        (512 * 128, "that is the last matrix alone.", 0.3),
        (512 * 128 + 128, "that is one linear layer from 512 to 128.", 0.3),
    ), f"got {value:,.0f}. Write down the layers: linear without bias, batch norm, ReLU, linear.",
        1e-9)
    return f"{right:,} parameters: two matrices, a batch norm, one bias."


@checker(points=3)
def multiply_adds(candidate) -> str:
    """``candidate(conv, height, width)``: multiplications of one convolution for one picture."""
    for conv, height, width in ((nn.Conv2d(3, 32, 3, padding=1), 32, 32),
                                (nn.Conv2d(16, 24, 5, stride=2, padding=2, bias=False), 32, 32),
                                (nn.Conv2d(8, 8, 3), 10, 14)):
        with torch.no_grad():
            high, wide = conv(torch.zeros(1, conv.in_channels, height, width)).shape[2:]
        weights, places, kernel = conv.weight.numel(), high * wide, conv.kernel_size[0]
        value = number(call(candidate, conv, height, width), "the count")
        compare(value, weights * places, (
            (weights * high * high, "you use the height twice; a picture need not be square.", 0.8),
            (weights * wide * wide, "you use the width twice; a picture need not be square.", 0.8),
            (weights * height * width, "you count the places of the input; with a stride or "
                                       "without padding the output has fewer.", 0.6),
            ((weights + conv.out_channels) * places,
             "you count the bias; it is added, and nothing is multiplied by it.", 0.8),
            (weights * math.prod((side - kernel) // conv.stride[0] + 1
                                 for side in (height, width)),
             "the padding is left out: the output is larger by it.", 0.7),
            ((weights + conv.out_channels) * height * width,
             "you count the bias, and the places of the input in place of those of the output.",
             0.4),
            (weights, "those are the weights. Each is used at every place of the output.", 0.3),
            (conv.out_channels * kernel**2 * places,
             "the input channels are missing: each output reads all of them.", 0.5),
            (conv.in_channels * kernel**2 * places,
             "the output channels are missing.", 0.5),
            (conv.in_channels * conv.out_channels * places,
             "the kernel is missing: each output reads k x k places.", 0.5),
            (2 * weights * places, "you count a multiply-add as two operations; count one.",
             0.8),
            (conv.out_channels * places, "those are the outputs; each takes many products.",
             0.3),
        ), f"for {conv} on {height} x {width} you return {value:.6g}. Weights times places of the "
           "output.", 1e-9)
    return "right with padding, with stride, and without either, for any height and width."


@checker(points=3, answers=(models.ProjectionHead,))
def deep_head(candidate) -> str:
    """``candidate(in_dim, hidden_dim, out_dim)``: three linear layers, the last one normalised."""
    torch.manual_seed(0)
    head = call(candidate, 12, 16, 8)
    if isinstance(head, type) or not isinstance(head, nn.Module):
        raise Mistake(f"return a module, such as nn.Sequential(...); got {type(head).__name__}.")
    h = seeded(64, 12) * 3 + 1
    try:
        z = head.train()(h)
    except RuntimeError as error:
        raise Mistake("12 features do not get through: does each layer take what the one before "
                      f"gives? ({error!s:.80})") from error
    if z.shape != (64, 8):
        raise Mistake(f"64 pictures become {tuple(z.shape)}, not (64, 8): the last layer ends in "
                      "out_dim.", 0.2)
    layers = list(head.modules())
    linear = [m for m in layers if isinstance(m, nn.Linear)]
    norms = [m for m in layers if isinstance(m, nn.BatchNorm1d)]
    if len(linear) != 3:
        raise Mistake(f"there are {len(linear)} linear layers; three were asked for: 12 to 16, "
                      "16 to 16, 16 to 8.", 0.4)
    if any(isinstance(m, nn.LayerNorm) for m in layers):
        raise Mistake("layer norm works within one picture; batch norm within one channel over "
                      "the batch: nn.BatchNorm1d.", 0.5)
    if [m.out_features for m in linear] != [16, 16, 8]:
        raise Mistake(f"the widths are {[m.out_features for m in linear]}; hidden, hidden, out "
                      "was asked for.", 0.4)
    if float(z.min()) >= 0:
        raise Mistake("no embedding has a negative number: a ReLU at the end leaves one corner of "
                      "the sphere. The last layer has none.", 0.5)
    relus = [m for m in layers if isinstance(m, nn.ReLU)]
    if not relus and float((head.eval()(h[:8]) + head(h[8:16])
                            - 2 * head((h[:8] + h[8:16]) / 2)).abs().max()) < 1e-4:
        raise Mistake("there is no ReLU between the layers, so that three linear maps are one.",
                      0.4)
    if not norms:
        raise Mistake("batch norm is missing.", 0.4)
    spread = z.std(0, correction=0)
    if len(norms) == 2 and float((spread - 1).abs().max()) > 0.05:
        raise Mistake("the hidden layers are right; the batch norm after the last linear layer is "
                      "missing.", 0.6)
    if len(norms) != 3 or float((spread - 1).abs().max()) > 0.05:
        raise Mistake(f"there are {len(norms)} batch norms; one after each of the three linear "
                      "layers was asked for.", 0.5)
    kinds = [type(m) for m in head] if isinstance(head, nn.Sequential) else []
    wanted = [nn.Linear, nn.BatchNorm1d, nn.ReLU] * 3
    if set(kinds) == set(wanted) and kinds != wanted[:-1]:
        raise Mistake("a ReLU belongs after the first two batch norms, and nowhere else: linear, "
                      "batch norm, ReLU, twice; then linear, batch norm. Yours: "
                      + ", ".join(kind.__name__ for kind in kinds) + ".", 0.6)
    if any(m.bias is not None for m in linear):
        raise Mistake("all right but for a bias in front of a batch norm, which subtracts it "
                      "again: bias=False.", 0.8)
    return "three layers, and every channel of z has mean 0 and spread 1 over the batch."


@checker(points=2)
def work_at_20(candidate) -> str:
    """A number: the tiny encoder's work for a view of 20 pixels, as a share of that for 32."""
    value = number(candidate, "the share")

    def work(side: int) -> int:
        total, handles, encoder = 0, [], models.build_encoder("tiny")

        def count(module: nn.Module, _: object, out: torch.Tensor) -> None:
            nonlocal total
            total += module.weight.numel() * out.shape[2] * out.shape[3]

        handles = [m.register_forward_hook(count) for m in encoder.modules()
                   if isinstance(m, nn.Conv2d)]
        with torch.no_grad():
            encoder.eval()(torch.zeros(1, 3, side, side))
        for handle in handles:
            handle.remove()
        return total

    right = work(20) / work(32)
    compare(value, right, (
        ((20 / 32) ** 2, "that is the share of the input's pixels. Count the last block's places: "
                         "a side of 5 is halved to 3, not to 2.5.", 0.5),
        (20 / 32, "that is the ratio of sides; places grow with their square.", 0.3),
        (1 / right, "turn it round: the smaller view costs less.", 0.7),
        (100 * right, "give a fraction, not a percentage.", 0.8),
        (1.0, "the parameters stay the same; the places where they are used do not.", 0.2),
        (1 - right, "that is the share that is saved.", 0.7),
        ((20 / 32) ** 3, "that is a cube; a picture has two sides.", 0.3),
    ), f"you say {value:.4g}. Call multiply_adds(encoder, image) for a picture of 20 and one of "
       "32 pixels, and add up each.", 2e-3)
    return (f"{right:.3f}, above the share of pixels, {(20 / 32) ** 2:.3f}: odd sides are rounded "
            "up when they are halved.")
