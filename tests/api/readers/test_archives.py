from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from flowbench.api.readers import archives, open_archive
from flowbench.errors import DataError

FILES = {"top/b.txt": b"bee", "top/a.txt": b"ay", "top/deep/c.txt": b"sea"}


def write_zip(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.filename = name  # as it is, where ZipInfo would mend it
            archive.writestr(info, data)


def write_tar(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def write(path: Path, files: dict[str, bytes]) -> Path:
    if path.name.endswith(".zip"):
        write_zip(path, files)
    elif ".tar" in path.name or path.name.endswith(".tgz"):
        write_tar(path, files)
    else:
        for name, data in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
    return path


KINDS = ["a.zip", "a.tar", "a.tar.gz", "a.tgz", "folder"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_reads_alike(tmp_path: Path, kind: str) -> None:
    with open_archive(write(tmp_path / kind, FILES)) as archive:
        assert archive.names == tuple(sorted(FILES))
        assert {name: archive.read(name) for name in archive.names} == FILES
        assert archive.find("deep/c.txt") == "top/deep/c.txt"
        with pytest.raises(DataError, match=r"holds none of 'p/a.txt'"):
            archive.find("p/a.txt")
        with pytest.raises(DataError, match="cannot read 'gone'"):
            archive.read("gone")


@pytest.mark.parametrize("kind", ["a.zip", "a.tar.gz"])
def test_more_files_than_any_data_set_has_are_refused(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / kind, FILES)
    monkeypatch.setattr(archives, "MOST_MEMBERS", len(FILES))
    with open_archive(path) as archive:
        assert len(archive.names) == len(FILES)
    monkeypatch.setattr(archives, "MOST_MEMBERS", len(FILES) - 1)
    with pytest.raises(DataError, match=rf"{kind} holds more than {len(FILES) - 1} files"):
        open_archive(path).__enter__()


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_unpacks_to_more_than_memory_is_refused(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MOST_BYTES", 1000)
    files = {"fits": bytes(1000), "bomb": bytes(1001)}
    with open_archive(write(tmp_path / kind, files)) as archive:
        assert archive.read("fits") == files["fits"]
        with pytest.raises(DataError, match=r"'bomb' in .* has more than 1,000 bytes"):
            archive.read("bomb")


def test_an_ending_must_be_unique(tmp_path: Path) -> None:
    with open_archive(write(tmp_path / "a.zip", {"x/a": b"", "y/a": b""})) as archive:
        with pytest.raises(DataError, match=r"holds 2 \(the first is 'x/a'\) of 'a'"):
            archive.find("a")


@pytest.mark.parametrize("kind", ["a.zip", "a.tar", "a.tar.gz"])
@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/etc/evil", "..\\evil", "C:\\evil", "a/b/.."]
)
def test_a_path_outside_is_refused(tmp_path: Path, kind: str, name: str) -> None:
    path = write(tmp_path / kind, {"good": b"", name: b"x"})
    with pytest.raises(DataError, match="a path outside it"), open_archive(path):
        pass
    assert {p.name for p in tmp_path.iterdir()} == {kind}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        member = tarfile.TarInfo("link")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(DataError, match="a link or device"), open_archive(tmp_path / "a.tar"):
        pass


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(DataError, match="a link or device"), open_archive(tmp_path / "a.zip"):
        pass


@pytest.mark.parametrize("kind", ["a.zip", "a.tar", "a.tar.gz"])
def test_damaged_archives_are_told(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / kind, {"a": bytes(range(256)) * 100})
    path.write_bytes(path.read_bytes()[:20_000] if kind == "a.tar" else path.read_bytes()[:200])
    with pytest.raises(DataError, match="fetch it again"), open_archive(path) as archive:
        archive.read("a")
    path.write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(DataError, match="not a complete archive") as told, open_archive(path):
        pass
    assert "\n" not in str(told.value)


def test_a_flipped_byte_inside_a_zip_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", bytes(1000))
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="damaged at 'a'"), open_archive(path) as archive:
        archive.read("a")


@pytest.mark.parametrize("kind", ["a.zip", "a.tar", "a.tar.gz"])
def test_whatever_byte_is_damaged_the_archive_is_named(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / kind, {"a": b"some words", "b": bytes(range(256))})
    whole = path.read_bytes()
    for position in range(0, min(len(whole), 2000), 5):
        flipped = bytes((whole[position] ^ 0xA5,))
        path.write_bytes(whole[:position] + flipped + whole[position + 1 :])
        try:
            with open_archive(path) as archive:
                for name in archive.names:
                    archive.read(name)
        except DataError as told:
            assert str(path) in str(told)  # noqa: PT017 - some bytes bear nothing
