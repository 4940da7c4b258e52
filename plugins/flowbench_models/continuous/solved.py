"""Flows along the solution of a differential equation, in both directions."""

from __future__ import annotations

import torch
from torch import Tensor

from flowbench.api import Context, Info, InvertibleModel, Latents, SamplingOptions, WithInfo
from flowbench_models.continuous.ode import Way, basis, draw_probe
from flowbench_models.continuous.settings import SolvedConfig, Solver


class SolvedModel(InvertibleModel):
    """A flow whose map is a solution; what it notes is how often fields were evaluated for it.

    In evaluation the solver's tolerances hold for each example by itself. Its steps are still those
    of a whole batch, as many as the hardest example asks for: neighbours change an example's value
    by less than the tolerance leaves open, and never for the worse.
    """

    config: SolvedConfig

    def solve_forward(
        self, x: Tensor, context: Context | None, generator: torch.Generator | None
    ) -> tuple[Latents, Tensor, int]:
        """Maps data to latents.

        Args:
            x: Values in the model's space, shape (B, *event_shape).
            context: Conditioning inputs.
            generator: Source of the probes of an estimate.

        Returns:
            Latents, ladj or its estimate (B,), and how often fields were evaluated.
        """
        raise NotImplementedError

    def solve_backward(
        self, latents: Latents, context: Context | None, options: SamplingOptions
    ) -> tuple[Tensor, int]:
        """Maps latents to data.

        Args:
            latents: One tensor for each of ``latent_shapes``.
            context: Conditioning inputs.
            options: How it is solved, where a model can be asked.

        Returns:
            x, shape (B, *event_shape), and how often fields were evaluated.
        """
        raise NotImplementedError

    def way(self) -> Way:
        """How solutions are found."""
        return Way(solver=Solver.within(self.config.evaluation), each=True)

    @property
    def traces_exactly(self) -> bool:
        """Whether the trace of the Jacobian is exact, and no estimate."""
        return self.config.traces_exactly(self.data.num_dims)

    def probes(self, y: Tensor, generator: torch.Generator | None) -> Tensor:
        """What the trace is taken with, one solve long; shape (K, B, ...)."""
        return basis(y) if self.traces_exactly else draw_probe(y, self.config.noise, generator)

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        """Maps data (B, *event_shape) to latents; see `InvertibleModel.to_latent`.

        Beyond ``exact_dims`` ladj is one estimate, whose noise is the same at every call.
        """
        noise = torch.Generator(x.device).manual_seed(0)
        latents, ladj, _ = self.solve_forward(x, context, noise)
        return latents, ladj

    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        """Maps latents to data (B, *event_shape)."""
        return self.solve_backward(latents, context, self.config.sampling())[0]

    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: torch.Generator | None = None
    ) -> WithInfo:
        """Log-density, or an estimate of it; see `InvertibleModel.log_prob`."""
        latents, ladj, evaluations = self.solve_forward(x, context, generator)
        return self.base_log_prob(latents) + ladj, _noted(evaluations, ladj)

    def sample(
        self,
        num: int,
        context: Context | None = None,
        *,
        settings: SamplingOptions,
        generator: torch.Generator,
    ) -> WithInfo:
        """Draws latents and maps them to data; notes how far they were moved."""
        latents = self.sample_base(
            num, temperature=settings.temperature, generator=generator, device=generator.device
        )
        x, evaluations = self.solve_backward(latents, context, settings)
        noted = dict(_noted(evaluations, x))
        if [z.shape for z in latents] == [x.shape]:  # one latent, in the space of the data
            noted["transport_cost"] = (x - latents[0]).square().flatten(1).mean(1)
        return x, noted


def _noted(evaluations: int, like: Tensor) -> Info:
    count = torch.tensor(float(evaluations), dtype=like.dtype, device=like.device)
    return {"num_function_evaluations": count}
