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

    def __init__(self, page, address: str, folder: Path) -> None:
        self.page, self.address, self.folder = page, address, folder
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        page.on("console", self._hear)
        page.goto(f"{address}/lab?reset")
        page.wait_for_function("window.jupyterapp && window.jupyterapp.restored")
        page.evaluate("async () => { await window.jupyterapp.restored }")

    def _hear(self, message) -> None:
        if message.type == "error" and not any(word in message.text for word in NOT_OURS):
            self.complaints.append(message.text)

    def open(self, name: str) -> None:
        """Open a notebook and wait for its kernel."""
        self.complaints.clear()
        self.page.evaluate("""async name => {
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
        self.page.evaluate("""() => {
            window.ran = undefined;
            window.jupyterapp.commands.execute('notebook:run-all-cells').then(
                result => { window.ran = 'over'; }, error => { window.ran = String(error); });
        }""")

    def finish(self, seconds: float) -> nbformat.NotebookNode:
        """Wait for the cells that ``start`` began; return the notebook as it stands."""
        self.page.wait_for_function("window.ran !== undefined", timeout=1000 * seconds)
        return self.read()

    def read(self) -> nbformat.NotebookNode:
        """The notebook of the page with its outputs."""
        return nbformat.from_dict(self.page.evaluate("() => window.panel.model.toJSON()"))

    def show_output(self, start: str) -> None:
        """Scroll to the code cell that begins with ``start``; far cells are not in the page."""
        self.page.evaluate("""async start => {
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
        return self.page.locator(".jp-Notebook .jp-Cell.jp-mod-active .jp-Cell-outputArea")

    def close(self) -> None:
        """Close the notebook without saving, and end its kernel."""
        self.page.evaluate("""async () => {
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
