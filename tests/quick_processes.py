"""Processes of their own for tests."""

import multiprocessing
from multiprocessing.context import BaseContext


def context(*modules: str) -> BaseContext:
    """A start method whose processes find ``modules`` imported; Windows imports them each time."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(list(modules))
    return made
