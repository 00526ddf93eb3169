"""What the answers of a study say, beside the paper's: tables with intervals of 95 %."""

import collections
import dataclasses
import itertools

import numpy as np
from scipy import stats

from hou_synth.io import tables
from train.studies import answers, study

CALLED_REAL = {"real": 0.83, "initial": 0.46, "refined": 0.64}  # [paper, Sec. 4.3]
COMPARED = {"a": 83, "b": 46, "alike": 4}  # fields where the paper's method, a, is better, worse, similar [Sec. 5.3]
WORDS = {"a": "A is better", "b": "B is better", "alike": "alike"}
PAPER = "paper"
COLUMNS = ("reader", "item", "tile", "kind", "weight", "answer", "seconds", "at")  # of the exported table
NOTHING = "-"  # what cannot be told


def rows(folder):
    """All answers with what the items are, as dicts of `COLUMNS`.

    Raises:
        ValueError: if there is no study, or an answer is none to it.
    """
    told = study.read(folder)
    return [_row(told, given) for given in answers.every(folder)]


def _row(told, given):
    if not 0 <= given.item < len(told.items) or given.answer not in study.ANSWERS[told.question]:
        raise ValueError(f"Expected answers to this study. Received: {given.answer!r} of item {given.item}.")
    return {**dataclasses.asdict(told.items[given.item]), **dataclasses.asdict(given)}


def text(folder):
    """The result of a study, a text of several tables.

    Raises:
        ValueError: as `rows`.
    """
    told, given = study.read(folder), rows(folder)
    about = ", ".join(f"{name} {value}" for name, value in told.about.items())
    parts = [f"{told.question}: {len(told.items)} items; {about}\n{_aligned(progress(told, given), 1)}"]
    if told.question == study.REALITY:
        kinds = [kind for kind in study.KINDS if any(item.kind == kind for item in told.items)]
        parts.append(f"called real\n{_aligned(reality(given, kinds), 2)}")
        if weighed := weights(given):
            parts.append(f"weights of refined patches\n{_aligned(weighed, 1)}")
    else:
        parts.append(f"whose outlines are better\n{_aligned(comparison(given), 2)}")
        parts.append(f"better against worse, without alike (sign test)\n{_aligned(signs(given), 1)}")
    if agreed := agreement(given, study.ANSWERS[told.question]):
        parts.append(f"agreement of readers\n{_aligned(agreed, 1)}")
    return "\n\n".join(parts)


def progress(told, given):
    """How far each reader has come: list of dicts of texts."""
    return [
        {"reader": reader, "answered": f"{len(own)} of {len(told.items)}", "median seconds": f"{_median(own):.1f}"}
        for reader, own in by_reader(given).items()
    ]


def _median(own):
    return np.median([row["seconds"] for row in own])


def by_reader(given):
    """Reader -> rows, sorted by name."""
    readers = collections.defaultdict(list)
    for row in given:
        readers[row["reader"]].append(row)
    return dict(sorted(readers.items()))


def interval(count, total):
    """Text of Wilson's interval of 95 % of a share, in per cent."""
    low, high = stats.binomtest(count, total).proportion_ci(method="wilson")
    return f"{100 * low:.0f} to {100 * high:.0f} %"


def reality(given, kinds):
    """Shares of patches of each kind that readers call real (paper, Sec. 4.3).

    Args:
        given: what `rows` returns.
        kinds: out of `study.KINDS`.

    Returns:
        List of dicts of texts.
    """
    table = []
    for (reader, own), kind in itertools.product(by_reader(given).items(), kinds):
        said = [row["answer"] == "real" for row in own if row["kind"] == kind]
        known = {"share": f"{100 * np.mean(said):.0f} %", "interval": interval(sum(said), len(said))} if said else {}
        counts = {"called real": f"{sum(said)} of {len(said)}"}
        paper = {PAPER: f"{100 * CALLED_REAL[kind]:.0f} %"}
        table.append(
            {"reader": reader, "patches": kind, **counts, "share": NOTHING, "interval": NOTHING, **known, **paper}
        )
    return table


def weights(given):
    """Weights of refined patches that readers call real against those called synthetic (paper, Fig. 7a).

    Args:
        given: what `rows` returns.

    Returns:
        List of dicts of texts; `higher` is the share of pairs in which the patch called real has the higher weight, p
        that of Mann and Whitney's test, two-sided. Readers who gave one of both answers alone have none.
    """
    table = []
    for reader, own in by_reader(given).items():
        known = [row for row in own if row["weight"] is not None]
        real, fake = (
            [row["weight"] for row in known if row["answer"] == said] for said in study.ANSWERS[study.REALITY]
        )
        if real and fake:
            test = stats.mannwhitneyu(real, fake)
            means = {"called real": f"{np.mean(real):.3f}", "called synthetic": f"{np.mean(fake):.3f}"}
            higher = test.statistic / (len(real) * len(fake))
            table.append({"reader": reader, **means, "higher": f"{100 * higher:.0f} %", "p": f"{test.pvalue:.2g}"})
    return table


def comparison(given):
    """How often the outlines of A, of B or neither are better (paper, Sec. 5.3): list of dicts of texts."""
    table = []
    for reader, own in by_reader(given).items():
        counts = collections.Counter(row["answer"] for row in own)
        for answer, paper in COMPARED.items():
            count, total = counts[answer], len(own)
            known = {"fields": f"{count} of {total}", "share": f"{100 * count / total:.0f} %"}
            expected = f"{paper} of {sum(COMPARED.values())}"
            table.append(
                {"reader": reader, "": WORDS[answer], **known, "interval": interval(count, total), PAPER: expected}
            )
    return table


def signs(given):
    """Sign test of A against B, two-sided, for each reader and the paper's numbers: list of dicts of texts."""
    table = []
    counted = {reader: collections.Counter(row["answer"] for row in own) for reader, own in by_reader(given).items()}
    for reader, counts in {**counted, PAPER: COMPARED}.items():
        better, decided = counts["a"], counts["a"] + counts["b"]
        known = {"interval": NOTHING, "p": NOTHING}
        if decided:
            known = {"interval": interval(better, decided), "p": f"{stats.binomtest(better, decided).pvalue:.2g}"}
        table.append({"reader": reader, "A better": f"{better} of {decided}", **known})
    return table


def agreement(given, choices):
    """Cohen's kappa of each pair of readers on the items that both have answered.

    Args:
        given: what `rows` returns.
        choices: the answers that there are.

    Returns:
        List of dicts of texts. Where both always gave the same one answer, kappa is not defined.
    """
    said = {reader: {row["item"]: row["answer"] for row in own} for reader, own in by_reader(given).items()}
    table = []
    for one, other in itertools.combinations(said, 2):
        common = sorted(said[one].keys() & said[other].keys())
        counts = np.zeros((len(choices), len(choices)), int)
        for item in common:
            counts[choices.index(said[one][item]), choices.index(said[other][item])] += 1
        same = f"{np.trace(counts)} of {len(common)}"
        table.append({"readers": f"{one}, {other}", "same answer": same, **_kappa(counts)})
    return table


def _kappa(counts):
    """Cohen's kappa and its interval of 95 %, as texts."""
    if counts.diagonal().max() == counts.sum():  # none in common, or by chance alone all would be the same
        return {"kappa": NOTHING, "interval": NOTHING}
    try:
        from statsmodels.stats import inter_rater  # here, as it is slow to import and of the extra page
    except ImportError:
        raise ValueError("Expected the extra page: pip install 'hou-synth[page]'. Received: no statsmodels.") from None
    with np.errstate(all="ignore"):  # of its further numbers, which need not be defined
        found = inter_rater.cohens_kappa(counts)
    low, high = (min(max(bound, -1.0), 1.0) for bound in (found.kappa_low, found.kappa_upp))
    return {"kappa": f"{found.kappa:.2f}", "interval": f"{low:.2f} to {high:.2f}"}


def _aligned(table, left):
    if not table:
        return "no answers yet"
    return tables.aligned([list(table[0]), *(list(row.values()) for row in table)], left)
