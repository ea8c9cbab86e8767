"""Archives from strangers: whole or not at all, and nothing outside the folder."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from headstart.data.archive import Limits, extract, unsafe_name
from headstart.errors import FetchError


def make_zip(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return path


def make_tar(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def refused(archive: Path, tmp_path: Path, limits: Limits | None = None) -> FetchError:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(FetchError) as raised:
        extract(archive, tmp_path / "out", limits)
    assert sorted(tmp_path.rglob("*")) == before, "nothing may be left behind"
    return raised.value


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tar_of_every_kind(tmp_path: Path, mode: str) -> None:
    archive = make_tar(tmp_path / "a.bin", {"./set/cat/1.png": b"one", "./set/狗/2.png": b"two"}, mode)
    root = extract(archive, tmp_path / "out")
    assert root == tmp_path / "out" / "set"
    assert (root / "cat/1.png").read_bytes() == b"one"
    assert (root / "狗/2.png").read_bytes() == b"two"


def test_files_without_a_common_folder_get_one(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"cat/1.png": b"1", "dog/2.png": b"2", "__MACOSX/x": b""})
    root = extract(archive, tmp_path / "out")
    assert root == tmp_path / "out" / "out"
    assert (root / "dog/2.png").read_bytes() == b"2"


def test_junk_beside_the_only_folder_does_not_hide_it(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"set/cat/1.png": b"1", "__MACOSX/set/x": b"", ".DS_Store": b""})
    assert extract(archive, tmp_path / "out") == tmp_path / "out" / "set"


def test_utf8_names_that_are_not_marked_as_such(tmp_path: Path) -> None:
    marked = make_zip(tmp_path / "a.zip", {"set/猫/1.png": b"1"}).read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.infolist()[0].flag_bits & 0x800
    # As macOS writes it: the same bytes without the flag, in the local and the central header.
    unmarked = marked.replace(b"PK\x03\x04\x14\x00\x00\x08", b"PK\x03\x04\x14\x00\x00\x00")
    at = unmarked.index(b"PK\x01\x02") + 8
    unmarked = unmarked[:at] + b"\x00\x00" + unmarked[at + 2 :]
    (tmp_path / "b.zip").write_bytes(unmarked)
    assert (extract(tmp_path / "b.zip", tmp_path / "out") / "猫/1.png").read_bytes() == b"1"


def test_names_that_lead_out_are_all_named(tmp_path: Path) -> None:
    evil = {"../up.png": b"", "/etc/abs.png": b"", "C:/win.png": b"", "a\\..\\b.png": b"", "ok/1.png": b""}
    for archive in (make_zip(tmp_path / "a.zip", evil), make_tar(tmp_path / "a.tar", evil)):
        error = refused(archive, tmp_path)
        assert error.code == "HS-FETCH-008"
        assert "The archive is not safe to unpack. Nothing was written." in str(error)
        assert len(error.details) == 4
        assert "'../up.png': leads out of the folder" in error.details
        assert "'/etc/abs.png': is an absolute path" in error.details
        assert any("has a backslash" in detail for detail in error.details)


def test_links_and_devices_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, kind in (("s", tarfile.SYMTYPE), ("h", tarfile.LNKTYPE), ("d", tarfile.CHRTYPE)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd"
            tar.addfile(entry)
    error = refused(tmp_path / "a.tar", tmp_path)
    assert error.details == ("'s': is a link", "'h': is a link", "'d': is a device")

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        link = zipfile.ZipInfo("link")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    assert refused(tmp_path / "a.zip", tmp_path).details == ("'link': is a link",)


def test_bombs_stop_at_the_limits(tmp_path: Path) -> None:
    zeros = {"set/zeros.bin": bytes(5_000_000)}
    small = Limits(ratio_from=1_000_000)
    for archive in (make_zip(tmp_path / "a.zip", zeros), make_tar(tmp_path / "a.tgz", zeros, "w:gz")):
        assert "unpacks to more than 100 times its size" in refused(archive, tmp_path, small).details
        many = refused(archive, tmp_path, Limits(bytes=4_000_000))
        assert many.details[0].startswith("more than 0.0 GiB")
        extract(
            archive, tmp_path / archive.name.replace(".", "-")
        )  # small as it is, the defaults let it pass
    files = make_zip(tmp_path / "b.zip", {f"set/{i}.png": b"" for i in range(20)})
    assert "more than 10 files" in refused(files, tmp_path, Limits(files=10)).details


def test_fault_during_unpacking_leaves_nothing(tmp_path: Path) -> None:
    archive = make_zip(
        tmp_path / "a.zip", {"set/1.png": b"1" * 5000, "set/2.png": b"2" * 5000}, zipfile.ZIP_STORED
    )
    spoiled = archive.read_bytes().replace(b"2" * 5000, b"3" * 5000)
    archive.write_bytes(spoiled)
    error = refused(archive, tmp_path)
    assert error.code == "HS-FETCH-007"
    assert "The archive is damaged: Bad CRC-32 for file 'set/2.png'" in str(error)


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_truncated_tar(tmp_path: Path, mode: str) -> None:
    import random

    noise = random.Random(0).randbytes(200_000)
    archive = make_tar(tmp_path / "a.tar", {"set/1.png": noise, "set/2.png": noise[::-1]}, mode)
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    assert refused(archive, tmp_path).code == "HS-FETCH-007"


def test_encrypted_zip(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"set/1.png": b"1"})
    data = bytearray(archive.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(data)
    error = refused(archive, tmp_path)
    assert error.code == "HS-FETCH-009"
    assert "The archive is encrypted." in str(error)


def test_repeated_and_conflicting_names(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in ("set/1.png", "set/1.png", "set/x", "set/x/y"):
            tar.addfile(tarfile.TarInfo(name))
    details = refused(tmp_path / "a.tar", tmp_path).details
    assert details == ("'set/1.png': appears twice", "'set/x': is a file and a folder")


def test_neither_archive_nor_empty(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"not an archive")
    assert "This is not a zip or tar archive." in str(refused(tmp_path / "a.zip", tmp_path))
    assert "The archive holds no files." in str(refused(make_zip(tmp_path / "b.zip", {}), tmp_path))


@pytest.mark.parametrize("name", ["a/CON", "nul.png", "a/what?.png", "a./b.png", "12:30.jpg", "a /b"])
def test_names_that_windows_does_not_allow(name: str) -> None:
    assert unsafe_name(name, windows=True)
    assert not unsafe_name(name, windows=False)
