"""A JupyterLab of its own in headless Chromium: what tests/test_browser.py drives."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import nbformat.v4 as v4

# Chromium speaks to nobody but the server of the test.
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]
# What JupyterLab itself complains of, with no notebook open and nothing of ours loaded.
NOT_OURS = ("Failed to load resource", "favicon", "workspaces", "extension", "Service worker",
            "ResizeObserver loop")


class Server:
    """``jupyter lab`` on a free port, serving one folder until it is closed."""

    def __init__(self, folder: Path, config: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address, self.log = f"http://127.0.0.1:{port}", config / "server.log"
        asking = config / "settings" / "@jupyterlab" / "apputils-extension"
        asking.mkdir(parents=True, exist_ok=True)
        (asking / "notification.jupyterlab-settings").write_text(
            '{"fetchNews": "false", "checkForUpdates": false}', encoding="utf-8")
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root",
                 f"--port={port}", "--ip=127.0.0.1", "--ServerApp.port_retries=0",
                 "--IdentityProvider.token=", "--ServerApp.password=",
                 "--expose-app-in-browser", "--LabApp.extension_manager=readonly",
                 f"--ServerApp.root_dir={folder}"],
                env={**os.environ, "HOME": str(config), "JUPYTER_CONFIG_DIR": str(config),
                     "JUPYTER_RUNTIME_DIR": str(config / "runtime"),
                     "JUPYTERLAB_SETTINGS_DIR": str(config / "settings"),
                     "JUPYTERLAB_WORKSPACES_DIR": str(config / "workspaces")},
                stdout=log, stderr=log)

    def wait(self, seconds: float = 90) -> bool:
        """Whether it answers within that time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            try:
                urllib.request.urlopen(f"{self.address}/api", timeout=2)
                return True
            except OSError:
                time.sleep(0.3)
        return False

    def close(self) -> None:
        """End it, and with it its kernels."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()


class Lab:
    """One page of JupyterLab with one notebook open at a time."""

    def __init__(self, tab, address: str, folder: Path) -> None:
        self.tab, self.address, self.folder = tab, address, folder
        self.complaints: list[str] = []
        self.ignored: list[str] = []
        tab.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        tab.on("console", self._hear)
        tab.goto(f"{address}/lab?reset")
        tab.wait_for_function("window.jupyterapp && window.jupyterapp.restored")
        tab.evaluate("async () => { await window.jupyterapp.restored }")

    def _hear(self, message) -> None:
        if message.type == "error":
            known = any(word in message.text for word in NOT_OURS)
            (self.ignored if known else self.complaints).append(message.text)

    def write(self, name: str, cells: list) -> None:
        """Write a notebook of these cells into the folder that is served."""
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
        nbformat.write(notebook, self.folder / name)

    def open(self, name: str) -> None:
        """Open a notebook and wait for its kernel; close the one that a failed test left."""
        self.close()
        self.complaints.clear()
        self.tab.evaluate("""async name => {
            const app = window.jupyterapp;
            const panel = await app.commands.execute('docmanager:open',
                {path: name, factory: 'Notebook'});
            await panel.context.ready;
            await panel.sessionContext.ready;
            await panel.sessionContext.session.kernel.info;
            app.shell.collapseLeft();
            app.shell.activateById(panel.id);
            window.panel = panel;
        }""", name)

    def start(self) -> None:
        """Begin to run all cells; come back at once."""
        self.tab.evaluate("""() => {
            window.ran = undefined;
            window.jupyterapp.commands.execute('notebook:run-all-cells').then(
                result => { window.ran = 'over'; }, error => { window.ran = String(error); });
        }""")

    def run_cells(self, starts: list[str]) -> None:
        """Begin to run the cells that begin with these lines, in this order."""
        self.tab.evaluate("""async starts => {
            window.ran = undefined;
            const app = window.jupyterapp, notebook = window.panel.content;
            const run = async start => {
                notebook.activeCellIndex = notebook.widgets.findIndex(
                    cell => cell.model.sharedModel.getSource().startsWith(start));
                notebook.deselectAll();
                await app.commands.execute('notebook:run-cell');
            };
            Promise.all(starts.map(run)).then(
                () => { window.ran = 'over'; }, error => { window.ran = String(error); });
        }""", starts)

    def set_source(self, start: str, source: str) -> None:
        """Write ``source`` into the cell that begins with ``start``."""
        self.tab.evaluate("""([start, source]) => {
            const cell = window.panel.content.widgets.find(
                cell => cell.model.sharedModel.getSource().startsWith(start));
            cell.model.sharedModel.setSource(source);
        }""", [start, source])

    def wait_for_steps(self, n: int, seconds: float = 120) -> None:
        """Wait until the line under a training plot speaks of step ``n`` or a later one."""
        self.tab.wait_for_function("""n => [...document.querySelectorAll('p[role=status]')].some(
            line => Number((line.innerText.match(/Step (\\d+) of/) || [0, 0])[1]) >= n)""",
                                   arg=n, timeout=1000 * seconds)

    def interrupt(self) -> None:
        """What the square in the toolbar does."""
        self.tab.evaluate("() => window.jupyterapp.commands.execute('notebook:interrupt-kernel')")

    def finish(self, seconds: float) -> nbformat.NotebookNode:
        """Wait for the cells that ``start`` began; return the notebook as it stands."""
        self.tab.wait_for_function("window.ran !== undefined", timeout=1000 * seconds)
        return self.read()

    def read(self) -> nbformat.NotebookNode:
        """The notebook of the page with its outputs."""
        return nbformat.from_dict(self.tab.evaluate("() => window.panel.model.toJSON()"))

    def show_output(self, start: str) -> None:
        """Scroll to the code cell that begins with ``start``; far cells are not in the page."""
        self.tab.evaluate("""async start => {
            const notebook = window.panel.content;
            const index = notebook.widgets.findIndex(
                cell => cell.model.sharedModel.getSource().startsWith(start));
            if (index < 0) throw new Error('no cell starts with ' + start);
            notebook.activeCellIndex = index;
            await notebook.scrollToItem(index, 'center');
        }""", start)

    def output(self, start: str):
        """The output area of the cell that begins with ``start``, as a locator."""
        self.show_output(start)
        return self.tab.locator(".jp-Notebook .jp-Cell.jp-mod-active .jp-Cell-outputArea")

    def close(self) -> None:
        """Close the notebook without saving, and end its kernel."""
        self.tab.evaluate("""async () => {
            if (!window.panel || window.panel.isDisposed) return;
            await window.panel.sessionContext.shutdown();
            window.panel.context.model.dirty = false;
            window.panel.dispose();
        }""")


def picture(area) -> str:
    """A number that changes with the pixels of the widget's picture in an output area."""
    return area.locator("img.widget-image").first.evaluate("""async image => {
        const bytes = new Uint8Array(await (await fetch(image.src)).arrayBuffer());
        let hash = 17;
        for (const byte of bytes) hash = (31 * hash + byte) | 0;
        return hash + ':' + bytes.length;
    }""")
