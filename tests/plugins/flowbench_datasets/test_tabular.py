from __future__ import annotations

import builtins
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowbench.errors import DataError
from flowbench_datasets import tabular
from flowbench_datasets.tabular_specs import TABULAR
from tests.plugins.flowbench_datasets.collect import collect
from tests.plugins.flowbench_datasets.old_pandas import pickle_frame


def archive(folder: Path, members: dict[str, bytes]) -> dict[str, Path]:
    path = folder / "data.tar.gz"
    with tarfile.open(path, "w:gz") as target:
        for name, data in members.items():
            member = tarfile.TarInfo(f"data/{name}")
            member.size = len(data)
            target.addfile(member, io.BytesIO(data))
    return {path.name: path}


def npy(values: np.ndarray) -> bytes:
    packed = io.BytesIO()
    np.save(packed, values)
    return packed.getvalue()


def sizes(splits: dict[str, Any]) -> list[int]:
    return [len(splits[name]) for name in ("train", "validation", "test")]


def test_published_sizes_follow_from_the_number_of_rows() -> None:
    rows = {"power": 2_049_280, "gas": 1_052_065, "miniboone": 36_488}
    for spec in TABULAR:
        if spec.name in rows:
            num = rows[spec.name]
            parts = [len(p) for p in tabular._cut(np.empty((num, 1)))]
            assert parts == [spec.num_train, spec.num_validation, spec.num_test]


def test_power_is_the_papers_recipe(tmp_path: Path) -> None:
    data = np.random.default_rng(0).normal(size=(1000, 8)) * [1, 2, 3, 4, 5, 6, 7, 8]
    splits = collect(tabular.convert_power(archive(tmp_path, {"power/data.npy": npy(data)})))
    assert sizes(splits) == [810, 90, 100]
    # The published recipe, step by step.
    rng = np.random.RandomState(42)
    expected = data.copy()
    rng.shuffle(expected)
    expected = np.delete(np.delete(expected, 3, axis=1), 1, axis=1)
    voltage, gap, meters = 0.01 * rng.rand(1000, 1), 0.001 * rng.rand(1000, 1), rng.rand(1000, 3)
    expected = expected + np.hstack((gap, voltage, meters, np.zeros((1000, 1))))
    mean, std = expected[:900].mean(axis=0), expected[:900].std(axis=0)
    together = np.concatenate([splits[n].x for n in ("train", "validation", "test")])
    np.testing.assert_allclose(together, (expected - mean) / std, rtol=1e-5, atol=1e-6)
    assert together.dtype == np.float32


def test_gas_drops_columns_that_repeat_another(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    free = rng.normal(size=(500, 4))
    twin = free[:, [0]] + 0.01 * rng.normal(size=(500, 1))
    values = np.hstack((np.arange(500)[:, None], free[:, :2], free, twin))
    columns = ["Time", "Meth", "Eth", "R1", "R2", "R3", "R4", "R5"]
    files = archive(tmp_path, {"gas/ethylene_CO.pickle": pickle_frame(values, columns)})
    splits = collect(tabular.convert_gas(files))
    kept = np.hstack((free[:, 1:], twin))  # R1 goes first, then R5 repeats nothing
    expected = (kept - kept.mean(axis=0)) / kept.std(axis=0, ddof=1)
    together = np.concatenate([splits[n].x for n in ("train", "validation", "test")])
    np.testing.assert_allclose(together, expected, rtol=1e-5, atol=1e-6)
    assert sizes(splits) == [405, 45, 50]


def test_hepmass_is_the_signal_without_frequent_values(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def table(num: int) -> np.ndarray:
        features = rng.normal(size=(num, 27))
        features[:, 4] = np.maximum(features[:, 4], -0.1)  # its smallest value is frequent
        return np.column_stack((np.arange(num) % 2, features))

    def csv(rows: np.ndarray, header: list[str]) -> bytes:
        lines = [",".join(f"{v:.18e}" for v in row) for row in rows]
        return "\n".join([",".join(header), *lines, ""]).encode()

    train, test = table(400), table(100)
    header = ["# label", *(f"f{n}" for n in range(27))]
    members = {
        "hepmass/1000_train.csv": csv(train, header),
        "hepmass/1000_test.csv": csv(test, [*header, "mass"]),
    }
    splits = collect(tabular.convert_hepmass(archive(tmp_path, members)))
    assert sizes(splits) == [180, 20, 50]
    signal = np.delete(train[train[:, 0] == 1, 1:], 4, axis=1)
    other = np.delete(test[test[:, 0] == 1, 1:], 4, axis=1)
    mean, std = signal.mean(axis=0), signal.std(axis=0, ddof=1)
    np.testing.assert_allclose(splits["test"].x, (other - mean) / std, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        splits["train"].x, ((signal - mean) / std)[:180], rtol=1e-5, atol=1e-6
    )


def test_miniboone_is_standardised_by_train_and_validation(tmp_path: Path) -> None:
    data = np.random.default_rng(0).normal(3.0, 2.0, size=(1000, 43))
    splits = collect(
        tabular.convert_miniboone(archive(tmp_path, {"miniboone/data.npy": npy(data)}))
    )
    assert sizes(splits) == [810, 90, 100]
    together = np.concatenate([splits["train"].x, splits["validation"].x]).astype(np.float64)
    np.testing.assert_allclose(together.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(together.std(axis=0), 1, atol=1e-6)


def test_bsds300_is_read_from_hdf5(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    rng = np.random.default_rng(0)
    tables = {
        n: rng.normal(size=(num, 63)) for n, num in (("train", 9), ("validation", 4), ("test", 5))
    }
    with h5py.File(tmp_path / "a.hdf5", "w") as content:
        for name, values in tables.items():
            content[name] = values
    files = archive(tmp_path, {"BSDS300/BSDS300.hdf5": (tmp_path / "a.hdf5").read_bytes()})
    splits = collect(tabular.convert_bsds300(files))
    for name, values in tables.items():
        assert np.array_equal(splits[name].x, values.astype(np.float32))
    damaged = archive(tmp_path, {"BSDS300/BSDS300.hdf5": b"<html>"})
    with pytest.raises(DataError, match=r"BSDS300.hdf5 in .* is damaged"):
        collect(tabular.convert_bsds300(damaged))


def test_a_missing_h5py_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name == "h5py":
            raise ImportError(name)
        return plain(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DataError, match=r"pip install 'flowbench\[tabular\]'") as caught:
        collect(tabular.convert_bsds300({}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("convert", "members", "message"),
    [
        (tabular.convert_power, {}, "holds none of 'power/data.npy'"),
        (tabular.convert_power, {"power/data.npy": b"<html>"}, "is no array"),
        (
            tabular.convert_power,
            {"power/data.npy": npy(np.array([{}], dtype=object))},
            "is no array",
        ),
        (tabular.convert_gas, {"gas/ethylene_CO.pickle": b"<html>"}, "damaged pickle"),
        (tabular.convert_hepmass, {"hepmass/1000_train.csv": b"a,b\n1,x\n"}, "is damaged"),
        (tabular.convert_hepmass, {"hepmass/1000_train.csv": b""}, "1000_train.csv' in .*gz is"),
        (tabular.convert_power, {"power/data.npy": b""}, "is no array"),
        (tabular.convert_power, {"power/data.npy": npy(np.zeros(9))}, r"is of shape \(9,\)"),
        (tabular.convert_power, {"power/data.npy": npy(np.zeros(()))}, r"is of shape \(\)"),
        (tabular.convert_power, {"power/data.npy": npy(np.zeros((99, 3)))}, "rows of 8 numbers"),
        (tabular.convert_power, {"power/data.npy": npy(np.array(["a"] * 99))}, "is no array"),
        (tabular.convert_miniboone, {"miniboone/data.npy": npy(np.zeros((3, 43)))}, "20 or more"),
    ],
)
def test_damaged_files_are_told(
    tmp_path: Path, convert: Callable[..., Any], members: dict[str, bytes], message: str
) -> None:
    with pytest.raises(DataError, match=message) as told:
        collect(convert(archive(tmp_path, members)))
    assert "data.tar.gz" in str(told.value)
