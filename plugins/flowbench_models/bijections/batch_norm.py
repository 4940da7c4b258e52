"""Batch normalisation as a bijection."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from flowbench.api import mean_over_devices
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
        eps: Number added to the variance, which keeps its root off 0.
        momentum: Weight of the batch in the running averages; None averages all batches equally.
        rescaled: Whether each channel is scaled and shifted again by learned numbers,
            :math:`e^{\gamma} z + \beta`. Not together with a mask.

    Example:
        >>> norm = BatchNorm(1)
        >>> z, ladj = norm(torch.tensor([[-2.0], [2.0]]))  # in training, by the batch's statistics
        >>> z, ladj
        (tensor([[-1.0000],
                [ 1.0000]]), tensor([-0.6932, -0.6932]))

    References:
        Dinh et al. (2017), Density estimation using Real NVP,
        https://arxiv.org/abs/1605.08803, section 3.7 and appendix E;
        Papamakarios et al. (2017), Masked Autoregressive Flow for Density Estimation,
        https://arxiv.org/abs/1705.07057, appendix B (rescaled).
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
        *,
        rescaled: bool = False,
    ) -> None:
        _BatchNorm.__init__(self, num_channels, eps=eps, momentum=momentum, affine=False)
        self.register_buffer("mask", torch.ones(1) if mask is None else mask, persistent=False)
        self.log_gamma = nn.Parameter(torch.zeros(num_channels)) if rescaled else None
        self.beta = nn.Parameter(torch.zeros(num_channels)) if rescaled else None

    def forward(  # type: ignore[override]  # the other base returns no ladj
        self, x: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, C, ...) to latent; see `Bijection.forward`."""
        mean, log_std = self._statistics(x)
        log_scale = (-log_std * self.mask).expand(x.shape[1:])
        z = (x - mean * self.mask) * log_scale.exp()
        ladj = log_scale.sum()
        if self.log_gamma is not None and self.beta is not None:
            z = z * self._per_channel(self.log_gamma.exp(), x) + self._per_channel(self.beta, x)
            ladj = ladj + self.log_gamma.sum() * x[0, 0].numel()
        return z, ladj.expand(x.shape[0])

    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data with the running averages, whatever the mode."""
        mean, log_std = self._as_event(self.running_mean, self.running_var, z)
        if self.log_gamma is not None and self.beta is not None:
            z = (z - self._per_channel(self.beta, z)) * self._per_channel(
                (-self.log_gamma).exp(), z
            )
        return z * (log_std * self.mask).exp() + mean * self.mask

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if not self.training:
            return self._as_event(self.running_mean, self.running_var, x)
        # With a gradient: the batch's statistics are a part of the map, and ladj depends on them.
        mean, var = self._batch_moments(x)
        # Detached: averages over the whole training would keep its whole graph.
        self._update_running(mean.detach(), var.detach())
        return self._as_event(mean, var, x)

    def _batch_moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        axes = (0, *range(2, x.ndim))
        mask = self.mask.expand(x.shape[1:])
        # A channel that passes whole has no elements; its statistics are 0 and 1, and unused.
        count = (mask.reshape(x.shape[1], -1).sum(dim=1) * x.shape[0]).clamp(min=1.0)
        mean = mean_over_devices((x * mask).sum(dim=axes) / count)
        # Twice over the data: a mean of squares less the square of the mean loses digits.
        centred = (x - mean.view(-1, *(1,) * (x.ndim - 2))) * mask
        return mean, mean_over_devices(centred.square().sum(dim=axes) / count)

    @torch.no_grad()
    def _update_running(self, mean: Tensor, var: Tensor) -> None:
        self.num_batches_tracked.add_(1)
        weight = self.momentum
        if weight is None:
            # A plain mean over all batches so far, as torch's own norms define a momentum of None.
            weight = 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, weight)
        self.running_var.lerp_(var, weight)

    def _as_event(self, mean: Tensor, var: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        log_std = 0.5 * (var + self.eps).log()
        return self._per_channel(mean, x), self._per_channel(log_std, x)

    @staticmethod
    def _per_channel(values: Tensor, x: Tensor) -> Tensor:
        return values.view(-1, *(1,) * (x.ndim - 2))  # (C, 1, ...)

    @torch.no_grad()
    def fit(self, batches: Sequence[Tensor]) -> None:
        """Takes the statistics of all examples together, as one batch would give them.

        Args:
            batches: Data, each of shape (B, C, ...).
        """
        mean, var = self._batch_moments(torch.cat(list(batches)))
        self.running_mean.copy_(mean)
        self.running_var.copy_(var)
