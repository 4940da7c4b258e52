"""The map whose determinant a flow reports: everything that varies -> all latents."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flowbench.api.models import InvertibleModel, Latents
from flowbench.contract.models.subject import Inputs, generator


@dataclass(frozen=True, kw_only=True)
class JointMap:
    """``to_latent`` at one example, as a function of flat rows.

    What varies is x and the augmentation noise; for discrete data the noise alone, at fixed x.

    Attributes:
        model: The flow, in float64.
        inputs: One example.
        aux: Its augmentation noise; None without augmentation.
    """

    model: InvertibleModel
    inputs: Inputs
    aux: Latents | None

    @classmethod
    def at(cls, model: InvertibleModel, inputs: Inputs) -> JointMap:
        """The map at one example, with noise of a fixed seed."""
        with torch.no_grad():
            aux = model.sample_aux(inputs.x, generator=generator(0))
        return cls(model=model, inputs=inputs, aux=aux)

    @property
    def point(self) -> Tensor:
        """Where the map is taken, shape (n,)."""
        parts = [x.flatten() for x in self._varying()]
        return torch.cat(parts) if parts else self.inputs.x.new_zeros(0, dtype=torch.float64)

    @property
    def num_latent_dims(self) -> int:
        """Number of values of all latents together."""
        return sum(torch.Size(shape).numel() for shape in self.model.latent_shapes())

    def __call__(self, rows: Tensor) -> Tensor:
        """Maps rows (B, n) to all latents, (B, n)."""
        pieces = []
        start = 0
        for part in self._varying():
            pieces.append(rows[:, start : start + part.numel()].reshape(-1, *part.shape[1:]))
            start += part.numel()
        # Of integers, which do not vary, all rows have the one that there is.
        x = self.inputs.x.expand(len(rows), *self.inputs.x.shape[1:])
        if self.inputs.x.is_floating_point():
            x = pieces.pop(0)
        aux = None if self.aux is None else tuple(pieces)
        context = self.inputs.context
        if context is not None:
            context = {k: v.expand(len(rows), *v.shape[1:]) for k, v in context.items()}
        latents, _ = self.model.to_latent(x, context, aux=aux)
        return torch.cat([z.flatten(1) for z in latents], dim=1)

    def ladj(self) -> float:
        """What the model says that log |det| is."""
        with torch.no_grad():
            _, ladj = self.model.to_latent(self.inputs.x, self.inputs.context, aux=self.aux)
        return float(ladj[0])

    def log_abs_det(self) -> float:
        """What log |det| is, by automatic differentiation, in one backward pass.

        The point is repeated n times; row i of the gradient of output i of copy i is row i of the
        Jacobian. The copies are equal: a model that mixes rows shows here no more than elsewhere.
        """
        rows = self.point.expand(len(self.point), -1).clone().requires_grad_()
        with torch.enable_grad():
            outputs = self(rows).diagonal().sum()
            (jacobian,) = torch.autograd.grad(outputs, rows)
        return float(torch.linalg.slogdet(jacobian).logabsdet)

    def _varying(self) -> list[Tensor]:
        x = [self.inputs.x] if self.inputs.x.is_floating_point() else []
        return [*x, *(self.aux or ())]
