"""The live plot of a training run and its stop button. Part of ``widgets``.

A click reaches a running cell only where the front end sends it to a thread of its own, a
subshell: JupyterLab 4.4 or newer with ipykernel 7. Elsewhere, Colab for one, the kernel reads it
when the cell is over; there the kernel's interrupt stops the run, and the line says so.
"""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Callable, Mapping

import ipywidgets as w

from simclr_tut import plots


def bundle(box: w.Widget, png: bytes, alt: str) -> tuple[dict, dict]:
    """One output's data and metadata: the live widget, and its picture with alt text."""
    if len(alt) < 40:
        raise ValueError(f"alt must tell in at least 40 characters what is drawn; got {alt!r}.")
    return {"image/png": base64.b64encode(png).decode(),
            "application/vnd.jupyter.widget-view+json": {
                "version_major": 2, "version_minor": 0, "model_id": box.model_id}
            }, {"image/png": {"alt": alt}}


def column(parts: list[w.Widget]) -> w.VBox:
    """Widgets one below the other, each in its own size."""
    return w.VBox(parts, layout=w.Layout(align_items="flex-start"))


def clicks_arrive() -> bool:
    """Whether this kernel can read a click while a cell runs."""
    from IPython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)
    return "kernel subshells" in getattr(kernel, "kernel_info", {}).get("supported_features", ())


def hear_while_busy(widget: w.Widget) -> None:
    """Let the widget's messages go to the subshell to which the front end addresses them.

    ipykernel 7.4 hands them to the loop that last wrote to the widget: the busy cell itself. It
    keeps that loop's name on the widget's comm; without the name it follows the address.
    """
    getattr(widget.comm, "__dict__", {}).pop("_reply_subshell_id", None)


class TrainingPlot:
    """The loss of a run between its levels, one measure beside it, and a button that stops it.

    Attributes: pressed: whether the button was.  over: whether the run ended.
        image, button, text: the parts of ``box``.  hint: how to stop.
    """

    def __init__(self, alt: str, look: Callable[[], dict] | None, measure: str | None,
                 before: float | None, lines: Mapping[str, float], show: bool) -> None:
        self.alt, self.look, self.measure = alt, look, measure
        self.before, self.lines = before, lines
        self.pressed = self.over = False
        self.image = w.Image(format="png")
        self.button = w.Button(description="stop training", icon="stop",
                               layout=w.Layout(width="220px"))
        self.button.on_click(self._press)
        self.text = w.HTML()
        self.box = column([*([self.button] if clicks_arrive() else []), self.image, self.text])
        self.hint = ("The kernel's interrupt, the square in the toolbar, stops the run too; what "
                     "was learned is kept." if clicks_arrive() else
                     "To stop, interrupt the kernel, by the square beside the cell or in the "
                     "toolbar; what was learned is kept.")
        self._drawn, self._cost, self._handle = 0.0, 0.0, None
        self._draw([], [], 0)
        if show:
            from IPython.display import display

            data, metadata = bundle(self.box, bytes(self.image.value), alt)
            self._handle = display(data, metadata=metadata, raw=True, display_id=True)

    def on_step(self, history) -> bool:
        """For ``training.pretrain``: draw now and then; true once the button was pressed."""
        if time.perf_counter() - self._drawn > max(2.0, 30 * self._cost):  # costs 3 % at most
            self._draw(history.loss, history.epochs, history.steps)
        if not self.pressed:
            hear_while_busy(self.button)
        return self.pressed

    def on_epoch(self, epoch: int, history) -> dict:
        """For ``training.pretrain``: look at the model, draw, and return what was seen."""
        facts = self.look() if self.look else {}
        self._draw(history.loss, [*history.epochs, {**facts, "step": len(history.loss)}],
                   history.steps)
        return facts

    def update(self, history) -> None:
        """Draw the run as it ended, for the saved notebook too, and say how it ended."""
        self._draw(history.loss, history.epochs, history.steps)
        self.over = self.button.disabled = True
        self.button.description = "stopped" if history.interrupted else "finished"
        self._say(f"{'Stopped' if history.interrupted else 'Finished'} after {len(history.loss)} "
                  f"of {history.steps} steps.")
        if self._handle is not None:
            data, metadata = bundle(self.box, bytes(self.image.value), self.alt)
            self._handle.update(data, metadata=metadata, raw=True)

    def _press(self, _: object = None) -> None:
        if self.over:  # a click that the kernel read after the run
            return
        self.pressed = self.button.disabled = True
        self.button.description = "stopping after this step"

    def _say(self, sentence: str) -> None:
        self.text.value = f"<p role='status'>{sentence}</p>"

    def _draw(self, loss: list[float], epochs: list[dict], steps: int) -> None:
        started = time.perf_counter()
        width = max(1, len(loss) // 100)
        means = [sum(loss[i:i + width]) / len(loss[i:i + width])
                 for i in range(0, len(loss), width)]
        now = (f"Loss: {means[-1]:.2f} at step {len(loss)} of {steps}" if means
               else "Loss: no step yet")
        parts = [{"x": [i * width for i in range(len(means))], "series": {"loss": means},
                  "title": now, "xlabel": "step", "ylabel": "NT-Xent (nats)", "lines": self.lines}]
        if self.measure:
            start = [] if self.before is None else [(0, self.before)]
            seen = start + [(e["step"], e[self.measure]) for e in epochs if self.measure in e]
            title = f"{self.measure}: {seen[-1][1]:.3f}" if seen else f"{self.measure}: no look yet"
            parts.append({"x": [x for x, _ in seen], "series": {self.measure: [y for _, y in seen]},
                          "title": title, "xlabel": "step", "ylabel": self.measure,
                          "lines": {} if self.before is None else {"before": self.before}})
        self._say(f"Step {len(loss)} of {steps}, loss {means[-1]:.2f}. {self.hint}" if means
                  else self.hint)
        file = io.BytesIO()
        plots.panels(parts).savefig(file, format="png")
        self.image.value = file.getvalue()
        self._drawn = time.perf_counter()
        self._cost = self._drawn - started
