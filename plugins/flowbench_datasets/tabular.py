"""The tabular sets of Papamakarios et al. (2017), with their preprocessing.

Everything that the paper does to the data is part of the data: which columns and rows are dropped,
the uniform noise on POWER, the standardisation, the split by position. Published log-likelihoods
are of these standardised values.

References:
    Papamakarios et al. (2017), Masked Autoregressive Flow for Density Estimation,
    https://arxiv.org/abs/1705.07057, appendix D.
"""

from __future__ import annotations

import io
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowbench.api import DataError, Split
from flowbench.api.readers import DAMAGE, Archive, open_archive
from flowbench.api.specs import SplitName
from flowbench_datasets.dataframe_pickle import read_frame

ARCHIVE = "data.tar.gz"
SHARE = 0.1  # of the rows are test, and a tenth of the rest validation
NOISE_SEED = 42
MOST_CORRELATED = 0.98
MOST_REPEATED = 5
PIECE = 100_000  # rows
FEWEST_ROWS = 20  # that leave one for each split

Table = NDArray[np.float64]
Pieces = Iterator[tuple[SplitName, Split]]


def convert_power(files: Mapping[str, Path]) -> Pieces:
    """POWER: household power consumption, 6 columns, shuffled, with noise below its resolution."""
    with open_archive(files[ARCHIVE]) as archive:
        data = _array(archive, "power/data.npy", num_columns=8)
    rng = np.random.RandomState(NOISE_SEED)
    rng.shuffle(data)
    data = np.delete(data, (1, 3), axis=1)  # reactive power and intensity
    num = len(data)
    # Drawn in this order: voltage, active power, the three meters; the time has none.
    voltage, active = 0.01 * rng.rand(num, 1), 0.001 * rng.rand(num, 1)
    noise = (active, voltage, rng.rand(num, 3), np.zeros((num, 1)))
    yield from _standardised(*_cut(data + np.hstack(noise)))


def convert_gas(files: Mapping[str, Path]) -> Pieces:
    """GAS: readings of 16 gas sensors, of which those that nearly repeat another are dropped."""
    with open_archive(files[ARCHIVE]) as archive:
        name = "gas/ethylene_CO.pickle"
        with archive.open(archive.find(name)) as file:
            columns, data = read_frame(file, f"{name!r} in {archive.path}")
    data = data[:, [c not in ("Meth", "Eth", "Time") for c in columns]]
    data = _without_correlated(data)
    data = (data - data.mean(axis=0)) / data.std(axis=0, ddof=1)
    yield from _pieces(*_cut(data))


def convert_hepmass(files: Mapping[str, Path]) -> Pieces:
    """HEPMASS: collisions with the new particle; 21 of 27 features have no frequent value."""
    with open_archive(files[ARCHIVE]) as archive:
        train = _signal(archive, "hepmass/1000_train.csv")
        test = _signal(archive, "hepmass/1000_test.csv")
    mean, std = train.mean(axis=0), train.std(axis=0, ddof=1)
    train, test = (train - mean) / std, (test - mean) / std
    # The paper's code looks at how often the smallest value of a feature occurs.
    repeated = (train == train.min(axis=0)).sum(axis=0)
    kept = repeated <= MOST_REPEATED
    train, test = train[:, kept], test[:, kept]
    num_validation = int(SHARE * len(train))
    yield from _pieces(train[:-num_validation], train[-num_validation:], test)


def convert_miniboone(files: Mapping[str, Path]) -> Pieces:
    """MINIBOONE: electron neutrinos, 43 features; outliers and frequent values are gone already."""
    with open_archive(files[ARCHIVE]) as archive:
        data = _array(archive, "miniboone/data.npy", num_columns=43)
    yield from _standardised(*_cut(data))


def convert_bsds300(files: Mapping[str, Path]) -> Pieces:
    """BSDS300: 8x8 patches of photographs with noise, their mean and last pixel removed.

    Args:
        files: Path of the archive.

    Yields:
        Pieces of the three splits, as the HDF5 file has them.

    Raises:
        DataError: h5py is not installed, or the file is not what it should be.
    """
    try:
        import h5py
    except ImportError as exc:
        raise DataError(
            "bsds300 is an HDF5 file, and h5py is not installed; run: pip install "
            "'flowbench[tabular]'"
        ) from exc
    with open_archive(files[ARCHIVE]) as archive, tempfile.TemporaryFile() as copy:
        try:
            with archive.open(archive.find("BSDS300/BSDS300.hdf5")) as member:
                shutil.copyfileobj(member, copy, 1 << 24)  # HDF5 jumps about in its file
            copy.seek(0)
            with h5py.File(copy, "r") as content:
                for split in ("train", "validation", "test"):
                    table = content[split]
                    for start in range(0, len(table), PIECE):
                        piece = table[start : start + PIECE].astype(np.float32)
                        yield split, Split(x=piece)
        except DAMAGE as exc:
            raise DataError(
                f"BSDS300.hdf5 in {archive.path} is damaged ({exc}); fetch it again"
            ) from exc


def _array(archive: Archive, name: str, num_columns: int) -> Table:
    try:
        values = np.load(io.BytesIO(archive.read(archive.find(name))), allow_pickle=False)
        table: Table = np.asarray(values, dtype=np.float64)
    except DAMAGE as exc:
        raise DataError(f"{name!r} in {archive.path} is no array ({exc}); fetch it again") from exc
    return _checked(table, f"{name!r} in {archive.path}", num_columns)


def _checked(table: Table, where: str, num_columns: int) -> Table:
    if table.shape != (max(len(table), FEWEST_ROWS) if table.ndim else 0, num_columns):
        raise DataError(
            f"{where} is of shape {table.shape}, expected {FEWEST_ROWS} or more rows of "
            f"{num_columns} numbers; fetch it again"
        )
    return table


def _signal(archive: Archive, name: str) -> Table:
    """The features of the examples with label 1.

    The header of the test file names a column more than its rows have; what is wanted are label
    and 27 features, by position.

    Raises:
        DataError: The file is damaged.
    """
    with archive.open(archive.find(name)) as file:
        try:
            with warnings.catch_warnings(action="ignore"):  # of a file without rows
                rows = np.loadtxt(
                    file, delimiter=",", skiprows=1, usecols=range(28), comments=None, ndmin=2
                )
            signal = rows[rows[:, 0] == 1, 1:]
        except DAMAGE as exc:
            raise DataError(
                f"{name!r} in {archive.path} is damaged ({exc}); fetch it again"
            ) from exc
    return _checked(signal, f"the signal of {name!r} in {archive.path}", num_columns=27)


def _without_correlated(data: Table) -> Table:
    """Drops the first column that correlates with another above 0.98, until there is none."""
    kept = np.arange(data.shape[1])
    correlation: Table = np.atleast_2d(np.corrcoef(data.T))
    while True:
        high = correlation[np.ix_(kept, kept)] > MOST_CORRELATED
        repeated = np.flatnonzero(high.sum(axis=1) > 1)  # each with itself, and another
        if not len(repeated):
            return data[:, kept]
        kept = np.delete(kept, repeated[0])


def _cut(data: Table) -> tuple[Table, Table, Table]:
    """Splits by position: the last tenth is test, the last tenth of the rest validation."""
    num_test = int(SHARE * len(data))
    rest, test = data[:-num_test], data[-num_test:]
    num_validation = int(SHARE * len(rest))
    return rest[:-num_validation], rest[-num_validation:], test


def _standardised(train: Table, validation: Table, test: Table) -> Pieces:
    together = np.vstack((train, validation))
    mean, std = together.mean(axis=0), together.std(axis=0)
    return _pieces(*((part - mean) / std for part in (train, validation, test)))


def _pieces(*splits: Any) -> Pieces:
    names: tuple[SplitName, ...] = ("train", "validation", "test")
    for name, rows in zip(names, splits, strict=True):
        for start in range(0, len(rows), PIECE):
            yield name, Split(x=rows[start : start + PIECE].astype(np.float32))
