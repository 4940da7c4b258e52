"""Bijections of channels: squeezing, factoring out, actnorm, 1x1 convolutions, steps of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowbench_models.bijections.base import (
    Bijection,
    Composition,
    HalfCoupling,
    Shift,
    Surjection,
    sum_event_dims,
)
from flowbench_models.nets.convolution import Conditioner, convolve, full_precision

FACTOR = 2


class Squeeze(Bijection):
    """Turns each 2x2 block into four channels, (C, H, W) to (4C, H/2, W/2); its ladj is 0.

    Each channel becomes four neighbours, its block read row by row, as in
    `torch.nn.PixelUnshuffle`. The result is laid out channels-last, which convolutions prefer.

    Args:
        by_position: Whether channels of one position are neighbours instead, as in TensorFlow's
            ``space_to_depth``.

    Example:
        >>> x = torch.arange(4.0).view(1, 1, 2, 2)
        >>> z, ladj = Squeeze()(x)
        >>> z.shape, z.flatten()
        (torch.Size([1, 4, 1, 1]), tensor([0., 1., 2., 3.]))

    References:
        Dinh et al. (2017), Density estimation using Real NVP,
        https://arxiv.org/abs/1605.08803, section 3.6.
    """

    def __init__(self, *, by_position: bool = False) -> None:
        super().__init__()
        self.by_position = by_position

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, C, H, W) to latent; see `Bijection.forward`."""
        batch, channels, height, width = x.shape
        rows, columns = height // FACTOR, width // FACTOR
        order = (3, 5, 1) if self.by_position else (1, 3, 5)
        blocks = x.view(batch, channels, rows, FACTOR, columns, FACTOR).permute(0, 2, 4, *order)
        # One copy moves blocks into channels and lays channels last.
        z = blocks.reshape(batch, rows, columns, -1).permute(0, 3, 1, 2)
        return z, x.new_zeros(batch)

    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data."""
        if self.by_position:
            z = z.unflatten(1, (FACTOR**2, -1)).transpose(1, 2).flatten(1, 2)
        # torch's own kernel has this very order of channels.
        return F.pixel_shuffle(z, FACTOR)


class FactorOut(Surjection):
    r"""Factors out half of the channels, :math:`x = (y, x_b)`, as a latent.

    With a prior network the latent is :math:`\epsilon = (x_b - \mu(y))\,e^{-s(y)}`, with
    ladj = -sum(s): standard normal if :math:`x_b \mid y \sim N(\mu(y), e^{2 s(y)})`. Without one
    it is :math:`x_b` itself.

    Args:
        prior: Maps y of shape (B, C/2, H, W) to means and log standard deviations, stacked along
            axis 1: (B, C, H, W).
        keep_second: Whether the second half is y, which goes on, rather than the first.

    Example:
        >>> kept, latent, ladj = FactorOut()(torch.arange(4.0).view(1, 4, 1, 1))
        >>> kept.flatten(), latent.flatten(), ladj
        (tensor([0., 1.]), tensor([2., 3.]), tensor([0.]))

    References:
        Dinh et al. (2017), Density estimation using Real NVP, https://arxiv.org/abs/1605.08803,
        section 3.6; conditional priors as in the released code of Glow.
    """

    def __init__(self, prior: Conditioner | None = None, *, keep_second: bool = False) -> None:
        super().__init__()
        self.prior = prior
        self.keep_second = keep_second

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Splits data.

        Args:
            x: Shape (B, C, H, W), C even.

        Returns:
            The half that goes on and the latent, both (B, C/2, H, W), and ladj of shape (B,), nats.
        """
        kept, factored = x.chunk(2, dim=1)[:: -1 if self.keep_second else 1]
        if self.prior is None:
            return kept, factored, x.new_zeros(x.shape[0])
        # Read from the half that goes on: that is what the inverse has when it needs them.
        mean, log_std = self.prior(kept).to(x.dtype).chunk(2, dim=1)
        return kept, (factored - mean) * (-log_std).exp(), -sum_event_dims(log_std)

    def inverse(self, kept: Tensor, latent: Tensor) -> Tensor:
        """Puts data together again.

        Args:
            kept: The half that went on, shape (B, C/2, H, W).
            latent: The latent, shape (B, C/2, H, W).

        Returns:
            Shape (B, C, H, W).
        """
        if self.prior is not None:
            mean, log_std = self.prior(kept).to(kept.dtype).chunk(2, dim=1)
            latent = latent * log_std.exp() + mean
        return torch.cat((latent, kept) if self.keep_second else (kept, latent), dim=1)

    def initialize(self, x: Tensor) -> Tensor:
        """Initialises the prior from a first batch; returns the half that goes on."""
        kept = x.chunk(2, dim=1)[1 if self.keep_second else 0]
        if self.prior is not None:
            self.prior.initialize(kept)
        return kept


STD_FLOOR = 1e-6
"""Added to the standard deviation before its logarithm, as in the released code of Glow.

A channel with less has no spread."""


class ActNorm(Bijection):
    r"""Affine map of each channel, :math:`z = (x + b) \odot e^{s}`, with ladj = positions * sum(s).

    After data-dependent initialisation the first batch leaves with mean 0 and standard deviation 1
    in each channel (or 0, where all its values are equal); from then on b and s are parameters like
    any other.

    Args:
        num_channels: Size C of axis 1.

    Attributes:
        initialized: Whether b and s were set from data; a buffer, so a checkpoint carries it.

    Example:
        >>> norm = ActNorm(2)
        >>> z = norm.initialize(torch.tensor([[1.0, 5.0], [3.0, 9.0]]))
        >>> z.round(decimals=4)
        tensor([[-1., -1.],
                [ 1.,  1.]])

    References:
        Kingma and Dhariwal (2018), Glow: Generative Flow with Invertible 1x1 Convolutions,
        https://arxiv.org/abs/1807.03039, section 3.1.
    """

    initialized: Tensor

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(num_channels))
        self.log_scale = nn.Parameter(torch.zeros(num_channels))
        # A tensor, so that it is saved; a kept model must not be initialised by its next batch.
        self.register_buffer("initialized", torch.tensor(False))

    @staticmethod
    def as_affine(norms: Sequence[ActNorm]) -> tuple[Tensor, Tensor, Tensor]:
        """Several norms as ``x * scale + offset``, for folding into neighbouring linear maps.

        Args:
            norms: K norms of the same number of channels.

        Returns:
            log scale, scale and offset, each of shape (K, C).
        """
        log_scale = torch.stack([norm.log_scale for norm in norms])
        scale = log_scale.exp()
        return log_scale, scale, torch.stack([norm.shift for norm in norms]) * scale

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, C, ...) to latent; see `Bijection.forward`."""
        # Every position of a channel is scaled alike, so each adds the same to ladj.
        ladj = self.log_scale.sum()
        if x.ndim > 2:
            ladj = x[0, 0].numel() * ladj
        ladj = ladj.expand(x.shape[0])
        return (x + _as_channels(self.shift, x)) * _as_channels(self.log_scale.exp(), x), ladj

    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data."""
        # A product for each element in place of a division.
        inverse_scale = (-self.log_scale).exp()
        return z * _as_channels(inverse_scale, z) - _as_channels(self.shift, z)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> Tensor:
        """Sets b and s so that this batch is normalised; a second call changes nothing."""
        if not self.initialized:
            axes = (0, *range(2, x.ndim))
            # The population's: the batch itself is to leave with a standard deviation of 1.
            std, mean = torch.std_mean(x, dim=axes, correction=0)
            self.shift.copy_(-mean)
            # A channel without spread is left unscaled: norms in a row would each blow it up.
            self.log_scale.copy_(torch.where(std > STD_FLOOR, -(std + STD_FLOOR).log(), 0.0))
            self.initialized.fill_(True)
        z: Tensor = self(x)[0]
        return z


class ChannelGaussian(Bijection):
    r"""Standardises by a learned mean and scale, :math:`z = (x - \mu)\,e^{-s}`, one a channel.

    Args:
        num_channels: Size C of axis 1.

    Example:
        >>> prior = ChannelGaussian(1)
        >>> prior.mean.data, prior.log_std.data = torch.tensor([3.0]), torch.tensor([math.log(2.0)])
        >>> z, ladj = prior(torch.full((1, 1, 1, 1), 5.0))
        >>> z.item(), ladj.detach()
        (1.0, tensor([-0.6931]))
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(num_channels))
        self.log_std = nn.Parameter(torch.zeros(num_channels))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, C, H, W) to latent; see `Bijection.forward`."""
        mean, log_std = self.mean.view(1, -1, 1, 1), self.log_std.view(1, -1, 1, 1)
        ladj = -x.shape[2] * x.shape[3] * self.log_std.sum()
        return (x - mean) * (-log_std).exp(), ladj.expand(x.shape[0])

    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data."""
        return self.mean.view(1, -1, 1, 1) + z * self.log_std.view(1, -1, 1, 1).exp()


def _as_channels(values: Tensor, x: Tensor) -> Tensor:
    # Vectors have their channels last: each view saved is one less in small flows' steps, twice.
    return values if x.ndim == 2 else values.view(1, -1, *(1,) * (x.ndim - 2))  # (1, C, 1, ...)


class Permutation(Bijection):
    """A fixed permutation of axis 1; its ladj is 0.

    Args:
        order: Where each output comes from: z[:, i] = x[:, order[i]].

    Example:
        >>> z, ladj = Permutation([2, 0, 1])(torch.tensor([[10.0, 11.0, 12.0]]))
        >>> z, ladj
        (tensor([[12., 10., 11.]]), tensor([0.]))
    """

    order: Tensor
    inverse_order: Tensor

    def __init__(self, order: Sequence[int]) -> None:
        super().__init__()
        indices = torch.tensor(order)
        inverse = [0] * len(order)
        for target, source in enumerate(order):
            inverse[source] = target
        # Not saved: it follows from the configuration.
        self.register_buffer("order", indices, persistent=False)
        self.register_buffer("inverse_order", torch.tensor(inverse), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, C, ...) to latent; see `Bijection.forward`."""
        return x.index_select(1, self.order), x.new_zeros(x.shape[0])

    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data."""
        return z.index_select(1, self.inverse_order)


class InvertibleConv1x1(Bijection):
    r"""Invertible 1x1 convolution, :math:`z_{ij} = W x_{ij}`; ladj = positions * log |det W|.

    Subclasses say how W is parameterised; those with a bias add it, :math:`z = W x + b`.

    Attributes:
        bias: b, shape (C,); None for none.

    References:
        Kingma and Dhariwal (2018), Glow, https://arxiv.org/abs/1807.03039, section 3.2.
    """

    bias: nn.Parameter | None

    def __init__(self) -> None:
        super().__init__()
        self.bias = None

    @classmethod
    def matrices(cls, convolutions: Sequence[Self]) -> tuple[Tensor, Tensor]:
        """The matrices of several convolutions, built together, and their log-determinants.

        Args:
            convolutions: K convolutions of the same number of channels.

        Returns:
            W of shape (K, C, C), and log |det W| of shape (K,), in nats.
        """
        raise NotImplementedError

    def inverse_matrix(self) -> Tensor:
        """The inverse of W, shape (C, C)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, C) or (B, C, H, W) to latent; see `Bijection.forward`."""
        matrices, log_abs_det = self.matrices([self])
        ladj = (x[0, 0].numel() * log_abs_det).expand(x.shape[0])
        return mix_channels(x, matrices[0], self.bias), ladj

    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data."""
        if self.bias is not None:
            z = z - _as_channels(self.bias, z)
        return mix_channels(z, self.inverse_matrix())


class PLUConv1x1(InvertibleConv1x1):
    r"""1x1 convolution with :math:`W = P L (U + \mathrm{diag}(\pm e^{s}))`: log |det W| = sum(s).

    W starts as a random rotation; P and the signs stay what they then are. L (unit lower) and U
    (strictly upper) are stored as full matrices of which one triangle is used: 2 C^2 + C numbers,
    as the released code counts.

    Example:
        >>> convolution = PLUConv1x1(3)
        >>> x = torch.randn(2, 3, 4, 4)
        >>> z, ladj = convolution(x)
        >>> torch.allclose(convolution.inverse(z), x, atol=1e-5)
        True
        >>> ladj.abs().max() < 1e-4  # a rotation, at the start
        tensor(True)

    References:
        Kingma and Dhariwal (2018), Glow, https://arxiv.org/abs/1807.03039, eq. 10-11.
    """

    permutation: Tensor
    signs: Tensor
    identity: Tensor

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        # A rotation, whose log-determinant is 0: the flow starts with a map that keeps volumes.
        permutation, lower, upper = torch.linalg.lu(random_rotation(num_channels))
        diagonal = upper.diagonal().clone()
        # Saved, unlike other fixed tensors: it is random, and belongs to the weights.
        self.register_buffer("permutation", permutation)
        self.register_buffer("signs", diagonal.sign())
        self.register_buffer("identity", torch.eye(num_channels), persistent=False)
        self.lower = nn.Parameter(lower)
        self.upper = nn.Parameter(upper.triu(1))
        self.log_diagonal = nn.Parameter(diagonal.abs().log())

    @classmethod
    def matrices(cls, convolutions: Sequence[Self]) -> tuple[Tensor, Tensor]:
        """W and log |det W|; see `InvertibleConv1x1.matrices`."""
        lower, upper, log_diagonal = cls._triangles(convolutions)
        permutation = torch.stack([convolution.permutation for convolution in convolutions])
        return permutation @ lower @ upper, log_diagonal.sum(dim=1)

    def inverse_matrix(self) -> Tensor:
        """The inverse of W from two triangular solves, shape (C, C)."""
        lower, upper, _ = self._triangles([self])
        # Two solves in place of an inverse: they keep more digits where U is badly conditioned.
        inner = torch.linalg.solve_triangular(
            lower[0], self.permutation.mT, upper=False, unitriangular=True
        )
        inverse: Tensor = torch.linalg.solve_triangular(upper[0], inner, upper=True)
        return inverse

    @staticmethod
    def _triangles(convolutions: Sequence[PLUConv1x1]) -> tuple[Tensor, Tensor, Tensor]:
        lower = torch.stack([convolution.lower for convolution in convolutions])
        upper = torch.stack([convolution.upper for convolution in convolutions])
        log_diagonal = torch.stack([convolution.log_diagonal for convolution in convolutions])
        signs = torch.stack([convolution.signs for convolution in convolutions])
        diagonal = (signs * log_diagonal.exp()).diag_embed()  # (K, C, C)
        # The unused triangles are cut off at each use, so that no optimizer can move them into the
        # map.
        return lower.tril(-1) + convolutions[0].identity, upper.triu(1) + diagonal, log_diagonal


class FullConv1x1(InvertibleConv1x1):
    """1x1 convolution whose matrix is the parameter itself: C^2 numbers; at first a rotation.

    Example:
        >>> convolution = FullConv1x1(3)
        >>> convolution.weight.data *= 2.0
        >>> _, ladj = convolution(torch.randn(2, 3, 4, 4))
        >>> torch.allclose(ladj, torch.tensor(16 * 3 * math.log(2.0)))
        True
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(random_rotation(num_channels))

    @classmethod
    def matrices(cls, convolutions: Sequence[Self]) -> tuple[Tensor, Tensor]:
        """W and log |det W|; see `InvertibleConv1x1.matrices`."""
        weights = torch.stack([convolution.weight for convolution in convolutions])
        # `slogdet`, since a determinant of many channels leaves the range of float32.
        return weights, torch.linalg.slogdet(weights).logabsdet

    def inverse_matrix(self) -> Tensor:
        """The inverse of W, shape (C, C)."""
        inverse: Tensor = torch.linalg.inv(self.weight)
        return inverse


def random_rotation(num_channels: int) -> Tensor:
    """A random orthogonal matrix.

    Args:
        num_channels: Number C of its rows and columns.

    Returns:
        The matrix, drawn from torch's global generator.
    """
    rotation: Tensor = torch.linalg.qr(torch.randn(num_channels, num_channels)).Q
    return rotation


def mix_channels(x: Tensor, matrix: Tensor, offset: Tensor | None = None) -> Tensor:
    """Applies one affine map to the channels of every position.

    Args:
        x: Shape (B, C) or (B, C, H, W).
        matrix: Shape (C, C).
        offset: Shape (C,); None adds nothing.

    Returns:
        Of the shape of x.
    """
    if x.ndim == 2:
        return F.linear(x, matrix, offset)
    # A matrix product over channels: channels-last data need no copy for it.
    return convolve(x, matrix[:, :, None, None], offset)


class Mixings(NamedTuple):
    """Affine maps of channels.

    Attributes:
        matrices: K tensors of shape (C, C).
        offsets: K tensors of shape (C,).
        log_abs_det: Sum of their log-determinants for one position, shape (), in nats.
    """

    matrices: tuple[Tensor, ...]
    offsets: tuple[Tensor, ...]
    log_abs_det: Tensor


def fold_mixings(norms: Sequence[ActNorm], convolutions: Sequence[InvertibleConv1x1]) -> Mixings:
    r"""Folds :math:`W(s \odot x + o) = (W \mathrm{diag}(s))\,x + W o` for all steps at once.

    Done together it takes as many operations as for one step, which counts where steps are small.

    Args:
        norms: K actnorms of C channels.
        convolutions: The 1x1 convolution behind each, all of one parameterisation.

    Returns:
        The K affine maps.
    """
    with full_precision(norms[0].shift):
        log_scale, scale, offset = ActNorm.as_affine(norms)
        matrices, log_abs_dets = type(convolutions[0]).matrices(convolutions)
        # Norm and convolution become one pass over activations, of which there are many more than
        # weights.
        offsets = (matrices @ offset[..., None]).squeeze(-1)
        if convolutions[0].bias is not None:
            biases = [convolution.bias for convolution in convolutions]
            offsets = offsets + torch.stack(cast("list[Tensor]", biases))
        folded = matrices * scale[:, None, :]
        return Mixings(folded.unbind(), offsets.unbind(), log_abs_dets.sum() + log_scale.sum())


class FlowStep(Composition):
    """One step of flow: actnorm, 1x1 convolution, coupling.

    Args:
        coupling: Of C channels, as the other two.

    References:
        Kingma and Dhariwal (2018), Glow, https://arxiv.org/abs/1807.03039, figure 2a.
    """

    def __init__(self, norm: ActNorm, mixing: InvertibleConv1x1, coupling: HalfCoupling) -> None:
        super().__init__([norm, mixing, coupling])

    @property
    def norm(self) -> ActNorm:
        """The activation normalisation."""
        return cast(ActNorm, self.bijections[0])

    @property
    def mixing(self) -> InvertibleConv1x1:
        """The 1x1 convolution."""
        return cast(InvertibleConv1x1, self.bijections[1])

    @property
    def coupling(self) -> HalfCoupling:
        """The coupling."""
        return cast(HalfCoupling, self.bijections[2])


class FlowSteps(Composition):
    r"""Several steps of one shape, one after the other, at less cost than one by one.

    Actnorm and 1x1 convolution are one affine map of channels, :math:`W(s \odot x + o) = (W
    \mathrm{diag}(s)) x + W o`. That map and the parts of ladj that do not depend on data are
    computed for all steps at once.

    Args:
        steps: In the order from data to latent; laws of couplings are all of one kind.

    Example:
        >>> from flowbench_models.nets.convolution import ZeroConv2d
        >>> def step():
        ...     coupling = HalfCoupling(Shift(), ZeroConv2d(2, 2), swap=False)
        ...     return FlowStep(ActNorm(4), PLUConv1x1(4), coupling)
        >>> steps, x = [step(), step()], torch.randn(3, 4, 2, 2)
        >>> folded, _ = FlowSteps(steps)(x)
        >>> one_by_one, _ = Composition(steps)(x)
        >>> torch.allclose(folded, one_by_one, atol=1e-5)
        True
    """

    def __init__(self, steps: Iterable[FlowStep]) -> None:
        super().__init__(steps)

    def steps(self) -> list[FlowStep]:
        """The steps, in order."""
        return cast("list[FlowStep]", list(self.bijections))

    def conditioners(self) -> Sequence[Callable[[Tensor], Tensor]]:
        """What conditions each step's coupling; a subclass may run its networks in another way."""
        return [step.coupling.conditioner for step in self.steps()]

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, C, H, W) to latent; see `Bijection.forward`."""
        steps = self.steps()
        conditioners: Sequence[Callable[..., Tensor]] = self.conditioners()
        if context is not None:
            conditioners = [partial(net, context=context) for net in conditioners]
        # Of all steps before the first: a few large operations in place of many small ones.
        mixings = fold_mixings([step.norm for step in steps], [step.mixing for step in steps])
        log_derivatives = []
        each = zip(steps, mixings.matrices, mixings.offsets, conditioners, strict=True)
        for step, matrix, offset, conditioner in each:
            # A product in bfloat16 would not be undone by the inverse, and ladj is that of the
            # exact map.
            with full_precision(x):
                x = mix_channels(x, matrix, offset)
            x, log_derivative = step.coupling.couple(x, conditioner)
            if not isinstance(step.coupling.law, Shift):  # there it is zero
                log_derivatives.append(log_derivative)
        ladj = x.shape[2] * x.shape[3] * mixings.log_abs_det
        # Additive couplings keep volumes, so that ladj is the same for every example.
        if not log_derivatives:
            return x, ladj.expand(len(x))
        return x, torch.stack(log_derivatives).sum(dim=(0, 2, 3, 4)) + ladj  # of (K, B, C, H, W)
