"""Weights files: kinds, wrappers, faults, and fetching from a host on this machine."""

from __future__ import annotations

import argparse
import functools
import hashlib
import http.server
import pickle
import threading

import pytest
import torch
from safetensors.torch import save_file

from headstart.errors import ModelError
from headstart.model import weights, zoo

NAME = "test_efficientnet"


@pytest.fixture
def trained():
    torch.manual_seed(11)
    from timm import create_model

    return create_model(NAME).eval()


def output(model) -> torch.Tensor:
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return model(x)


def test_safetensors_and_torch_files_whatever_their_extension(trained, tmp_path):
    state = trained.state_dict()
    save_file(state, tmp_path / "a.safetensors")
    save_file(state, tmp_path / "b.pth")
    torch.save(state, tmp_path / "c.pt")
    torch.save(state, tmp_path / "d.pth", _use_new_zipfile_serialization=False)
    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}, tmp_path / "e.pth.tar"
    )
    torch.save({"model": {f"_orig_mod.{k}": v for k, v in state.items()}}, tmp_path / "f.bin")
    torch.save({"state_dict": state, "args": argparse.Namespace(lr=0.1)}, tmp_path / "g.pth")
    files = sorted(tmp_path.iterdir())
    assert len(files) == 7
    for file in files:
        model = zoo.create(NAME, weights=file)
        assert torch.equal(output(model), output(trained)), file.name
        assert model.source.origin == f"file {file.name}"
        assert "unknown" in model.source.licence


def test_nothing_in_a_file_is_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    torch.save({"state_dict": {"weight": torch.zeros(1)}, "trap": Trap()}, tmp_path / "trap.pth")
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Trap()))
    for name in ("trap.pth", "plain.pkl"):
        with pytest.raises(ModelError) as caught:
            zoo.create(NAME, weights=tmp_path / name)
        assert caught.value.code in {"HS-MODEL-004", "HS-MODEL-006"}
    assert not (tmp_path / "sprung").exists()


def test_another_head_is_taken_as_it_is(trained, tmp_path, capsys):
    trained.reset_classifier(37)
    save_file(trained.state_dict(), tmp_path / "pets.safetensors")
    model = zoo.create(NAME, weights=tmp_path / "pets.safetensors")
    assert model.head.out_features == model.source.source_classes == 37
    assert torch.equal(output(model), output(trained.eval()))
    assert "37 classes instead of 1000" in capsys.readouterr().err


def test_a_file_without_head(trained, tmp_path, capsys):
    state = {k: v for k, v in trained.state_dict().items() if not k.startswith("classifier.")}
    save_file(state, tmp_path / "backbone.safetensors")
    model = zoo.create(NAME, weights=tmp_path / "backbone.safetensors")
    assert model.source.source_classes == 0
    assert torch.equal(model.backbone.conv_stem.weight, trained.conv_stem.weight)
    assert "no output layer" in capsys.readouterr().err


def test_checkpoint_of_the_bundled_package_as_a_file():
    from headstart.model import bundled

    file = bundled.PACKAGES["efficientnet-lite0"].path()
    model = zoo.create("tf_efficientnet_lite0", weights=file)
    assert torch.equal(model.head.weight, zoo.create("efficientnet-lite0").head.weight)


def test_every_difference_is_listed(trained, tmp_path):
    state = trained.state_dict()
    state.pop("conv_stem.weight")
    state["bn1.weight"] = torch.ones(3)
    state["extra.bias"] = torch.ones(3)
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(ModelError) as caught:
        zoo.create(NAME, weights=tmp_path / "other.safetensors")
    assert caught.value.code == "HS-MODEL-005"
    text = "\n".join(caught.value.details)
    assert "conv_stem.weight: missing" in text
    assert "extra.bias: unexpected" in text
    assert "bn1.weight: shape (3,), not (" in text
    assert len(caught.value.details) == 3


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (None, "HS-MODEL-006"),
        (b"", "HS-MODEL-004"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "HS-MODEL-006"),
        (b"hello, these are no weights", "HS-MODEL-004"),
        (b"\x40\x00\x00\x00\x00\x00\x00\x00{broken", "HS-MODEL-004"),
    ],
)
def test_files_that_are_no_weights(tmp_path, content, code):
    path = tmp_path / "weights.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        weights.read_tensors(path)
    assert caught.value.code == code
    assert caught.value.where == str(path)


def test_truncated_torch_and_safetensors_files(trained, tmp_path):
    torch.save(trained.state_dict(), tmp_path / "a.pth")
    save_file(trained.state_dict(), tmp_path / "b.safetensors")
    for path in (tmp_path / "a.pth", tmp_path / "b.safetensors"):
        path.write_bytes(path.read_bytes()[:-2000])
        with pytest.raises(ModelError, match="damaged or incomplete") as caught:
            weights.read_tensors(path)
        assert caught.value.code == "HS-MODEL-004"


def test_a_file_of_loose_values_has_no_tensors(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "a.pth")
    with pytest.raises(ModelError, match="no named tensors"):
        weights.read_tensors(tmp_path / "a.pth")


@pytest.fixture
def host(tmp_path):
    """A web server on the loopback interface, over a folder."""
    folder = tmp_path / "host"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return tmp_path / "torch" / "hub" / "checkpoints"


def test_a_file_is_fetched_once_and_a_damaged_one_replaced(host, cache, capsys):
    folder, address = host
    content = b"weights" * 1000
    name = f"net-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    (folder / name).write_bytes(content)
    published = weights.Published(url=f"{address}/{name}")

    assert weights.obtain(published, "net", 1000) == cache / name
    assert (cache / name).read_bytes() == content

    (cache / name).write_bytes(content[:500])
    assert weights.obtain(published, "net", 1000).read_bytes() == content
    assert "incomplete or damaged" in capsys.readouterr().err

    (folder / name).unlink()
    assert weights.obtain(published, "net", 1000).read_bytes() == content


def test_a_wrong_file_at_the_host_is_not_kept(host, cache):
    folder, address = host
    (folder / "net-0123abcd.pth").write_bytes(b"something else")
    with pytest.raises(ModelError, match="invalid hash value") as caught:
        weights.obtain(weights.Published(url=f"{address}/net-0123abcd.pth"), "net", 1000)
    assert caught.value.code == "HS-MODEL-003"
    assert list(cache.iterdir()) == []


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A model hub on the loopback interface with one repository, ``timm/net``, of one file."""
    import huggingface_hub.constants

    content = b"pretrained" * 100
    commit = "c" * 40

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer(b"")

        def do_GET(self):
            self.answer(content)

        def answer(self, body):
            known = self.path == "/timm/net/resolve/main/pytorch_model.bin" or commit in self.path
            self.send_response(200 if known else 404)
            self.send_header("X-Repo-Commit", commit)
            if known:
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                self.send_header("Content-Length", str(len(content)))
            else:
                self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("Content-Length", "0")
            self.end_headers()
            if known:
                self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    yield content
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_file_of_the_hub_is_fetched_through_the_mirror(hub, tmp_path):
    published = weights.Published(hub_id="timm/net", hub_files=("model.safetensors", "pytorch_model.bin"))
    path = weights.obtain(published, "net", 1000)
    assert path.read_bytes() == hub
    assert path.name == "pytorch_model.bin"
    assert path.is_relative_to(tmp_path / "hub")
    assert weights.find_cached(published) == path


def test_a_repository_without_the_file(hub):
    published = weights.Published(hub_id="timm/net", hub_files=("model.safetensors",))
    with pytest.raises(ModelError, match=r"has none of model\.safetensors"):
        weights.obtain(published, "net", 1000)


def test_a_file_that_the_host_lacks(host, cache):
    _, address = host
    with pytest.raises(ModelError, match="404"):
        weights.obtain(weights.Published(url=f"{address}/net-0123abcd.pth"), "net", 1000)
