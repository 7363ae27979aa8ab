"""Checkers of notebook 02."""

from __future__ import annotations

import torch
from torch import nn
from torchvision.models import resnet34

from simclr_tut import models
from simclr_tut.checks._common import call, compare, number
from simclr_tut.checks._runner import Mistake, checker


@checker(points=3)
def cifar_stem(candidate) -> str:
    """``candidate(network) -> network``: torchvision's ResNet with the stem for 32 pixels."""
    torch.manual_seed(0)
    network = resnet34(weights=None)
    layer4 = network.layer4
    changed = call(candidate, network)
    if not isinstance(changed, nn.Module):
        raise Mistake(f"return the network; got {type(changed).__name__}.")
    if getattr(changed, "layer4", None) is not layer4:
        raise Mistake("change the network you were given and return it; do not build another.", 0.3)
    conv = changed.conv1
    if conv.stride in (2, (2, 2)):
        raise Mistake("conv1 still has stride 2: half of the places are gone in the first layer.",
                      0.3)
    if conv.kernel_size != (3, 3):
        raise Mistake(f"conv1 has a kernel of {conv.kernel_size}; the paper's B.9 uses 3 x 3.", 0.4)
    if conv.padding not in (1, (1, 1)):
        raise Mistake("without padding of 1 the picture shrinks by two pixels in conv1.", 0.5)
    if (conv.in_channels, conv.out_channels) != (3, 64):
        raise Mistake("conv1 must go from 3 to 64 channels, since layer1 expects 64.", 0.4)
    with torch.no_grad():
        try:
            side = changed.eval().layer4(changed.layer3(changed.layer2(changed.layer1(
                changed.maxpool(changed.relu(changed.bn1(conv(torch.rand(1, 3, 32, 32)))))))))
            out = changed(torch.rand(2, 3, 32, 32))
        except RuntimeError as error:
            raise Mistake(f"a picture of 32 pixels does not get through: {error!s:.80}") from error
    if side.shape[-1] != 4:
        raise Mistake(f"the last feature map has side {side.shape[-1]}, not 4: the max-pool is "
                      "still there. nn.Identity() passes everything on.", 0.5)
    if out.shape != (2, 512):
        raise Mistake(f"the network returns {tuple(out.shape)}: the classifier fc is still there, "
                      "so this is no representation.", 0.7)
    if conv.bias is not None:
        raise Mistake("all right but for a bias in conv1, which the batch norm after it subtracts.",
                      0.9)
    return "a 32-pixel picture ends as 4 x 4, and h has 512 numbers."


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
        (512 * 128 + 128, "that is one linear layer from 512 to 128.", 0.3),
    ), f"got {value:,.0f}. Write down the layers: linear without bias, batch norm, ReLU, linear.",
        1e-9)
    return f"{right:,} parameters: two matrices, a batch norm, one bias."


@checker(points=3)
def multiply_adds(candidate) -> str:
    """``candidate(conv, height, width)``: multiplications of one convolution for one picture."""
    for conv, side in ((nn.Conv2d(3, 32, 3, padding=1), 32),
                       (nn.Conv2d(16, 24, 5, stride=2, padding=2, bias=False), 32),
                       (nn.Conv2d(8, 8, 3), 10)):
        with torch.no_grad():
            out = conv(torch.zeros(1, conv.in_channels, side, side)).shape[-1]
        weights = conv.weight.numel()
        value = number(call(candidate, conv, side, side), "the count")
        compare(value, weights * out * out, (
            (weights * side * side, "you count the places of the input; with a stride or without "
                                    "padding the output has fewer.", 0.6),
            (weights, "those are the weights. Each is used at every place of the output.", 0.3),
            (conv.out_channels * conv.kernel_size[0] ** 2 * out * out,
             "the input channels are missing: each output reads all of them.", 0.5),
            (conv.in_channels * conv.kernel_size[0] ** 2 * out * out,
             "the output channels are missing.", 0.5),
            (conv.in_channels * conv.out_channels * out * out,
             "the kernel is missing: each output reads k x k places.", 0.5),
            (2 * weights * out * out, "you count a multiply-add as two operations; count one.",
             0.8),
            (conv.out_channels * out * out, "those are the outputs; each takes many products.",
             0.3),
        ), f"for {conv} on {side} x {side} you return {value:.6g}. Weights times places of the "
           "output.", 1e-9)
    return "right with padding, with stride, and without either."
