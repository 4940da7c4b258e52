"""The map whose determinant a flow reports: everything that varies -> all latents."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flowbench.api.models import InvertibleModel, Latents
from flowbench.contract.models.subject import Inputs, generator


@dataclass(frozen=True, kw_only=True)
class JointMap:
    """``to_latent`` at E examples, as a function of flat rows.

    What varies is x and the augmentation noise; for discrete data the noise alone, at fixed x.

    Attributes:
        model: The flow, in float64.
        inputs: The examples.
        aux: Their augmentation noise; None without augmentation.
    """

    model: InvertibleModel
    inputs: Inputs
    aux: Latents | None

    @classmethod
    def at(cls, model: InvertibleModel, inputs: Inputs) -> JointMap:
        """The map at some examples, with noise of a fixed seed."""
        with torch.no_grad():
            aux = model.sample_aux(inputs.x, generator=generator(0))
        return cls(model=model, inputs=inputs, aux=aux)

    @property
    def points(self) -> Tensor:
        """Where the map is taken, shape (E, n)."""
        parts = [x.flatten(1) for x in self._varying()]
        if parts:
            return torch.cat(parts, dim=1)
        return self.inputs.x.new_zeros((len(self.inputs.x), 0), dtype=torch.float64)

    @property
    def num_latent_dims(self) -> int:
        """Number of values of all latents together."""
        return sum(torch.Size(shape).numel() for shape in self.model.latent_shapes())

    def latents(self) -> tuple[Latents, Tensor]:
        """The latents of the examples, and what the model says that log |det| is, (E,)."""
        with torch.no_grad():
            return self.model.to_latent(self.inputs.x, self.inputs.context, aux=self.aux)

    def log_abs_det(self) -> Tensor:
        """What log |det| is, by automatic differentiation in one backward pass, shape (E,).

        Each point is repeated n times; row i of the gradient of output i of copy i is row i of the
        Jacobian. That rows do not mix is the check `order`'s to say.
        """
        num, n = self.points.shape
        rows = self.points.repeat_interleave(n, dim=0).requires_grad_()
        with torch.enable_grad():
            outputs = self._of_copies(rows).view(num, n, n).diagonal(dim1=1, dim2=2).sum()
            (jacobians,) = torch.autograd.grad(outputs, rows)
        log_abs_det: Tensor = torch.linalg.slogdet(jacobians.view(num, n, n)).logabsdet
        return log_abs_det

    def _of_copies(self, rows: Tensor) -> Tensor:
        """Maps rows (E n, n), n to an example, to all latents, (E n, n)."""
        pieces = []
        start = 0
        for part in self._varying():
            size = part[0].numel()
            pieces.append(rows[:, start : start + size].reshape(-1, *part.shape[1:]))
            start += size
        copies = self.inputs.rows(torch.arange(len(self.inputs.x)).repeat_interleave(rows.shape[1]))
        # Integers do not vary.
        x = pieces.pop(0) if copies.x.is_floating_point() else copies.x
        aux = None if self.aux is None else tuple(pieces)
        latents, _ = self.model.to_latent(x, copies.context, aux=aux)
        return torch.cat([z.flatten(1) for z in latents], dim=1)

    def _varying(self) -> list[Tensor]:
        x = [self.inputs.x] if self.inputs.x.is_floating_point() else []
        return [*x, *(self.aux or ())]
