r"""Self-attention over positions in linear time, by the Nystrom method.

.. math:: \mathrm{softmax}(q k^\top) \approx K_1 K_2^+ K_3, \qquad
          K_1 = \mathrm{softmax}(q \tilde k^\top), \quad
          K_2 = \mathrm{softmax}(\tilde q \tilde k^\top), \quad
          K_3 = \mathrm{softmax}(\tilde q k^\top)

with landmarks :math:`\tilde q, \tilde k`: means over contiguous segments of the tokens.

References:
    Xiong et al. (2021), Nystromformer, https://arxiv.org/abs/2102.03902, eq. 13-14.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowbench_models.nets.plain_conv import PlainConv2d
from flowbench_models.nets.precision import full_precision

Layout = Literal["faithful", "standard"]

ITERATIONS = 6
"""Of the iterative pseudo-inverse; the released code of DenseFlow and of Nystromformer."""


class NystromAttention(nn.Module):
    r"""Single-head attention between positions, :math:`K_1 K_2^+ (K_3 v) + v`.

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
        layout: Which of the two.

    References:
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
        iterations: Of the pseudo-inverse.

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
        iterations: How many.

    Returns:
        Its approximate pseudo-inverse, shape (B, m, m).

    References:
        Xiong et al. (2021), Nystromformer, https://arxiv.org/abs/2102.03902, eq. 11.
    """
    columns = matrix.sum(dim=-2, keepdim=True).amax(dim=-1, keepdim=True)  # (B, 1, 1)
    rows = matrix.sum(dim=-1, keepdim=True).amax(dim=-2, keepdim=True)
    inverse = matrix.mT / (columns * rows)
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    seven, thirteen, fifteen = ((factor * identity).expand_as(matrix) for factor in (7, 13, 15))
    for _ in range(iterations):
        product = torch.bmm(matrix, inverse)
        inner = torch.baddbmm(fifteen, product, seven - product, alpha=-1)
        outer = torch.baddbmm(thirteen, product, inner, alpha=-1)
        inverse = torch.bmm(0.25 * inverse, outer)
    return inverse
