"""Fetching through torchvision from a server on this machine, with every way to fail."""

import errno
import gzip
import hashlib
import http.server
import io
import pickle
import socket
import tarfile
import threading
import time

import numpy as np
import pytest
from torchvision import datasets
from torchvision.datasets import utils

from simclr_tut import _fetch, data

NAMES = ("cifar10", "stl10", "fashion_mnist")


def md5(content):
    return hashlib.md5(content).hexdigest()


def tar(files):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def cifar10(patch, address):
    """Six pickles of two pictures, in the form of the real archive."""
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    files = {name: pickle.dumps({"data": np.full((2, 3072), 10 * i, np.uint8), "labels": [0, 1]})
             for i, name in enumerate(names, 1)}
    files["batches.meta"] = pickle.dumps({"label_names": ["cat", "dog"]})
    archive = tar({f"cifar-10-batches-py/{n}": c for n, c in files.items()})
    patch.setattr(datasets.CIFAR10, "url", f"{address}/cifar-10-python.tar.gz")
    patch.setattr(datasets.CIFAR10, "tgz_md5", md5(archive))
    patch.setattr(datasets.CIFAR10, "train_list", [[n, md5(files[n])] for n in names[:5]])
    patch.setattr(datasets.CIFAR10, "test_list", [[names[5], md5(files[names[5]])]])
    patch.setattr(datasets.CIFAR10, "meta", {"filename": "batches.meta", "key": "label_names",
                                             "md5": md5(files["batches.meta"])})
    return {"/cifar-10-python.tar.gz": archive}


def stl10(patch, address):
    """Two labelled and three unlabelled pictures of 96 pixels."""
    side = 3 * 96 * 96
    pixels = np.arange(side, dtype=np.uint32).astype(np.uint8).tobytes()
    files = {"train_X.bin": pixels * 2, "train_y.bin": bytes([1, 2]), "test_X.bin": pixels,
             "unlabeled_X.bin": bytes(3 * side), "test_y.bin": bytes([2]),
             "class_names.txt": b"airplane\nbird\n", "fold_indices.txt": b"0 1\n"}
    archive = tar({f"stl10_binary/{n}": c for n, c in files.items()})
    patch.setattr(datasets.STL10, "url", f"{address}/stl10_binary.tar.gz")
    patch.setattr(datasets.STL10, "tgz_md5", md5(archive))
    for split in ("train_list", "test_list"):
        patch.setattr(datasets.STL10, split, [[n, md5(files[n])]
                                              for n, _ in getattr(datasets.STL10, split)])
    return {"/stl10_binary.tar.gz": archive}


def fashion_mnist(patch, address):
    """Four small idx files."""
    served, resources = {}, []
    for stem, count in (("train", 3), ("t10k", 2)):
        images = (b"\0\0\x08\x03" + np.array([count, 28, 28], ">i4").tobytes()
                  + bytes([7]) * (count * 784))
        labels = b"\0\0\x08\x01" + np.array([count], ">i4").tobytes() + bytes(range(count))
        for name, content in ((f"{stem}-images-idx3-ubyte", images),
                              (f"{stem}-labels-idx1-ubyte", labels)):
            packed = gzip.compress(content)
            served[f"/{name}.gz"] = packed
            resources.append((f"{name}.gz", md5(packed)))
    patch.setattr(datasets.FashionMNIST, "mirrors", [f"{address}/"])
    patch.setattr(datasets.FashionMNIST, "resources", resources)
    return served


EXPECTED = {  # pictures in train and test, their shape, the first classes
    "cifar10": (10, 2, (3, 32, 32), ("cat", "dog")),
    "stl10": (5, 1, (3, 96, 96), ("airplane", "bird")),
    "fashion_mnist": (3, 2, (3, 28, 28), ("T-shirt/top", "Trouser")),
}


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves ``server.files`` in the way ``server.mode`` says."""

    def do_HEAD(self):
        self.do_GET(body=False)

    def do_GET(self, body=True):
        content, mode = self.server.files.get(self.path), self.server.mode
        self.server.asked.append((self.command, self.path))
        if content is None or mode in ("404", "500"):
            self.send_error(500 if mode == "500" else 404)
            return
        if mode == "other":  # a page of a hotel's network, say
            content = b"<html>please log in</html>"
        elif mode == "flipped":
            content = content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if not body:
            return
        if mode in ("truncated", "stall"):
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            if mode == "stall":
                self.server.released.wait(60)
            return
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.delenv("SIMCLR_TUT_DATA", raising=False)
    monkeypatch.setenv("SIMCLR_TUT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SIMCLR_TUT_OFFLINE", "0")
    monkeypatch.setattr(data, "_DEBIAN", tmp_path / "not installed")
    monkeypatch.setenv("SIMCLR_TUT_SCALE", "laptop")  # smoke runs never go to the network
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.daemon_threads = True
    found.mode, found.files, found.asked, found.released = "ok", {}, [], threading.Event()
    address = f"http://127.0.0.1:{found.server_port}"
    for make in (cifar10, stl10, fashion_mnist):
        found.files |= make(monkeypatch, address)
    thread = threading.Thread(target=found.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield found
    found.released.set()
    found.shutdown()
    found.server_close()


def check(name):
    train, test, shape, classes = EXPECTED[name]
    for split, count in (("train", train), ("test", test)):
        found = data.load_dataset(name, split)
        assert found.name == name and found.images.shape == (count, *shape)
        assert found.classes[:2] == classes
    return data.load_dataset(name)


def left(tmp_path):
    """Files in the cache folder, those of unfinished work among them."""
    return [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]


@pytest.mark.parametrize("name", NAMES)
def test_success_is_fetched_once(server, name):
    check(name)
    assert server.asked
    server.asked.clear()
    check(name)
    assert not server.asked


@pytest.mark.parametrize("name", NAMES)
def test_of_many_that_fetch_at_once_one_does_and_all_get_the_same(
        server, monkeypatch, tmp_path, name):
    found = []
    together = [threading.Thread(target=lambda: found.append(data.load_dataset(name)))
                for _ in range(6)]
    for thread in together:
        thread.start()
    for thread in together:
        thread.join()
    assert [f.name for f in found] == [name] * 6
    assert all(np.array_equal(f.images, found[0].images) for f in found)
    fetched = sorted(path for command, path in server.asked if command == "GET")
    server.asked.clear()
    monkeypatch.setenv("SIMCLR_TUT_CACHE", str(tmp_path / "another"))
    data.load_dataset(name)
    alone = sorted(path for command, path in server.asked if command == "GET")
    assert fetched == alone, "somebody fetched what was there"


def test_what_a_killed_fetch_left_is_taken_away_by_the_next(server, tmp_path):
    half = tmp_path / "cache" / ".fetching-cifar10-1-abcdef"
    half.mkdir(parents=True)
    (half / "cifar-10-python.tar.gz").write_bytes(b"half")
    check("cifar10")
    assert not [p for p in (tmp_path / "cache").iterdir() if p.name.startswith(".")]


def test_what_is_fetched_is_what_was_served(server):
    assert data.load_dataset("cifar10").images[:, 0, 0, 0].tolist() == [
        10, 10, 20, 20, 30, 30, 40, 40, 50, 50]
    stl = data.load_dataset("stl10")
    assert stl.labels.tolist() == [0, 1, -1, -1, -1]  # the unlabelled ones carry no label
    assert stl.images[0, 0, :3, 0].tolist() == [0, 1, 2]  # columns first on disk, rows here
    assert data.load_dataset("fashion_mnist").labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize("mode", ["flipped", "other", "truncated", "404", "500", "stall"])
@pytest.mark.parametrize("name", NAMES)
def test_a_failure_is_named_leaves_nothing_and_a_second_try_works(server, monkeypatch, tmp_path,
                                                                  name, mode):
    monkeypatch.setattr(_fetch, "STALL_SECONDS", 0.5)
    server.mode = mode
    with pytest.raises(OSError, match=f"fetching {name} failed.*Run the same again"):
        data.load_dataset(name)
    assert not left(tmp_path)
    assert socket.getdefaulttimeout() is None
    server.mode = "ok"
    server.released.set()
    check(name)


class FullFile(io.BytesIO):
    def write(self, content):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_full_disk_while_fetching_or_unpacking(server, monkeypatch, tmp_path, at):
    opened = []

    def open_until_full(path, mode="r", *rest, **named):
        if "w" in mode:
            opened.append(path)
            if len(opened) >= at:
                open(path, mode).close()  # the file is there, and empty: a half file
                return FullFile()
        return open(path, mode, *rest, **named)

    monkeypatch.setattr(utils, "open", open_until_full, raising=False)
    with pytest.raises(OSError, match="No space left"):
        data.load_dataset("fashion_mnist")
    assert not left(tmp_path)
    monkeypatch.undo()


def test_a_half_file_of_another_program_is_not_taken_for_whole(server, tmp_path):
    check("fashion_mnist")
    raw = tmp_path / "cache" / "FashionMNIST" / "raw" / "train-images-idx3-ubyte"
    raw.write_bytes(raw.read_bytes()[:100])
    check("fashion_mnist")  # its length is known: it is fetched again
    raw.with_name("train-labels-idx1-ubyte").write_bytes(b"no such form")
    with pytest.raises(OSError, match="broken.*Delete them"):
        data.load_dataset("fashion_mnist")
    check("cifar10")
    batch = tmp_path / "cache" / "cifar-10-batches-py" / "data_batch_1"
    batch.write_bytes(batch.read_bytes()[:100])
    check("cifar10")  # its checksum is known: it is fetched again


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_no_network_is_answered_within_five_seconds(server, monkeypatch):
    monkeypatch.setattr(datasets.CIFAR10, "url", f"http://127.0.0.1:{closed_port()}/x.tar.gz")
    monkeypatch.setattr(datasets.STL10, "url", f"http://127.0.0.1:{closed_port()}/x.tar.gz")
    assert _within(5, lambda: data.load_dataset("cifar10", n=8)).name == "shapes"
    with pytest.raises(FileNotFoundError, match="could not be fetched"):
        data.load_dataset("stl10")


def test_a_network_that_swallows_everything_is_answered_within_five_seconds(server, monkeypatch):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setattr(datasets.CIFAR10, "url",
                            f"http://127.0.0.1:{silent.getsockname()[1]}/x.tar.gz")
        assert _within(5, lambda: data.load_dataset("cifar10", n=8)).name == "shapes"


def test_names_that_are_looked_up_for_ever_are_given_up(server, monkeypatch):
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: released.wait(30) and [])
    monkeypatch.setattr(datasets.CIFAR10, "url", "http://example.org/x.tar.gz")
    assert _within(5, lambda: data.load_dataset("cifar10", n=8)).name == "shapes"
    released.set()


def _within(seconds, work):
    """The promise is in seconds of waiting; making the shapes that stand in is timed apart."""
    data.load_dataset("shapes", n=8)
    started = time.monotonic()
    result = work()
    assert time.monotonic() - started < seconds
    return result


def test_switched_off_means_no_request(server, monkeypatch):
    monkeypatch.setenv("SIMCLR_TUT_OFFLINE", "1")
    assert data.load_dataset("cifar10", n=8).name == "shapes"
    assert not server.asked


@pytest.mark.parametrize("content", [None, b"", b"airplane\n", b"airplane\nairplane\n"])
def test_names_of_stl10s_classes_that_were_damaged_are_named(server, tmp_path, content):
    data.load_dataset("stl10")
    names, = (tmp_path / "cache").rglob("class_names.txt")
    names.unlink()
    if content is not None:
        names.write_bytes(content)
    with pytest.raises(OSError, match="files of stl10 under .* are broken .class_names.txt"):
        data.load_dataset("stl10")
