"""What a server can be told, and its token."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from headstart.deployment.server.process import listening, token_of
from headstart.deployment.server.settings import ServeSettings, is_loopback
from headstart.errors import ConfigError, RunError, UsageError

TOKEN = "0123456789abcdef"


def test_everything_out_of_range_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        ServeSettings(port=70_000, batch_size=0, max_files=0, timeout=float("nan"))
    assert error.value.code == "HS-SERVE-004"
    assert [line.partition(" ")[0] for line in error.value.details] == [
        "--port",
        "--batch-size",
        "--max-files",
        "--timeout",
    ]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_this_machine_alone_needs_no_token(host, monkeypatch) -> None:
    monkeypatch.delenv("HEADSTART_TOKEN", raising=False)
    assert is_loopback(host) and token_of(ServeSettings(host=host)) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org", ""])
def test_any_other_address_needs_one(host, monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("HEADSTART_TOKEN", raising=False)
    with pytest.raises(UsageError, match="HS-SERVE-002"):
        token_of(ServeSettings(host=host))
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    assert token_of(ServeSettings(host=host, token_file=file)) == TOKEN
    monkeypatch.setenv("HEADSTART_TOKEN", TOKEN[::-1])
    assert token_of(ServeSettings(host=host)) == TOKEN[::-1]
    assert token_of(ServeSettings(host=host, token_file=file)) == TOKEN


@pytest.mark.parametrize(
    "content", [b"", b"short", b"with a space in it", "ключключключключ".encode(), b"\xff"]
)
def test_a_weak_token_is_refused_and_not_shown(content, tmp_path) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(UsageError, match="HS-SERVE-003") as error:
        token_of(ServeSettings(token_file=file))
    assert not content.strip() or content.decode("utf-8", "replace") not in str(error.value)


def test_a_missing_token_file_is_said(tmp_path) -> None:
    with pytest.raises(UsageError, match="HS-SERVE-003") as error:
        token_of(ServeSettings(token_file=Path(tmp_path, "none")))
    assert "No such file" in str(error.value)


def test_a_taken_port_is_said() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(RunError, match="HS-SERVE-001") as error:
            listening("127.0.0.1", port)
    assert f"The port {port} is taken" in str(error.value) and "--port" in error.value.fix


def test_an_address_of_elsewhere_is_said(monkeypatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(RunError, match="HS-SERVE-001") as error:
        listening("nowhere", 0)
    assert "cannot be listened at: Name or service not known" in str(error.value)
