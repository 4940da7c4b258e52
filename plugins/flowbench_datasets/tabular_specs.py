"""Specs of the tabular sets of Papamakarios et al. (2017)."""

from __future__ import annotations

from flowbench.api import DatasetSpec, Paper
from flowbench_datasets.published_files import TABULAR as FILES

_MAF = Paper(
    title="Masked Autoregressive Flow for Density Estimation",
    authors="Papamakarios, Pavlakou and Murray",
    year=2017,
    arxiv="1705.07057",
)
_STANDARDISED = "Standardised as in the paper, whose log-likelihoods are of these values."


def _tabular(
    name: str, num_dims: int, counts: tuple[int, int, int], summary: str, notes: str, licence: str
) -> DatasetSpec:
    return DatasetSpec(
        name=name,
        modality="vector",
        event_shape=(num_dims,),
        levels=None,
        num_train=counts[0],
        num_validation=counts[1],
        num_test=counts[2],
        convert=f"flowbench_datasets.tabular:convert_{name}",
        files=FILES,
        collection="papamakarios2017",
        summary=summary,
        licence=licence,
        notes=notes,
        paper=_MAF,
    )


_UCI = "CC BY 4.0 (UCI Machine Learning Repository)"

TABULAR = [
    _tabular(
        "power",
        6,
        (1_659_917, 184_435, 204_928),
        "Electric power consumption of one household",
        f"Shuffled, with uniform noise below the resolution of each column. {_STANDARDISED}",
        _UCI,
    ),
    _tabular(
        "gas",
        8,
        (852_174, 94_685, 105_206),
        "Readings of chemical sensors in ethylene and carbon monoxide",
        f"Consecutive readings: neighbours in time resemble each other. {_STANDARDISED}",
        _UCI,
    ),
    _tabular(
        "hepmass",
        21,
        (315_123, 35_013, 174_987),
        "Simulated particle collisions, those with the new particle",
        f"Signal of mass 1000 only; features with frequent values dropped. {_STANDARDISED}",
        _UCI,
    ),
    _tabular(
        "miniboone",
        43,
        (29_556, 3_284, 3_648),
        "Electron neutrinos of the MiniBooNE experiment",
        f"Outliers, and features with frequent values, dropped. {_STANDARDISED}",
        _UCI,
    ),
    _tabular(
        "bsds300",
        63,
        (1_000_000, 50_000, 250_000),
        "8x8 patches of natural photographs, mean and last pixel removed",
        "Grey values in [0, 1] with uniform noise, less the mean of the patch; 63 of 64 pixels. "
        "Needs h5py: pip install 'flowbench[tabular]'.",
        "Berkeley Segmentation Dataset: non-commercial research and education",
    ),
]
