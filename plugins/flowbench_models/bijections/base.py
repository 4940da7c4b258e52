"""Bijections and their siblings, the surjections; compositions; couplings of two halves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from flowbench_models.nets.convolution import Conditioner, ContextualConditioner


class Bijection(nn.Module):
    r"""An invertible map :math:`z = f(x)` between tensors whose batch axis is the first.

    ``forward`` maps data to latent, ``inverse`` latent to data. Only ``forward`` gives the ladj:
    likelihoods never run a flow backwards, and sampling does not need it.

    Example:
        >>> class Doubling(Bijection):
        ...     def forward(self, x):
        ...         ladj = torch.full((len(x),), x[0].numel() * math.log(2.0))
        ...         return 2.0 * x, ladj
        ...
        ...     def inverse(self, z):
        ...         return z / 2.0
        >>> z, ladj = Doubling()(torch.ones(1, 3))
        >>> z, ladj
        (tensor([[2., 2., 2.]]), tensor([2.0794]))
    """

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data to latent.

        Args:
            x: Data, shape (B, ...).

        Returns:
            z, and ladj = log |det dz/dx| summed over event dims, shape (B,), in nats.
        """
        raise NotImplementedError

    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data.

        Args:
            z: Latent, as ``forward`` returns it.

        Returns:
            x, up to rounding what ``forward`` was given.
        """
        raise NotImplementedError

    def inverse_with_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Maps latent to data, with what ``forward`` gives as ladj there.

        Worth its own form where the way back knows it without going forward again.

        Args:
            z: Latent, as ``forward`` returns it.

        Returns:
            x, and ladj = log |det dz/dx|, shape (B,), in nats.
        """
        x = self.inverse(z)
        return x, self(x)[1]

    def initialize(self, x: Tensor) -> Tensor:
        """Sets whatever depends on data from a first batch; by default there is nothing to set.

        Args:
            x: Data, shape (B, ...).

        Returns:
            z of the initialised map, so that the next bijection can be initialised from it.
        """
        z: Tensor = self(x)[0]
        return z


class ConditionalBijection(Bijection):
    """A bijection that may depend on a context: :math:`z = f(x; c)` is invertible for each c.

    Whether it does is decided where it is made; one that does not is called without a context.
    """

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Maps data to latent.

        Args:
            x: Data, shape (B, ...).
            context: What the map depends on, shape (B, num_context).

        Returns:
            z, and ladj = log |det dz/dx| at this context, shape (B,), in nats.
        """
        raise NotImplementedError

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps latent to data at the same context."""
        raise NotImplementedError

    def inverse_with_ladj(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Maps latent to data at the same context; see `Bijection.inverse_with_ladj`."""
        x = self.inverse(z, context)
        return x, self(x, context)[1]

    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Sets whatever depends on data from a first batch; by default there is nothing to set."""
        z: Tensor = self(x, context)[0]
        return z


def run(bijection: Bijection, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    """Maps data to latent, at a context if the bijection takes one; see `Bijection.forward`."""
    takes_context = isinstance(bijection, ConditionalBijection)
    returned: tuple[Tensor, Tensor] = bijection(x, context) if takes_context else bijection(x)
    return returned


class Composition(ConditionalBijection):
    r"""Bijections one after the other, :math:`f = f_n \circ \dots \circ f_1`; their ladj add up.

    Args:
        bijections: In the order from data to latent. Those that take a context get that of all.

    Example:
        >>> from flowbench_models.bijections.channels import ActNorm, Permutation
        >>> flow = Composition([Permutation([1, 0]), ActNorm(2)])
        >>> z, ladj = flow(torch.tensor([[1.0, 2.0]]))
        >>> z.detach(), flow.inverse(z).detach()
        (tensor([[2., 1.]]), tensor([[1., 2.]]))
    """

    def __init__(self, bijections: Iterable[Bijection]) -> None:
        super().__init__()
        self.bijections = nn.ModuleList(bijections)

    def parts(self) -> list[Bijection]:
        """The bijections, in order."""
        # A `ModuleList` tells type checkers of modules alone, whose call returns anything.
        return cast("list[Bijection]", list(self.bijections))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Maps data to latent; see `ConditionalBijection.forward`."""
        # Of x, so that dtype and device are the model's own, in float64 and on a GPU as well.
        ladj = x.new_zeros(x.shape[0])
        for bijection in self.parts():
            x, term = run(bijection, x, context)
            ladj = ladj + term
        return x, ladj

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps latent to data, the last bijection first."""
        for bijection in reversed(self.parts()):
            if isinstance(bijection, ConditionalBijection):
                z = bijection.inverse(z, context)
            else:
                z = bijection.inverse(z)
        return z

    def inverse_with_ladj(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Maps latent to data, the last bijection first; their ladj add up."""
        ladj = z.new_zeros(z.shape[0])
        for bijection in reversed(self.parts()):
            if isinstance(bijection, ConditionalBijection):
                z, term = bijection.inverse_with_ladj(z, context)
            else:
                z, term = bijection.inverse_with_ladj(z)
            ladj = ladj + term
        return z, ladj

    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Initialises each bijection from the output of those before it."""
        for bijection in self.parts():
            if isinstance(bijection, ConditionalBijection):
                x = bijection.initialize(x, context)
            else:
                x = bijection.initialize(x)
        return x


class Surjection(nn.Module):
    r"""A sibling of `Bijection` that lets a part of the data go: :math:`x \mapsto (y, z)`.

    y goes on through the flow. What is lost leaves as a latent z, of which ``inverse`` makes x
    again, so that the likelihood's contribution is

    .. math:: \log p(z) + \mathrm{ladj}, \qquad \mathrm{ladj} = \log |\det \partial (y, z)
              / \partial x|

    A latent is standard normal, unless ``log_weight`` and ``from_normal`` say otherwise.

    Example:
        >>> class First(Surjection):  # keeps the first of two values
        ...     def forward(self, x):
        ...         return x[:, :1], x[:, 1:], x.new_zeros(len(x))
        ...
        ...     def inverse(self, kept, latent):
        ...         return torch.cat((kept, latent), dim=1)
        >>> First()(torch.tensor([[1.0, 2.0]]))
        (tensor([[1.]]), tensor([[2.]]), tensor([0.]))

    References:
        Nielsen et al. (2020), SurVAE Flows: Surjections to Bridge the Gap between VAEs and Flows,
        https://arxiv.org/abs/2007.02731, section 3.
    """

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Takes data apart.

        Args:
            x: Data, shape (B, ...).

        Returns:
            y, z, and ladj of shape (B,), in nats.
        """
        raise NotImplementedError

    def inverse(self, kept: Tensor, latent: Tensor) -> Tensor:
        """Puts data together again, from y and z as ``forward`` returns them."""
        raise NotImplementedError

    def initialize(self, x: Tensor) -> Tensor:
        """Sets whatever depends on data from a first batch; returns y."""
        kept: Tensor = self(x)[0]
        return kept

    def log_weight(self, latent: Tensor) -> Tensor:
        """Log-density of z less that under a standard normal, shape (B,), in nats; here 0."""
        return latent.new_zeros(latent.shape[0])

    def from_normal(self, noise: Tensor) -> Tensor:
        """Makes a latent of standard normal noise of its shape."""
        return noise


class GenerativeSurjection(nn.Module):
    r"""A sibling of `Bijection` that loses a part of the latent: :math:`x = g(z)`.

    Forwards it adds noise, :math:`z = f(x, \epsilon)`, whose log-density the flow subtracts where
    the noise is drawn. Its likelihood's contribution is then a bound's:

    .. math:: \mathrm{ladj} - \log N(\epsilon), \qquad \mathrm{ladj} = \log |\det \partial z
              / \partial (x, \epsilon)|

    (of z by noise alone where x is discrete).

    Attributes:
        noise_shape: Event shape of the standard normal noise.

    References:
        Nielsen et al. (2020), SurVAE Flows, https://arxiv.org/abs/2007.02731, section 3.
    """

    noise_shape: tuple[int, ...]

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data and noise to latent.

        Args:
            x: Data, shape (B, ...).
            noise: Standard normal, shape (B, *noise_shape).

        Returns:
            z, and ladj of shape (B,), in nats.
        """
        raise NotImplementedError

    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data."""
        raise NotImplementedError

    def initialize(self, x: Tensor, noise: Tensor) -> Tensor:
        """Sets whatever depends on data from a first batch; returns z."""
        z: Tensor = self(x, noise)[0]
        return z


def sum_event_dims(values: Tensor) -> Tensor:
    """Sums over all axes but the first, without the copy that flattening channels-last would make.

    Args:
        values: Shape (B, ...), at least two axes.

    Returns:
        The sums, shape (B,).
    """
    return values.sum(dim=tuple(range(1, values.ndim)))


class ElementwiseMap(nn.Module):
    r"""An increasing map :math:`z_i = f(x_i; \theta_i)` of each element.

    Parameters come stacked along axis 1: those of one kind for all channels, then the next kind.

    Attributes:
        num_parameters: Parameters for each element.

    Example:
        >>> class Scale(ElementwiseMap):
        ...     num_parameters = 1
        ...
        ...     def forward(self, x, parameters):
        ...         return x * parameters.exp(), parameters
        ...
        ...     def inverse(self, z, parameters):
        ...         return z * (-parameters).exp()
        >>> Scale()(torch.ones(1, 2), torch.zeros(1, 2))
        (tensor([[1., 1.]]), tensor([[0., 0.]]))
    """

    num_parameters: int

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data to latent.

        Args:
            x: Data, shape (B, C, ...).
            parameters: Shape (B, num_parameters * C, ...).

        Returns:
            z, and log dz/dx of each element in nats, both of the shape of x.
        """
        raise NotImplementedError

    def inverse(self, z: Tensor, parameters: Tensor) -> Tensor:
        """Maps latent to data.

        Args:
            z: Latent, shape (B, C, ...).
            parameters: Shape (B, num_parameters * C, ...).

        Returns:
            x, of the shape of z.
        """
        raise NotImplementedError


class Shift(ElementwiseMap):
    r"""Additive coupling law, :math:`z = x + t`.

    Example:
        >>> Shift()(torch.tensor([[1.0, 2.0]]), torch.tensor([[10.0, 20.0]]))
        (tensor([[11., 22.]]), tensor([[0., 0.]]))

    References:
        Dinh et al. (2014), NICE: Non-linear Independent Components Estimation,
        https://arxiv.org/abs/1410.8516, section 3.2.
    """

    num_parameters = 1

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data to latent; see `ElementwiseMap.forward`."""
        return x + parameters, torch.zeros_like(x)

    def inverse(self, z: Tensor, parameters: Tensor) -> Tensor:
        """Maps latent to data."""
        return z - parameters


class SigmoidAffine(ElementwiseMap):
    r"""Affine law of Glow's released code, :math:`z = (x + t)\,\sigma(s + 2)`.

    The offset of 2 starts a zero-initialised coupling near the identity, and the sigmoid keeps the
    scale below 1, so that densities cannot blow up.

    Args:
        shift_last: Whether the shift comes after the scale, :math:`z = x\,\sigma(s + 2) + t`, as in
            the released code of MaCow.
        offset: In place of 2.
        factor: Of the scale, which is then between 0 and this.

    Example:
        >>> law = SigmoidAffine()
        >>> z, log_derivative = law(torch.ones(1, 2), torch.zeros(1, 4))
        >>> z
        tensor([[0.8808, 0.8808]])
        >>> log_derivative
        tensor([[-0.1269, -0.1269]])

    References:
        Kingma and Dhariwal (2018), Glow, https://arxiv.org/abs/1807.03039, table 1 (which leaves
        the form of the scale open).
    """

    num_parameters = 2

    def __init__(
        self, *, shift_last: bool = False, offset: float = 2.0, factor: float = 1.0
    ) -> None:
        super().__init__()
        self.shift_last, self.offset, self.factor = shift_last, offset, factor

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data to latent; see `ElementwiseMap.forward`."""
        shift, scale = self._shift_and_scale(parameters)
        z = torch.addcmul(shift, x, scale) if self.shift_last else (x + shift) * scale
        return z, scale.log()

    def inverse(self, z: Tensor, parameters: Tensor) -> Tensor:
        """Maps latent to data."""
        shift, scale = self._shift_and_scale(parameters)
        return (z - shift) / scale if self.shift_last else z / scale - shift

    def _shift_and_scale(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        # Halves, where the released code takes even and odd channels: the same up to the order.
        shift, raw = parameters.chunk(2, dim=1)
        scale = self.factor * (raw + self.offset).sigmoid()
        # Kept off 0, so that it has a log and an inverse. (logsigmoid would lose channels-last.)
        return shift, scale.clamp_min(torch.finfo(scale.dtype).tiny)


class Affine(ElementwiseMap):
    r"""Affine law :math:`z = e^{s} x + t` without bounds.

    Example:
        >>> Affine()(torch.ones(1, 1), torch.tensor([[math.log(2.0), 3.0]]))
        (tensor([[5.]]), tensor([[0.6931]]))

    References:
        Dinh et al. (2017), Density estimation using Real NVP, https://arxiv.org/abs/1605.08803,
        eq. 4.
    """

    num_parameters = 2

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data to latent; see `ElementwiseMap.forward`."""
        log_scale, shift = self._split(parameters)
        return torch.addcmul(shift, log_scale.exp(), x), log_scale

    def inverse(self, z: Tensor, parameters: Tensor) -> Tensor:
        """Maps latent to data."""
        log_scale, shift = self._split(parameters)
        return (z - shift) * (-log_scale).exp()

    def _split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = parameters.chunk(2, dim=1)
        return log_scale, shift


class BoundedAffine(Affine):
    r"""Affine law :math:`z = e^{s} x + t` with :math:`s = c \tanh(\hat s / c)`, in (-c, c).

    Args:
        bound: Number c: a factor of :math:`e^c` either way is the most.

    Example:
        >>> z, log_scale = BoundedAffine()(torch.ones(1, 1), torch.tensor([[1e6, 3.0]]))
        >>> z, log_scale  # of the largest raw scale
        (tensor([[10.3891]]), tensor([[2.]]))

    References:
        Grcic et al. (2021), Densely connected normalizing flows,
        https://arxiv.org/abs/2106.04627; the bound of 2 is that of the released code. There the
        raw scale is on even channels and the shift on odd ones, here they are halves: the same up
        to the order of a network's outputs.
    """

    def __init__(self, bound: float = 2.0) -> None:
        super().__init__()
        self.bound = bound

    def _split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        raw, shift = parameters.chunk(2, dim=1)
        # Slope 1 at 0, like no bound at all.
        return self.bound * torch.tanh(raw / self.bound), shift


def half_sizes(num_channels: int, *, swap: bool) -> tuple[int, int]:
    """Sizes of the two parts of a `HalfCoupling`; of an odd number the first half gets the rest.

    Args:
        num_channels: Size C of axis 1.
        swap: Whether the second part conditions, and the first is transformed.

    Returns:
        Number of channels that condition, and number of channels that are transformed.
    """
    second = num_channels // 2
    first = num_channels - second
    return (second, first) if swap else (first, second)


class HalfCoupling(ConditionalBijection):
    r"""Coupling between the two halves of axis 1: of channels, or of a vector's elements.

    One half passes, and says how the other is transformed:

    .. math:: z_a = x_a, \qquad z_b = f(x_b;\, \theta(x_a)), \qquad
              \mathrm{ladj} = \sum_i \log \partial f(x_{b,i}) / \partial x_{b,i}

    Args:
        law: What happens to each transformed element.
        conditioner: Maps the half that passes (B, C_a, ...) to (B, num_parameters * C_b, ...); it
            gets the context, too, where there is one.
        swap: Whether the second half passes and transforms the first, rather than the first the
            second.
        exchange: Whether the halves change places on the way, so that the next coupling of the same
            kind transforms what passed here.
        num_transformed: How many elements are transformed; None for half of them.

    Example:
        >>> from flowbench_models.nets.mlp import MLP
        >>> conditioner = MLP(2, [8], 2, zero_output=False)
        >>> coupling = HalfCoupling(Shift(), conditioner, swap=False)
        >>> x = torch.randn(5, 4)
        >>> z, ladj = coupling(x)
        >>> torch.equal(z[:, :2], x[:, :2]), ladj.shape
        (True, torch.Size([5]))
        >>> torch.allclose(coupling.inverse(z), x, atol=1e-6)
        True

    References:
        Dinh et al. (2014), NICE, https://arxiv.org/abs/1410.8516, section 3.2;
        Dinh et al. (2017), Density estimation using Real NVP, https://arxiv.org/abs/1605.08803,
        sections 3.2-3.4.
    """

    def __init__(
        self,
        law: ElementwiseMap,
        conditioner: Conditioner,
        *,
        swap: bool,
        exchange: bool = False,
        num_transformed: int | None = None,
    ) -> None:
        super().__init__()
        self.law = law
        self.conditioner = conditioner
        self.swap, self.exchange = swap, exchange
        self.num_transformed = num_transformed

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, C, ...) to latent; see `ConditionalBijection.forward`."""
        z, log_derivative = self.couple(x, self._conditioner(context))
        return z, sum_event_dims(log_derivative)

    def couple(self, x: Tensor, conditioner: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Maps data to latent with another conditioner, such as the own one in another form.

        Args:
            x: Data, shape (B, C, ...).
            conditioner: Maps the half that passes to parameters.

        Returns:
            z, and log dz/dx of each transformed element, shape (B, C_b, ...), in nats.
        """
        # Contiguous parts of one axis: a mask would compute parameters for elements that pass.
        passing, transformed = self._split(x, passing_first=not self.swap)
        # Out of autocast: exponentials and log-derivatives need float32, see `full_precision`.
        parameters = conditioner(passing).to(x.dtype)
        transformed, log_derivative = self.law(transformed, parameters)
        parts = (passing, transformed) if self._passing_leaves_first else (transformed, passing)
        return torch.cat(parts, dim=1), log_derivative

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps latent to data."""
        return self._uncouple(z, context)[0]

    def inverse_with_ladj(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Maps latent to data; the network runs once."""
        x, transformed, parameters = self._uncouple(z, context)
        return x, sum_event_dims(self.law(transformed, parameters)[1])

    def _uncouple(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """The data, of them the half that was transformed, and the parameters of that."""
        passing, transformed = self._split(z, passing_first=self._passing_leaves_first)
        parameters = self._conditioner(context)(passing).to(z.dtype)
        transformed = self.law.inverse(transformed, parameters)
        parts = (transformed, passing) if self.swap else (passing, transformed)
        return torch.cat(parts, dim=1), transformed, parameters

    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Initialises the conditioner from the half that it sees."""
        passing, _ = self._split(x, passing_first=not self.swap)
        # Before the coupling runs, whose output later layers are initialised from.
        if isinstance(self.conditioner, ContextualConditioner):
            self.conditioner.initialize(passing, context)
        elif context is None:
            self.conditioner.initialize(passing)
        z: Tensor = self(x, context)[0]
        return z

    def _conditioner(self, context: Tensor | None) -> Callable[[Tensor], Tensor]:
        """The conditioner at a context."""
        return self.conditioner if context is None else partial(self.conditioner, context=context)

    @property
    def _passing_leaves_first(self) -> bool:
        return self.swap == self.exchange

    def _split(self, x: Tensor, *, passing_first: bool) -> tuple[Tensor, Tensor]:
        """The half that passes, and the one that is transformed."""
        num_transformed = self.num_transformed
        if num_transformed is None:
            _, num_transformed = half_sizes(x.shape[1], swap=self.swap)
        num_passing = x.shape[1] - num_transformed
        if passing_first:
            passing, transformed = x.split([num_passing, num_transformed], dim=1)
        else:
            transformed, passing = x.split([num_transformed, num_passing], dim=1)
        return passing, transformed
