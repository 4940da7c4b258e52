"""What this plugin registers; a light module, every ``flowbench list`` imports it."""

from __future__ import annotations

from flowbench.api import DatasetSpec, MetricSpec, ModelSpec, Paper, hookimpl

FLOWBENCH_API_VERSION = 2

PAPERS = {
    "nice": Paper(
        title="NICE: Non-linear Independent Components Estimation", year=2014, arxiv="1410.8516"
    ),
    "realnvp": Paper(title="Density estimation using Real NVP", year=2017, arxiv="1605.08803"),
    "maf": Paper(
        title="Masked Autoregressive Flow for Density Estimation", year=2017, arxiv="1705.07057"
    ),
    "nsf": Paper(title="Neural Spline Flows", year=2019, arxiv="1906.04032"),
    "gf": Paper(title="Gaussianization Flows", year=2020, arxiv="2003.01941"),
    "cnf": Paper(
        title="FFJORD: Free-form Continuous Dynamics for Scalable Reversible Generative Models",
        year=2019,
        arxiv="1810.01367",
    ),
    "glow": Paper(
        title="Glow: Generative Flow with Invertible 1x1 Convolutions",
        year=2018,
        arxiv="1807.03039",
    ),
}

# Name, class, what it is, and the paper of the method.
VECTOR_FLOWS = (
    ("zuko-nice", "zuko_flows:ZukoNICE", "NICE of zuko", "nice"),
    ("zuko-maf", "zuko_flows:ZukoMAF", "masked autoregressive flow of zuko", "maf"),
    ("zuko-nsf", "zuko_flows:ZukoNSF", "autoregressive spline flow of zuko", "nsf"),
    ("zuko-gf", "zuko_flows:ZukoGF", "Gaussianization flow of zuko", "gf"),
    ("zuko-cnf", "zuko_flows:ZukoCNF", "continuous flow of zuko, exact trace", "cnf"),
    ("nflows-maf", "nflows_flows:NflowsMAF", "masked autoregressive flow of nflows", "maf"),
    ("nflows-rqnsf-ar", "nflows_flows:NflowsSplineAR", "RQ-NSF (AR) of nflows", "nsf"),
    ("nflows-rqnsf-c", "nflows_flows:NflowsSplineC", "RQ-NSF (C) of nflows", "nsf"),
    ("normflows-realnvp", "normflows_flows:NormflowsRealNVP", "RealNVP of normflows", "realnvp"),
    ("normflows-nsf", "normflows_flows:NormflowsNSF", "spline couplings of normflows", "nsf"),
)

CONFIGS = {
    "zuko-nice": "ZukoConfig",
    "zuko-maf": "ZukoConfig",
    "zuko-nsf": "ZukoConfig",
    "zuko-gf": "ZukoConfig",
    "zuko-cnf": "ContinuousConfig",
    "nflows-rqnsf-ar": "SplineConfig",
    "nflows-rqnsf-c": "SplineConfig",
    "normflows-glow": "GlowConfig",
}


def _model(name: str, place: str, summary: str, paper: str, modality: str) -> ModelSpec:
    module = f"flowbench_peers.{place.partition(':')[0]}"
    return ModelSpec(
        name=name,
        model=f"flowbench_peers.{place}",
        config=f"{module}:{CONFIGS.get(name, 'FlowConfig')}",
        modalities=frozenset({"image"}) if modality == "image" else frozenset({"vector"}),
        summary=summary,
        family="Normalizing flows",
        paper=PAPERS[paper],
    )


GLOW = _model(
    "normflows-glow", "normflows_glow:NormflowsGlow", "Glow of normflows", "glow", "image"
)

SPIRAL = DatasetSpec(
    name="spiral",
    modality="vector",
    event_shape=(2,),
    levels=None,
    num_train=10_000,
    num_validation=1_000,
    num_test=5_000,
    load="flowbench_peers.spiral:load",
    summary="Points along an Archimedean spiral, with Gaussian noise",
    licence="generated",
    notes="Generated from a pinned seed; nothing is downloaded.",
)

NLL_TAIL = MetricSpec(
    name="nll_tail",
    compute="flowbench_peers.nll_tail:compute",
    unit="nats",
    direction="lower",
    summary="Mean negative log-likelihood of the worst tenth of test examples",
    needs=frozenset({"likelihood"}),
)


@hookimpl
def register_models() -> list[ModelSpec]:
    """The wrapped flows, by library."""
    return [*(_model(*row, "vector") for row in VECTOR_FLOWS), GLOW]


@hookimpl
def register_datasets() -> list[DatasetSpec]:
    """A dataset of this package."""
    return [SPIRAL]


@hookimpl
def register_metrics() -> list[MetricSpec]:
    """A metric of this package."""
    return [NLL_TAIL]
