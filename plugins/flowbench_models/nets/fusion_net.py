"""DenseFlow's coupling network: local features by a dense block, global ones by attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowbench_models.nets.conditioner import Conditioner
from flowbench_models.nets.convolution import convolve
from flowbench_models.nets.dense_block import DenseBlock
from flowbench_models.nets.nystrom import Layout, NystromAttention
from flowbench_models.nets.plain_conv import PlainConv2d


class FusionNet(Conditioner):
    """Attention and a dense block side by side, fused by batch norm, ReLU and a 1x1 convolution.

    Batch norm takes statistics of the batch in training and running ones in evaluation: only the
    map of eval mode is the same for encoding and sampling.

    Args:
        num_inputs: Input channels.
        num_outputs: Output channels; they start at zero.
        width: Hidden channels.
        depth: Layers of the dense block.
        growth: Channels that each of them appends.
        attention: Form of the attention branch; None leaves it out.
        head_width: Width of queries, keys and values.
        num_landmarks: Landmarks of the attention.
        dropout: Part of hidden channels that are dropped in training.

    References:
        Grcic et al. (2021), Densely connected normalizing flows,
        https://arxiv.org/abs/2106.04627, section 3.2 and figure 3.
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        *,
        width: int,
        depth: int,
        growth: int,
        attention: Layout | None,
        head_width: int,
        num_landmarks: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.input = PlainConv2d(num_inputs, width)
        branches: list[nn.Module] = [DenseBlock(width, width, depth=depth, growth=growth)]
        if attention is not None:
            branches.insert(
                0,
                NystromAttention(
                    width, head_width=head_width, num_landmarks=num_landmarks, layout=attention
                ),
            )
        self.branches = nn.ModuleList(branches)
        self.norm = nn.BatchNorm2d(len(branches) * width)
        self.fuse = PlainConv2d(len(branches) * width, width, bias=False)
        self.output = PlainConv2d(width, num_outputs, zero=True)
        self.dropout = dropout

    def forward(self, h: Tensor) -> Tensor:
        """Maps (B, num_inputs, H, W) to (B, num_outputs, H, W)."""
        h = self.input(h)
        features = self.norm(torch.cat([branch(h) for branch in self.branches], dim=1))
        return self._project(self._drop(features.relu_()))

    def _project(self, h: Tensor) -> Tensor:
        """The last two 1x1 convolutions; with nothing between them, one where that is less work."""
        width, num_inputs = self.fuse.weight.shape[:2]
        num_outputs = self.output.weight.shape[0]
        if num_outputs * num_inputs >= width * (num_inputs + num_outputs):
            parameters: Tensor = self.output(self.fuse(h))
            return parameters
        weight = self.output.weight.flatten(1) @ self.fuse.weight.flatten(1)
        return convolve(h, weight[:, :, None, None], self.output.bias)

    def _drop(self, h: Tensor) -> Tensor:
        return F.dropout2d(h, self.dropout, self.training) if self.dropout else h
