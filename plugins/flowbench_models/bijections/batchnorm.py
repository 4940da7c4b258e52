"""Batch normalisation as a bijection."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from flowbench_models.bijections.base import Bijection


class BatchNorm(Bijection, _BatchNorm):
    r"""Batch normalisation of channels, :math:`z = (x - \mu)(\sigma^2 + \epsilon)^{-1/2}`.

    In training mu and sigma are those of the batch (so an example's ladj depends on its batch), in
    evaluation their running averages. It is a `torch.nn` batch norm to the outside, so that
    `torch.optim.swa_utils.update_bn` can re-estimate the averages for averaged weights.

    Args:
        num_channels: Size C of axis 1.
        mask: 1 for elements that are normalised, 0 for those that pass; broadcasts against the
            event shape. None normalises all. Statistics are those of the normalised elements
            alone, whereas the released code also counts the zeros that stand for the others.
        eps: Added to the variance.
        momentum: Weight of the batch in the running averages; None averages all batches equally.

    References:
        Dinh et al. (2017), Density estimation using Real NVP,
        https://arxiv.org/abs/1605.08803, section 3.7 and appendix E.
    """

    mask: Tensor
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self,
        num_channels: int,
        mask: Tensor | None = None,
        eps: float = 1e-4,
        momentum: float | None = 0.1,
    ) -> None:
        _BatchNorm.__init__(self, num_channels, eps=eps, momentum=momentum, affine=False)
        self.register_buffer("mask", torch.ones(1) if mask is None else mask, persistent=False)

    def forward(  # type: ignore[override]  # the other base returns no ladj
        self, x: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, C, ...) to latent; see `Bijection.forward`."""
        mean, log_std = self._statistics(x)
        log_scale = (-log_std * self.mask).expand(x.shape[1:])
        z = (x - mean * self.mask) * log_scale.exp()
        return z, log_scale.sum().expand(x.shape[0])

    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data with the running averages, whatever the mode."""
        mean, log_std = self._as_event(self.running_mean, self.running_var, z)
        return z * (log_std * self.mask).exp() + mean * self.mask

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if not self.training:
            return self._as_event(self.running_mean, self.running_var, x)
        mean, var = self._batch_moments(x)
        self._update_running(mean.detach(), var.detach())
        return self._as_event(mean, var, x)

    def _batch_moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        axes = (0, *range(2, x.ndim))
        mask = self.mask.expand(x.shape[1:])
        # A channel that passes whole has no elements; its statistics are 0 and 1, and unused.
        count = (mask.reshape(x.shape[1], -1).sum(dim=1) * x.shape[0]).clamp(min=1.0)
        mean = (x * mask).sum(dim=axes) / count
        centred = (x - mean.view(-1, *(1,) * (x.ndim - 2))) * mask
        return mean, centred.square().sum(dim=axes) / count

    @torch.no_grad()
    def _update_running(self, mean: Tensor, var: Tensor) -> None:
        self.num_batches_tracked.add_(1)
        weight = self.momentum
        if weight is None:
            weight = 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, weight)
        self.running_var.lerp_(var, weight)

    def _as_event(self, mean: Tensor, var: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        shape = (-1, *(1,) * (x.ndim - 2))  # (C, 1, ...)
        return mean.view(shape), 0.5 * (var + self.eps).log().view(shape)
