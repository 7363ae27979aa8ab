"""A part of ``training``: a run on disk, written whole or not at all, and read with suspicion."""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from simclr_tut import __version__, config

FORMAT = 2  # 2: the checksum covers history and recipe, the facts the pictures and views
# What may differ between the run on disk and the run that goes on: none of it moves a weight.
_FREE = ("draws", "eval_every", "tsne_images", "monitor_images", "test_images")
_STATE = {"momentum_buffer": "momentum"}  # the optimizer's name for a tensor: ours in the file

# What reading a file of any content may raise.
_UNREADABLE = (SafetensorError, OSError, RuntimeError, LookupError, TypeError, ValueError)


class Checkpoint:
    """A run that can go on: weights and momentum as safetensors, the history as JSON inside.

    ``run.safetensors`` is the newest, ``run.previous.safetensors`` the one before it. A new one
    is written beside them, reaches the disk, and only then takes the newest's name.
    Explained in notebooks/04 and 09.
    """

    def __init__(self, folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer,
                 facts: dict) -> None:
        self.path = folder / "run.safetensors"
        self.previous = folder / "run.previous.safetensors"
        self.model, self.optimizer = model, optimizer
        self.newest_is_whole = True
        self.facts = json.loads(json.dumps(facts))
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(f"the folder for checkpoints, {folder}, cannot be made "
                          f"({error.strerror}). Choose one you may write.") from error

    def exists(self) -> bool:
        """Whether there is a run to go on with."""
        return self.path.exists() or self.previous.exists()

    def begin(self, history: object) -> bool:
        """Write the plan, which shows a full disk at once; False if another process has begun."""
        with config.alone(self.path.with_suffix(".lock")):
            if self.exists():
                return False
            self.save(history)
            return True

    def step(self) -> int:
        """The step of the newest whole run on disk, whichever process wrote it; 0 without one."""
        for path in (self.path, self.previous):
            with suppress(*_UNREADABLE):
                return len(json.loads(_read(path)[0]["history"])["loss"])
        return 0

    def save(self, history: object, must: bool = True) -> None:
        """Write the run; a failure raises OSError, or only warns where training can go on."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        for i, parameter in enumerate(self._parameters()):
            for name, value in self.optimizer.state.get(parameter, {}).items():
                if isinstance(value, torch.Tensor):
                    tensors[f"{_STATE.get(name, name)}.{i}"] = value
        # cloned, for two names of one tensor cannot be written as one
        tensors = {k: v.detach().cpu().clone(memory_format=torch.contiguous_format)
                   for k, v in tensors.items()}
        header = {"format": str(FORMAT), "version": __version__,
                  "recipe": json.dumps(self.facts), "history": json.dumps(asdict(history))}
        header["sha256"] = _digest(header, tensors)
        content = save(tensors, {**header, "seal": _seal(header)})
        half = self.path.with_suffix(f".{os.getpid()}.half")
        try:
            try:
                _write(half, content)
            except OSError:  # perhaps full: the one that is not needed may give its place
                (self.previous if self.newest_is_whole else self.path).unlink(missing_ok=True)
                _write(half, content)
            if self.newest_is_whole:  # or else the one before it is the last good one, and stays
                with suppress(FileNotFoundError):
                    os.replace(self.path, self.previous)
            os.replace(half, self.path)
            self.newest_is_whole = True
            _sync_folder(self.path.parent)
        except OSError as error:
            with suppress(OSError):
                half.unlink(missing_ok=True)
            kept = "the one before it is whole" if self.exists() else "there is none before it"
            message = (f"the checkpoint {self.path} could not be written ({error}); {kept}. "
                       "Free some space or choose another folder")
            if must:
                raise OSError(f"{message}, then call pretrain again.") from error
            config.warn(f"{message}; training goes on and will try again.", stacklevel=4)
        self._sweep()

    def load(self, history: object) -> None:
        """Put the newest whole run into model, optimizer and history, or say why not."""
        problems = []
        for path in (self.path, self.previous):
            try:
                header, tensors = _read(path)
                break
            except FileNotFoundError:
                continue
            except _UNREADABLE as error:
                problems.append(f"{path} is no whole checkpoint of this course ({error})")
        else:
            raise ValueError(f"{'; '.join(problems)}. Delete it to start afresh.")
        self._refuse_another_run(path, header, tensors)
        self.newest_is_whole = path == self.path
        if problems:
            config.warn(f"{problems[0]}; going on from the one before it.", stacklevel=4)
        for name, value in json.loads(header["history"]).items():
            setattr(history, name, value)
        history.interrupted = False
        self.model.load_state_dict({k[6:]: v for k, v in tensors.items() if k[:6] == "model."})
        for i, parameter in enumerate(self._parameters()):
            for name in ("momentum_buffer", "exp_avg", "exp_avg_sq", "step"):  # the last: Adam's
                kept = tensors.get(f"{_STATE.get(name, name)}.{i}")
                if kept is not None:  # Adam counts its steps in a tensor on the CPU
                    buffer = kept if name == "step" else torch.empty_like(parameter).copy_(kept)
                    self.optimizer.state[parameter][name] = buffer

    def _refuse_another_run(self, path: Path, header: dict, tensors: dict) -> None:
        mend = "Give another folder, or delete it to start afresh."
        version, form = header.get("version", "0.1.0"), header.get("format", "1")
        if version != __version__ or form != str(FORMAT):
            raise ValueError(
                f"{path} was written by another version of this course ({version}, format {form}; "
                f"this is {__version__}, format {FORMAT}), which may draw other views. {mend}")
        then = json.loads(header["recipe"])
        changed = [f"{k}: {then.get(k)!r} then, {v!r} now" for k, v in self.facts.items()
                   if then.get(k) != v and k not in _FREE
                   and (k in then or not k.startswith("views."))]  # a function has no settings
        if changed:
            raise ValueError(
                f"{path} belongs to a run with another recipe ({'; '.join(changed)}). {mend}")
        there = {k[6:]: tuple(v.shape) for k, v in tensors.items() if k[:6] == "model."}
        here = {k: tuple(v.shape) for k, v in self.model.state_dict().items()}
        wrong = sorted(k for k in there.keys() | here.keys() if there.get(k) != here.get(k))
        if wrong:
            raise ValueError(
                f"{path} holds another architecture: {wrong[0]} is {there.get(wrong[0], 'absent')} "
                f"in the file and {here.get(wrong[0], 'absent')} in the model "
                f"({len(wrong)} such tensors). Build the model the run began with. {mend}")

    def _parameters(self) -> list[nn.Parameter]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def _sweep(self) -> None:
        """Remove halves that a killed process left an hour ago or earlier."""
        with suppress(OSError):
            for half in self.path.parent.glob("run.*.half"):
                if time.time() - half.stat().st_mtime > 3600:
                    half.unlink()


def _read(path: Path) -> tuple[dict, dict[str, torch.Tensor]]:
    if not path.exists():
        raise FileNotFoundError(path)
    with safe_open(path, "pt") as file:
        header = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    json.loads(header["recipe"])
    json.loads(header["history"])
    if header.get("seal", _seal(header)) != _seal(header):  # the first files had none
        raise ValueError("its version or checksum was changed")
    if header.get("format") == str(FORMAT) and header["sha256"] != _digest(header, tensors):
        raise ValueError("its content does not have its checksum")
    return header, tensors


def _seal(header: dict[str, str]) -> str:
    """A checksum of what says how to read the rest: a flipped bit is no other version."""
    facts = [header.get(name) for name in ("format", "version", "sha256")]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _digest(header: dict[str, str], tensors: dict[str, torch.Tensor]) -> str:
    total = hashlib.sha256(json.dumps([header["recipe"], header["history"]]).encode())
    for name in sorted(tensors):
        value = tensors[name]
        total.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy())
    return total.hexdigest()


def _write(path: Path, content: bytes) -> None:
    """Write bytes that are on the disk, not in a buffer, when this returns."""
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make the new name last through a power cut, where the system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
