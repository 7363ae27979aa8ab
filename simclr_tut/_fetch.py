"""A part of ``data``: fetching a known data set through torchvision, whole or not at all."""

from __future__ import annotations

import http.client
import os
import secrets
import shutil
import socket
import tarfile
import threading
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from simclr_tut import config

STALL_SECONDS = 20.0  # without a byte before a download counts as failed


def fetch(name: str, root: Path, load: Callable[[Path], object],
          whole: Callable[[], bool]) -> bool:
    """Fetch ``name`` into ``root``; False where downloads are off or no host answers in time.

    ``load`` makes torchvision fetch, check and read everything in a folder of its own, which takes
    its place only when that went well. One process at a time does so; another waits, and finds by
    ``whole`` that nothing is left to do.
    Raises: OSError, with what to do, for any failure; nothing is left behind then.
    """
    if config.offline() or not answers(_address(name)):
        return False
    half = root / f".fetching-{name}-{os.getpid()}-{secrets.token_hex(3)}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with config.alone(root / f".fetching-{name}.lock") as locked:
            if whole():
                return True
            if locked:  # then what another fetch left was killed with it
                for left in root.glob(f".fetching-{name}-*"):
                    shutil.rmtree(left, ignore_errors=True)
            half.mkdir()
            with _no_stall():
                load(half)
            for path in (p for p in half.iterdir() if p.is_dir()):
                _take_place(path, root / path.name)
    except (OSError, RuntimeError, EOFError, ValueError, http.client.HTTPException,
            tarfile.TarError, zlib.error) as error:
        said = " ".join(str(error).split())  # in one line
        raise OSError(
            f"fetching {name} failed ({type(error).__name__}: {said}); nothing of it was kept. "
            "Run the same again, or set SIMCLR_TUT_OFFLINE=1 to go on without it.") from error
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return True


@contextmanager
def _no_stall() -> Iterator[None]:
    """End a connection that gives nothing for long: torchvision sets no limit and would hang."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALL_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def answers(address: str) -> bool:
    """Whether the host answers soon, with whatever; asked in a thread, for any part may hang."""
    answer = []

    def ask() -> None:
        try:
            request = urllib.request.Request(address, method="HEAD")
            urllib.request.urlopen(request, timeout=3).close()
            answer.append(True)
        except urllib.error.HTTPError:
            answer.append(True)  # the download itself will say what is wrong
        except (OSError, http.client.HTTPException):
            pass

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(4)
    return bool(answer)


def _address(name: str) -> str:
    from torchvision import datasets

    if name == "fashion_mnist":
        return datasets.FashionMNIST.mirrors[0] + datasets.FashionMNIST.resources[0][0]
    return {"cifar10": datasets.CIFAR10, "stl10": datasets.STL10}[name].url


def _take_place(path: Path, target: Path) -> None:
    """Move a whole folder to its name, over a broken one.

    Where locks are unknown another process may have been first.
    """
    if target.exists():
        shutil.rmtree(target, ignore_errors=True)
    try:
        os.replace(path, target)
    except OSError:
        if not target.exists():
            raise
