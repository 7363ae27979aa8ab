"""JupyterLab in a real browser: a widget is moved by keyboard, and its picture changes."""

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import nbformat.v4 as v4
import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NEEDED = [name for name in ("playwright", "jupyterlab") if not importlib.util.find_spec(name)]
if not CHROMIUM or NEEDED:
    pytest.skip(f"no {'chromium' if not CHROMIUM else NEEDED[0]}: the browser test is left out",
                allow_module_level=True)

SCREENSHOTS = Path(__file__).resolve().parents[1] / "build" / "screenshots"


@pytest.fixture
def lab(tmp_path):
    """A JupyterLab of its own with one notebook; gives its address."""
    cells = [v4.new_code_cell("from simclr_tut import widgets\n"
                              "explorer = widgets.loss_calculator()"),
             v4.new_code_cell("from simclr_tut import checks\nchecks.kinds_of_learning('UUUU')\n"
                              "checks.kinds_of_learning('USFF')")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    (tmp_path / "lab").mkdir()
    nbformat.write(v4.new_notebook(cells=cells, metadata=kernel), tmp_path / "lab" / "one.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}",
         "--ip=127.0.0.1", "--IdentityProvider.token=", "--ServerApp.password=",
         f"--ServerApp.root_dir={tmp_path / 'lab'}"],
        env={**os.environ, "HOME": str(tmp_path), "JUPYTER_CONFIG_DIR": str(tmp_path / "config")},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}/api", timeout=2)
                break
            except OSError:
                time.sleep(0.5)
        else:
            pytest.skip("JupyterLab did not start within a minute")
        yield address
    finally:
        server.terminate()
        server.wait(20)


def test_widget_moves_by_keyboard_and_checks_speak(lab):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 1400})
        page.set_default_timeout(45_000)
        try:
            page.goto(f"{lab}/lab/tree/one.ipynb?reset")
            page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
            page.get_by_text("| Idle").wait_for()  # a cell run before the kernel is up is lost
            page.locator(".jp-Notebook .jp-InputArea-editor").first.click()
            for _ in range(2):
                page.keyboard.press("Shift+Enter")
            handle = page.locator(".jp-OutputArea .widget-slider .noUi-handle").first
            handle.wait_for()
            line = page.locator(".jp-OutputArea p[role=status]")
            before, picture = line.inner_text(), page.locator(".widget-image").get_attribute("src")
            handle.focus()
            page.keyboard.press("ArrowLeft")
            page.wait_for_function("before => document.querySelector('p[role=status]').innerText "
                                   "!== before", arg=before)
            assert "N = 256" in line.inner_text()
            assert page.locator(".widget-image").get_attribute("src") != picture
            printed = page.locator(".jp-OutputArea pre", has_text="kinds_of_learning")
            printed.first.wait_for()
            said = printed.first.inner_text()
            assert "✗ kinds_of_learning" in said and "✓ kinds_of_learning" in said
            assert page.locator("[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
        except Exception:
            SCREENSHOTS.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=str(SCREENSHOTS / "widget.png"))
            raise
        finally:
            browser.close()
