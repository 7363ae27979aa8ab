"""Write the tables of INSTRUCTORS.md that notebooks and checkers know better than a person.

    python tools/instructors.py            write them between their marks
    python tools/instructors.py --check    say whether they are up to date, change nothing

Minutes, points and kinds come from the notebooks, model answers from their folded answers, and the
checkers' lines from the checkers, which are given each mistake below and asked what they say.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import sys
from pathlib import Path

import nbformat
import torch
from torch import nn
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "INSTRUCTORS.md"

# What a student who solves it has shown.
GOALS = {
    "0.1": "knows what a number must beat", "0.2": "can make a label from a picture",
    "0.3": "tells self-supervised from unsupervised",
    "0.4": "takes one cause away and measures again",
    "1.1": "works on a batch with one parameter a picture",
    "1.2": "draws views right: anew, each picture for itself",
    "1.3": "reasons about what views share", "1.4": "writes colour distortion as a matrix",
    "1.5": "measures a shortcut with and without its cause",
    "2.1": "fits an architecture to its pictures", "2.2": "reads a module",
    "2.3": "tells parameters from work", "2.4": "builds a projection head",
    "2.5": "measures work, and explains where it departs from the rule of thumb",
    "3.1": "writes a variant of the loss", "3.2": "derives softmax minus target",
    "3.3": "reads a loss between chance and floor", "3.4": "changes the formula term by term",
    "3.5": "builds the loss from one product and the right targets",
    "3.6": "separates chance from floor", "4.1": "writes a schedule with right ends",
    "4.2": "measures collapse", "4.3": "knows what each line of a step is for",
    "4.4": "writes warm-up and cosine", "4.5": "turns epochs into steps",
    "4.6": "knows a measure's bias before comparing with it", "5.1": "writes kNN",
    "5.2": "keeps a query out of its neighbours", "5.3": "reports an interval",
    "5.4": "weighs neighbours", "5.5": "trains a linear probe without peeking",
    "5.6": "knows what k = N does", "5.7": "tests a rule of thumb by simulation",
    "6.1": "probes a representation fairly", "6.2": "builds a shortcut on purpose",
    "6.3": "reads invariance off a policy", "6.4": "counts what the loss gets wrong",
    "7.1": "writes a property that can fail", "7.2": "mends code that raises no error",
    "7.3": "diagnoses a run", "7.4": "knows where half precision ends",
    "8.1": "keeps old negatives in order", "8.2": "updates a target network",
    "8.3": "writes a guard against collapse", "8.4": "counts the candidates of a softmax",
    "8.5": "relates two time constants", "9.1": "gathers with gradients",
    "9.2": "tells accumulation from caching", "9.3": "applies two scaling rules",
    "9.4": "costs a plan",
}
# The three-week block: notebooks of each session, and what is done in class; the rest is for home.
SESSIONS = [("00, 01", ("0.1", "0.3", "1.2", "1.3")), ("02, 03", ("2.1", "2.4", "3.1", "3.6")),
            ("04, 05", ("4.3", "4.5", "5.2", "5.6")), ("06, 07", ("6.3", "7.1", "7.3")),
            ("08, 09", ("8.1", "8.4", "9.1"))]


def one_draw(images):
    """Views whose crop is the same for the whole batch."""
    top, left = torch.randint(0, 9, (2,)).tolist()
    return images[:, :, top:top + 24, left:left + 24].float() / 255


def half_surgery(network):
    """A CIFAR stem that keeps the pooling."""
    network.features.conv0 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    network.classifier = nn.Identity()
    return network


def across(power=-1, item=False):
    """One view against the other, with a mistake."""
    def loss(z1, z2, temperature):
        cosines = F.normalize(z1, dim=1) @ F.normalize(z2, dim=1).T
        value = F.cross_entropy(cosines * temperature**power, torch.arange(len(z1)))
        return value.item() if item else value
    return loss


def same_pairs(z, temperature):
    """Rows 2i and 2i + 1 taken for i and i + N."""
    z = F.normalize(z, dim=1)
    scores = (z @ z.T / temperature).fill_diagonal_(-torch.inf)
    return F.cross_entropy(scores, torch.arange(len(z)).roll(len(z) // 2))


def step(graph=False):
    """A training step without zero_grad, or one that returns its graph."""
    def take(model, views, optimizer, objective):
        if graph:
            optimizer.zero_grad()
        loss = objective(model, views)
        loss.backward()
        optimizer.step()
        return loss if graph else loss.detach()
    return take


def plain_product(bank, labels, queries, k):
    """Neighbours by product, where long vectors win."""
    return labels[(queries @ bank.T).topk(k, dim=1).indices].mode(dim=1).values


def first_hit_dropped(features, labels):
    """The second neighbour in place of a masked diagonal."""
    unit = F.normalize(features, dim=1)
    return float((labels[(unit @ unit.T).topk(2, dim=1).indices[:, 1]] == labels).float().mean())


def with_196(values):
    """An interval with the quantile of many runs."""
    values = torch.tensor(values, dtype=torch.float64)
    half = 1.96 * float(values.std()) / len(values) ** 0.5
    return float(values.mean()) - half, float(values.mean()) + half


def own_mean(train_h, train_y, test_h):
    """A probe whose test features are standardised by their own mean."""
    x, queries = ((h - h.mean(0)) / h.std(0).clamp_min(1e-6) for h in (train_h, test_h))
    layer = nn.Linear(x.shape[1], int(train_y.max()) + 1)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
    for _ in range(300):
        optimizer.zero_grad()
        F.cross_entropy(layer(x), train_y).backward()
        optimizer.step()
    return layer(queries).argmax(1)


def fast_is_moved(slow, fast, momentum):
    """Momentum and its rest exchanged."""
    with torch.no_grad():
        for s, f in zip(slow.parameters(), fast.parameters(), strict=True):
            s.mul_(1 - momentum).add_(f, alpha=momentum)


def mean_of_processes(parts, temperature):
    """Every process with its own negatives only."""
    from simclr_tut import losses

    return sum(losses.nt_xent(*part.chunk(2), temperature) for part in parts) / len(parts)


def accumulated(model, view1, view2, micro, temperature):
    """Plain accumulation over micro-batches."""
    from simclr_tut import losses

    for a, b in zip(view1.split(micro), view2.split(micro), strict=True):
        (losses.nt_xent(model(a), model(b), temperature) * micro / len(view1)).backward()


MISTAKES = [  # exercise, what went wrong, checker, the answer with that mistake
    ("0.1", "the class in place of its share", "majority_baseline",
     lambda labels: int(labels.bincount().argmax())),
    ("1.2", "one draw of parameters for a whole batch", "two_views",
     lambda images: (one_draw(images), one_draw(images))),
    ("1.2", "second view is the first one mirrored", "two_views",
     lambda images: (view := one_draw(images), view.flip(3))),
    ("1.4", "rows and columns of a colour matrix", "colour_matrix",
     lambda b, s: (b[:, None, None] * (s[:, None, None] * torch.eye(3) + (1 - s[:, None, None])
                   * torch.tensor([0.2989, 0.587, 0.114]).expand(3, 3))).mT),
    ("2.1", "pooling left in the stem", "cifar_stem", half_surgery),
    ("2.2", "batch norm forgotten in a count", "head_parameters", 512 * 512 + 512 * 128 + 128),
    ("3.1", "temperature multiplied", "across_views", across(power=1)),
    ("3.1", "returns `.item()`", "across_views", across(item=True)),
    ("3.2", "no division by the number of rows", "logit_gradient",
     lambda logits, positive: logits.softmax(1) - F.one_hot(positive, logits.shape[1])),
    ("3.5", "positives of another order of rows", "neighbouring_rows", same_pairs),
    ("4.2", "entropy without its exponential", "rank_of",
     lambda z: torch.special.entr((s := torch.linalg.svdvals(z)) / s.sum()).sum()),
    ("4.3", "`zero_grad` missing", "step_in_order", step()),
    ("4.3", "loss kept with its graph", "step_in_order", step(graph=True)),
    ("5.1", "plain product in place of cosine", "majority_knn", plain_product),
    ("5.2", "first hit dropped in place of the diagonal", "honest_top1", first_hit_dropped),
    ("5.3", "1.96 for five runs", "t_interval", with_196),
    ("5.5", "test features standardised by themselves", "probe_by_hand", own_mean),
    ("6.4", "the positive counted as a negative", "false_negative_share",
     lambda y: float((2 * (y[:, None] == y).sum(1) - 1).double().mean() / (2 * len(y) - 1))),
    ("7.1", "property that always says True", "temperature_property", lambda loss: True),
    ("8.1", "queue moved along in place of a cursor", "queue_update",
     lambda queue, cursor, keys: (torch.cat([queue[len(keys):], keys]),
                                  (cursor + len(keys)) % len(queue))),
    ("8.2", "momentum exchanged with its rest", "momentum_update", fast_is_moved),
    ("9.1", "mean of the processes' own losses", "loss_of_all", mean_of_processes),
    ("9.2", "plain accumulation", "cached_gradient", accumulated),
    ("any", "a tensor changed in place", "contrast", lambda images, factors: images.mul_(0.5)),
    ("any", "the function is called, not handed in", "rank_of", torch.tensor(3.0)),
    ("any", "the package's function called", "rank_of", "losses.effective_rank"),
]


def notebooks() -> list:
    """All notebooks of the course, in order."""
    return [nbformat.read(path, as_version=4)
            for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))]


def exercises() -> list[dict]:
    """Number, title, kind, minutes, points and checker of every exercise."""
    from simclr_tut import checks

    found = []
    for notebook in notebooks():
        for i, cell in enumerate(notebook.cells):
            heading = re.match(r"### Exercise (\d\.\d+) · (.*)\n", cell.source)
            if not heading:
                continue
            facts = re.search(r"(write|predict|investigate) · (\d+) min · ([●○]+) · (\d+) point",
                              cell.source)
            check = next(c for c in notebook.cells[i:] if "check" in c.metadata.get("tags", []))
            checker = re.search(r"checks\.(\w+)\(", check.source)[1]
            number, kind = heading[1], facts[1]
            title = heading[2]
            points = getattr(checks, checker).points
            if points != int(facts[4]):
                raise SystemExit(f"exercise {number} promises {facts[4]} points, {checker} gives "
                                 f"{points}")
            found.append({"number": number, "title": title, "kind": kind, "checker": checker,
                          "minutes": int(facts[2]), "level": facts[3], "points": points})
    return found


def table_of_exercises() -> str:
    """The table of goals and points."""
    rows, every = [], exercises()
    for e in every:
        rows.append(f"| {e['number']} {e['title']} | {e['kind']} | {e['minutes']} | {e['level']} | "
                    f"{e['points']} | {GOALS[e['number']]} |")
    total = (f"{len(every)} exercises, {sum(e['points'] for e in every)} points, about "
             f"{sum(e['minutes'] for e in every) / 60:.0f} hours.")
    head = ["| exercise | kind | minutes | level | points | what it shows |",
            "|---|---|---|---|---|---|"]
    return "\n".join([*head, *rows, "", total])


def table_of_sessions() -> str:
    """The three-week block, with the minutes that its exercises add up to."""
    rows = ["| session | notebooks | to read, minutes | in class | minutes | at home | minutes |",
            "|---|---|---|---|---|---|---|"]
    reading = {n.cells[0].source[2:4]: int(re.search(r"about (\d+) to read", n.cells[0].source)[1])
               for n in notebooks()}
    every = {e["number"]: e["minutes"] for e in exercises()}
    for i, (names, in_class) in enumerate(SESSIONS, 1):
        home = [number for number in every
                if f"0{number[0]}" in names.split(", ") and number not in in_class]
        parts = [f"{', '.join(part)} | {sum(every[number] for number in part)}"
                 for part in (in_class, home)]
        before = sum(reading[name] for name in names.split(", "))
        rows.append(f"| {i} | {names} | {before} | {' | '.join(parts)} |")
    rows.append(f"| {len(SESSIONS) + 1} | projects (last section) | | five minutes each group: "
                "question, figure, what would prove it wrong | | | |")
    rows += ["", f"In all: {sum(reading.values())} minutes of reading, "
             f"{sum(every.values())} of exercises."]
    return "\n".join(rows)


def answers() -> str:
    """The open questions of every notebook and their model answers, as one section each."""
    parts = []
    for notebook in notebooks():
        title = re.match(r"# (.*)", notebook.cells[0].source)[1]
        text = "\n\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
        pairs = re.findall(r"(?s)\*\*(\d+\. [^\n]*?)\*\*\s*<details><summary>[^<]*</summary>"
                           r"\s*(.*?)\s*</details>", text)
        if pairs:
            lines = [f"- **{question}** {' '.join(answer.split())}" for question, answer in pairs]
            parts.append(f"### {title}\n\n" + "\n".join(lines))
    return "\n\n".join(parts)


def lines_of_checkers() -> str:
    """The table of common mistakes, with what each checker says to it now."""
    from simclr_tut import checks, losses

    rows = []
    for number, mistake, checker, candidate in MISTAKES:
        if candidate == "losses.effective_rank":
            candidate = losses.effective_rank
        torch.manual_seed(0)
        with contextlib.redirect_stdout(io.StringIO()):
            result = getattr(checks, checker)(candidate)
        if result.passed:
            raise SystemExit(f"{checker} lets pass: {mistake}")
        rows.append(f"| {mistake} | {number} | “{result.message}” | "
                    f"{result.score * result.points:g} of {result.points} |")
    return "\n".join(["| mistake | exercise | line | points |", "|---|---|---|---|", *rows])


PARTS = {"sessions": table_of_sessions, "exercises": table_of_exercises, "answers": answers,
         "mistakes": lines_of_checkers}


def filled(page: str) -> str:
    """The page with each part written anew between its marks."""
    for name, make in PARTS.items():
        begin, end = f"<!-- {name}: made by tools/instructors.py -->", f"<!-- {name}: end -->"
        if page.count(begin) != 1 or page.count(end) != 1:
            raise SystemExit(f"expected the marks {begin} and {end} once each")
        before, rest = page.split(begin)
        page = f"{before}{begin}\n\n{make()}\n\n{end}{rest.split(end)[1]}"
    return page


def main() -> int:
    """Write INSTRUCTORS.md, or compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail if out of date")
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    old = PAGE.read_text(encoding="utf-8")
    new = filled(old)
    if arguments.check:
        print("up to date" if new == old else "out of date: run python tools/instructors.py")
        return int(new != old)
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
