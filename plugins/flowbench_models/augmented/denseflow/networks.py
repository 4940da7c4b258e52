"""DenseFlow's networks: dense blocks beside Nystrom attention."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from flowbench_models.nets.convolution import (
    Conditioner,
    DenseBlock,
    PlainConv2d,
    convolve,
    full_precision,
)


class PlainConvNet(Conditioner):
    """Convolutions 3x3, 1x1 and 3x3 with ReLU between them, the last one zero-initialised.

    Args:
        width: Hidden channels.

    References:
        Kingma and Dhariwal (2018), Glow, https://arxiv.org/abs/1807.03039, section B.1, without
        the normalisation that only its released code has.
    """

    def __init__(self, num_inputs: int, num_outputs: int, *, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            PlainConv2d(num_inputs, width, 3, rectify=True),
            PlainConv2d(width, width, rectify=True),
            PlainConv2d(width, num_outputs, 3, zero=True),
        )

    def forward(self, h: Tensor) -> Tensor:
        """Maps (B, num_inputs, H, W) to (B, num_outputs, H, W)."""
        parameters: Tensor = self.layers(h)
        return parameters


Layout = Literal["faithful", "standard"]
ITERATIONS = 6
"""Of the iterative pseudo-inverse; the released code of DenseFlow and of Nystromformer."""


class NystromAttention(nn.Module):
    r"""Single-head attention between positions in linear time, :math:`K_1 K_2^+ (K_3 v) + v`.

    .. math:: \mathrm{softmax}(q k^\top) \approx K_1 K_2^+ K_3, \qquad
              K_1 = \mathrm{softmax}(q \tilde k^\top), \quad
              K_2 = \mathrm{softmax}(\tilde q \tilde k^\top), \quad
              K_3 = \mathrm{softmax}(\tilde q k^\top)

    with landmarks :math:`\tilde q, \tilde k`: means over contiguous segments of the tokens.

    ``standard``: a token is a position, softmax runs over keys, q is divided by sqrt(d).
    ``faithful``: as DenseFlow's released code computes it. There the tensor of queries, keys and
    values is reshaped, not transposed, so that a token is 3d neighbours of the channel-major
    memory; landmarks are divided by the square root of the number of tokens, q and k are not; and
    the softmax runs over queries.

    Args:
        width: Channels in and out.
        head_width: Width d of queries, keys and values.
        num_landmarks: Segments of tokens; where their number does not divide that of the tokens,
            the next smaller one that does.

    References:
        Xiong et al. (2021), Nystromformer, https://arxiv.org/abs/2102.03902, eq. 13-14;
        Grcic et al. (2021), Densely connected normalizing flows,
        https://arxiv.org/abs/2106.04627, section 3.2.
    """

    def __init__(self, width: int, *, head_width: int, num_landmarks: int, layout: Layout) -> None:
        super().__init__()
        self.qkv = PlainConv2d(width, 3 * head_width)
        self.output = PlainConv2d(head_width, width)
        self.head_width = head_width
        self.num_landmarks = num_landmarks
        self.layout = layout

    def forward(self, h: Tensor) -> Tensor:
        """Maps (B, width, H, W) to the same shape.

        The softmax and the pseudo-inverse run in float32 at least, whatever autocast made of h.
        """
        qkv = self.qkv(h)
        with full_precision(h):
            # The pseudo-inverse is a product of many products, which bfloat16's 8 bits do not
            # survive.
            attended = self._attend(qkv.to(torch.promote_types(qkv.dtype, torch.float32)))
        out: Tensor = self.output(attended.to(h.dtype))
        return out

    def _attend(self, qkv: Tensor) -> Tensor:
        batch, _, height, width = qkv.shape
        if self.layout == "faithful":
            tokens = qkv.reshape(batch, height * width, -1)
            attended = self._faithful(*tokens.chunk(3, dim=-1))
            return attended.reshape(batch, self.head_width, height, width)
        tokens = qkv.permute(0, 2, 3, 1).reshape(batch, height * width, -1)
        attended = self._standard(*tokens.chunk(3, dim=-1))  # (B, H * W, d)
        return attended.view(batch, height, width, -1).permute(0, 3, 1, 2)

    def _faithful(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        count, scale = self._count(q), q.shape[1] ** -0.5
        landmarks = segment_means(q, count) * scale, segment_means(k, count) * scale
        return nystrom_attention(q, k, v, landmarks, normalised_dim=-2) + v

    def _standard(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        count = self._count(q)
        if count == q.shape[1]:  # then the approximation is exact, and this is the faster form
            return F.scaled_dot_product_attention(q, k, v) + v
        q = q * self.head_width**-0.5
        landmarks = segment_means(q, count), segment_means(k, count)
        return nystrom_attention(q, k, v, landmarks, normalised_dim=-1) + v

    def _count(self, tokens: Tensor) -> int:
        num_tokens = tokens.shape[1]
        most = min(self.num_landmarks, num_tokens)
        return max(count for count in range(1, most + 1) if num_tokens % count == 0)


def segment_means(tokens: Tensor, num_segments: int) -> Tensor:
    """Means over contiguous segments.

    Args:
        tokens: Shape (B, T, d).
        num_segments: Number m of segments, a divisor of T.

    Returns:
        Shape (B, m, d).
    """
    batch, num_tokens, width = tokens.shape
    return tokens.reshape(batch, num_segments, num_tokens // num_segments, width).mean(dim=2)


def nystrom_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    landmarks: tuple[Tensor, Tensor],
    *,
    normalised_dim: int,
    iterations: int = ITERATIONS,
) -> Tensor:
    """Attention through landmarks; equal to softmax attention where every token is a landmark.

    Args:
        q: Queries, scaled, shape (B, T, d).
        k: Keys, shape (B, T, d).
        v: Values, shape (B, T, d).
        landmarks: Those of the queries and of the keys, each (B, m, d).
        normalised_dim: Over what the softmax runs: -1 are keys, -2 are queries.

    Returns:
        Attended values, shape (B, T, d).
    """
    q_landmarks, k_landmarks = landmarks
    to_landmarks = (q @ k_landmarks.mT).softmax(dim=normalised_dim)  # (B, T, m)
    between = (q_landmarks @ k_landmarks.mT).softmax(dim=normalised_dim)  # (B, m, m)
    from_landmarks = (q_landmarks @ k.mT).softmax(dim=normalised_dim)  # (B, m, T)
    return to_landmarks @ pseudo_inverse(between, iterations) @ (from_landmarks @ v)


def pseudo_inverse(matrix: Tensor, iterations: int) -> Tensor:
    r"""Moore-Penrose inverse by :math:`V \leftarrow \frac14 V (13I - AV(15I - AV(7I - AV)))`.

    Args:
        matrix: A with entries >= 0, shape (B, m, m).

    Returns:
        Its approximate pseudo-inverse, shape (B, m, m).

    References:
        Xiong et al. (2021), Nystromformer, https://arxiv.org/abs/2102.03902, eq. 11.
    """
    columns = matrix.sum(dim=-2, keepdim=True).amax(dim=-1, keepdim=True)  # (B, 1, 1)
    rows = matrix.sum(dim=-1, keepdim=True).amax(dim=-2, keepdim=True)
    # A start from which the iteration converges for every matrix: the product of both norms bounds
    # the largest singular value's square.
    inverse = matrix.mT / (columns * rows)
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    # Made once and not in each of six rounds; expanded, they take no memory.
    seven, thirteen, fifteen = ((factor * identity).expand_as(matrix) for factor in (7, 13, 15))
    for _ in range(iterations):
        product = torch.bmm(matrix, inverse)
        inner = torch.baddbmm(fifteen, product, seven - product, alpha=-1)
        outer = torch.baddbmm(thirteen, product, inner, alpha=-1)
        inverse = torch.bmm(0.25 * inverse, outer)
    return inverse


class FusionNet(Conditioner):
    """Attention and a dense block side by side, fused by batch norm, ReLU and a 1x1 convolution.

    Batch norm takes statistics of the batch in training and running ones in evaluation: only the
    map of eval mode is the same for encoding and sampling.

    Args:
        num_outputs: Output channels; they start at zero.
        width: Hidden channels.
        depth: Layers of the dense block.
        growth: Channels that each of them appends.
        attention: Form of the attention branch; None leaves it out.
        head_width: Width of queries, keys and values.
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
        # Attention and dense block come in different units; the norm brings them to one.
        self.norm = nn.BatchNorm2d(len(branches) * width)
        self.fuse = PlainConv2d(len(branches) * width, width, bias=False)
        self.output = PlainConv2d(width, num_outputs, zero=True)
        self.dropout = dropout

    def forward(self, h: Tensor) -> Tensor:
        """Maps (B, num_inputs, H, W) to (B, num_outputs, H, W)."""
        h = self.input(h)
        features = self.norm(torch.cat([branch(h) for branch in self.branches], dim=1))
        return self._project(self._drop(features.relu()))

    def _project(self, h: Tensor) -> Tensor:
        """The last two 1x1 convolutions; with nothing between them, one where that is less work."""
        width, num_inputs = self.fuse.weight.shape[:2]
        num_outputs = self.output.weight.shape[0]
        # The product of both kernels is worth it where the hidden layer is the wider one.
        if num_outputs * num_inputs >= width * (num_inputs + num_outputs):
            parameters: Tensor = self.output(self.fuse(h))
            return parameters
        weight = self.output.weight.flatten(1) @ self.fuse.weight.flatten(1)
        return convolve(h, weight[:, :, None, None], self.output.bias)

    def _drop(self, h: Tensor) -> Tensor:
        return F.dropout2d(h, self.dropout, self.training) if self.dropout else h


def run_checkpointed(net: nn.Module, h: Tensor) -> Tensor:
    """Runs a network without keeping its activations for the backward pass.

    Values, gradients and batch-norm statistics are those of a plain run. Only a network without
    batch norms can be compiled so: `torch.compile` refuses the context that keeps their statistics.

    Returns:
        ``net(h)``.
    """
    out: Tensor
    if not torch.is_grad_enabled():
        out = net(h)
    elif not _batch_norms(net):
        out = checkpoint(net, h, use_reentrant=False)
    else:
        out = checkpoint(
            net, h, use_reentrant=False, context_fn=lambda: (nullcontext(), frozen_statistics(net))
        )
    return out


@contextmanager
def frozen_statistics(net: nn.Module) -> Iterator[None]:
    """Keeps batch norms in training mode from moving their running statistics a second time.

    They still run as before, so that a recomputation saves the same tensors.

    Yields:
        Nothing.
    """
    norms = _batch_norms(net)
    momenta = [norm.momentum for norm in norms]
    counts = [_count(norm).clone() for norm in norms]
    for norm in norms:
        # Not eval mode, in which a norm would use other statistics than the run that is repeated.
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, count in zip(norms, momenta, counts, strict=True):
            norm.momentum = momentum
            _count(norm).copy_(count)


def _batch_norms(net: nn.Module) -> list[_BatchNorm]:
    return [module for module in net.modules() if isinstance(module, _BatchNorm)]


def _count(norm: _BatchNorm) -> Tensor:
    """Number of batches seen, which grows whatever the momentum."""
    return cast(Tensor, norm.num_batches_tracked)
