"""MADE, MAF and IAF: affine autoregressive flows over masked perceptrons."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from flowbench.api import Batch, DatasetInfo
from flowbench_models.autoregressive.maf.config import MAFConfig
from flowbench_models.bijections.autoregressive import Autoregressive, InverseAutoregressive
from flowbench_models.bijections.base import Bijection, Composition, ElementwiseMap, run
from flowbench_models.bijections.batch_norm import BatchNorm
from flowbench_models.bijections.channels import ActNorm
from flowbench_models.bijections.flat import FlatModel
from flowbench_models.nets.made import MADE

BATCH_NORM_EPS = 1e-5  # released code of MAF


class PrecisionAffine(ElementwiseMap):
    r"""Affine law of MAF, :math:`z = (x - m)\,e^{\alpha/2}`: a Gaussian of log precision alpha.

    Example:
        >>> law = PrecisionAffine()
        >>> law(torch.tensor([[3.0]]), torch.tensor([[1.0, 2 * math.log(2.0)]]))
        (tensor([[4.]]), tensor([[0.6931]]))

    References:
        Papamakarios et al. (2017), Masked Autoregressive Flow for Density Estimation,
        https://arxiv.org/abs/1705.07057, eq. 4; log precisions as in the released code.
    """

    num_parameters = 2

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data to latent; see `ElementwiseMap.forward`."""
        mean, log_precision = parameters.chunk(2, dim=1)
        log_derivative = 0.5 * log_precision
        return (x - mean) * log_derivative.exp(), log_derivative

    def inverse(self, z: Tensor, parameters: Tensor) -> Tensor:
        """Maps latent to data."""
        mean, log_precision = parameters.chunk(2, dim=1)
        return z * (-0.5 * log_precision).exp() + mean


class MAF(FlatModel):
    """Masked autoregressive flow: MADEs one after the other, with norms between them.

    Images are flattened, channel by channel and row by row. To score takes K network passes; to
    sample goes element by element.

    References:
        Papamakarios et al. (2017), Masked Autoregressive Flow for Density Estimation,
        https://arxiv.org/abs/1705.07057, section 3 and appendix D; details as in the released code.
        A context also reaches the first element, which there it does not.
    """

    config: MAFConfig

    def __init__(self, config: MAFConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        layers: list[Bijection] = []
        for index in range(config.transforms):
            layers.append(self.directed(Autoregressive(PrecisionAffine(), self._net(index))))
            if config.norm == "batch":
                layers.append(BatchNorm(data.num_dims, eps=BATCH_NORM_EPS, rescaled=True))
            elif config.norm == "act":
                layers.append(ActNorm(data.num_dims))
        self.flow = Composition(layers)

    def directed(self, autoregressive: Autoregressive) -> Bijection:
        """An autoregressive transform, in the direction of this flow."""
        return autoregressive

    def refit(self, batches: Iterable[Batch], *, generator: torch.Generator) -> None:
        """Gives batch norms the statistics of all examples together, the first norm first."""
        del generator
        norms = [layer for layer in self.flow.parts() if isinstance(layer, BatchNorm)]
        if not norms:
            return
        training = self.training
        self.eval()
        examples = [(b.x.flatten(1), self.encoded(b.context, b.x)) for b in batches]
        for layer in self.flow.parts():
            if isinstance(layer, BatchNorm):
                layer.fit([x for x, _ in examples])
            examples = [(run(layer, x, context)[0], context) for x, context in examples]
        self.train(training)

    def _net(self, index: int) -> MADE:
        config = self.config
        net = MADE(
            self.data.num_dims,
            config.width,
            config.layers,
            PrecisionAffine.num_parameters,
            reverse=index % 2 == 1,
            activation=config.activation,
            dropout=config.dropout,
            degree_seed=index if config.random_degrees else None,
            num_context=self.num_context,
            zero_output=config.start == "identity",
        )
        if config.start == "random":
            for layer in net.modules():
                if isinstance(layer, nn.Linear):
                    nn.init.normal_(layer.weight, std=(layer.in_features + 1) ** -0.5)
                    if layer.bias is not None:
                        nn.init.zeros_(layer.bias)
        return net


class GaussianMADE(MAF):
    """One MADE whose conditionals are Gaussian: a MAF of one transform.

    References:
        Germain et al. (2015), MADE: Masked Autoencoder for Distribution Estimation,
        https://arxiv.org/abs/1502.03509; Gaussian conditionals as in Papamakarios et al. (2017).
    """


class IAF(MAF):
    """The same transforms with their directions exchanged: K network passes sample.

    To score what the flow did not sample itself goes element by element. (The paper's own model is
    an autoencoder whose posterior is such a flow; libraries call the flow itself IAF.)

    References:
        Kingma et al. (2016), Improved Variational Inference with Inverse Autoregressive Flow,
        https://arxiv.org/abs/1606.04934, section 3.
    """

    def directed(self, autoregressive: Autoregressive) -> Bijection:
        """The transform from latent to data."""
        return InverseAutoregressive(autoregressive)
