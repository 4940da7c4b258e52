"""The executors of flowbench itself: always there, whichever plugins are left out."""

from __future__ import annotations

from flowbench.api.executors import ExecutorSpec
from flowbench.api.hooks import API_VERSION, hookimpl

FLOWBENCH_API_VERSION = API_VERSION


@hookimpl
def register_executors() -> list[ExecutorSpec]:
    """Returns the executors that ship with flowbench."""
    return [
        ExecutorSpec(
            name="local",
            executor="flowbench.runner.executors.local:local_executor",
            summary="this machine: one job for each GPU, or shares of the CPU's cores",
        ),
        ExecutorSpec(
            name="slurm",
            executor="flowbench.runner.executors.slurm:SlurmExecutor",
            summary="a SLURM cluster, by job arrays (extra slurm)",
        ),
        ExecutorSpec(
            name="ray",
            executor="flowbench.runner.executors.ray:RayExecutor",
            summary="a Ray cluster, by detached actors (extra ray)",
        ),
    ]
