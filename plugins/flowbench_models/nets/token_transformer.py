"""From tokens, and perhaps a class label, to the parameters of a bijection for each token."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flowbench_models.nets.transformer import Transformer

EMBEDDING_STD = 1e-2  # of positions and classes at the start, as released


class TokenTransformer(nn.Module):
    r"""Embeds tokens with their positions and the label, runs a transformer, and reads it out.

    A withheld label is embedded as the mean over all classes. The read-out starts with zero
    weights, but, as released, with the usual random bias.

    Args:
        in_dims: Values of a token that are read.
        out_dims: Parameters of each token.
        num_tokens: Most tokens N of a sequence.
        width: Channels of the transformer.
        num_layers: Its layers.
        head_dim: Channels of an attention head.
        causal: Whether a token attends only to itself and to those before it.
        num_classes: Number of class labels; 0 without any.

    References:
        Zhai et al. (2024), Normalizing Flows are Capable Generative Models,
        https://arxiv.org/abs/2412.06329, section 3.1, and the authors' released code.
    """

    def __init__(
        self,
        in_dims: int,
        out_dims: int,
        *,
        num_tokens: int,
        width: int,
        num_layers: int,
        head_dim: int,
        causal: bool,
        num_classes: int = 0,
    ) -> None:
        super().__init__()
        self.num_tokens = num_tokens
        self.embed = nn.Linear(in_dims, width)
        self.positions = nn.Parameter(EMBEDDING_STD * torch.randn(num_tokens, width))
        self.classes = (
            nn.Parameter(EMBEDDING_STD * torch.randn(num_classes, width)) if num_classes else None
        )
        self.transformer = Transformer(width, num_layers, head_dim=head_dim, causal=causal)
        self.read_out = nn.Linear(width, out_dims)
        nn.init.zeros_(self.read_out.weight)

    def forward(self, x: Tensor, labels: Tensor | None, *, checkpoint: bool = False) -> Tensor:
        """Parameters of all tokens at once.

        Args:
            x: The first M of N tokens, shape (B, M, in_dims).
            labels: Class of each sequence, shape (B,), the number of classes where it is withheld;
                None withholds all. Not looked at without classes.
            checkpoint: Whether the transformer is recomputed in the backward pass.

        Returns:
            Parameters, shape (B, M, out_dims).
        """
        h = self.embed(x) + self.positions[: x.shape[1]]
        label = self.embed_labels(labels)
        if label is not None:
            h = h + label.unsqueeze(-2)
        parameters: Tensor = self.read_out(self.transformer(h, checkpoint=checkpoint))
        return parameters

    def embed_labels(self, labels: Tensor | None) -> Tensor | None:
        """What the label adds to every token.

        Args:
            labels: As in `forward`.

        Returns:
            Shape (B, width), or (width,) if all labels are withheld; None without classes.
        """
        if self.classes is None:
            return None
        withheld = self.classes.mean(dim=0)
        if labels is None:
            return withheld
        return torch.cat([self.classes, withheld.unsqueeze(0)]).index_select(0, labels)
