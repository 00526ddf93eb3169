"""Pictures for a report: plates of patches with captions, histograms, curves, and the page that holds them."""

import base64
import dataclasses
import html
import io

import cv2
import matplotlib.figure
import numpy as np

DPI = 100
GAP, LINE = 6, 16  # pixels between pictures, and of a line of text
SHOWN = 128  # smaller patches are enlarged to this or more
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # told apart by the colour-blind [Okabe and Ito 2008]
INK = "#333333"

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 60em; margin: 2em auto;
  padding: 0 1em; }}
h1, h2 {{ font-weight: 600; line-height: 1.2; }}
h2 {{ margin-top: 2.5em; }}
img {{ max-width: 100%; height: auto; }}
figure {{ margin: 0; }}
figcaption {{ color: #444; max-width: 45em; }}
th {{ text-align: left; font-weight: 400; color: #666; padding-right: 2em; vertical-align: top; }}
</style>
</head>
<body>
<h1>{title}</h1>
<table>
{facts}
</table>
{sections}
</body>
</html>
"""


@dataclasses.dataclass(frozen=True)
class Section:
    """A picture of a page.

    Attributes:
        name: of its file, without ending.
        title: heading.
        caption: what it shows, and what the paper's figure does.
        png: the picture's bytes.
    """

    name: str
    title: str
    caption: str
    png: bytes


def enlarged(patch, shown=SHOWN):
    """A patch or label map enlarged by a whole number, to `shown` pixels or more; labels keep their values."""
    scale = -(-shown // patch.shape[1])
    kind = cv2.INTER_CUBIC if patch.ndim == 3 else cv2.INTER_NEAREST
    return cv2.resize(patch, None, fx=scale, fy=scale, interpolation=kind)


def outlined(patch, labels, colour=(255, 255, 0), shown=SHOWN):
    """An enlarged patch with a thin line around each nucleus.

    Args:
        patch: (s, s, 3) uint8 RGB.
        labels: (s, s) uint16 instance labels.
        colour: of the line, RGB.
        shown: as for `enlarged`.

    Returns:
        (t, t, 3) uint8.
    """
    image, large = enlarged(patch, shown).copy(), enlarged(labels, shown)
    square = np.ones((3, 3), np.uint8)
    image[(large > 0) & (cv2.erode(large, square) != large)] = colour
    return image


def plate(rows, captions=None, left=None, top=None):
    """PNG of pictures in rows and columns, at their own pixels.

    Args:
        rows: list of lists of (t, t, 3) uint8 pictures of one size, or None for a gap.
        captions: list of lists of texts below the pictures.
        left: titles of the rows.
        top: titles of the columns.

    Returns:
        bytes.
    """
    side = next(picture.shape[0] for row in rows for picture in row if picture is not None)
    line, margin = LINE if captions else 0, 10 + max((7 * len(text) for text in left or []), default=0)
    step, high = side + GAP, side + GAP + line
    head, count = LINE + GAP if top else GAP, max(map(len, rows))
    canvas = np.full((head + high * len(rows), margin + step * count + GAP, 3), 255, np.uint8)
    figure, axes = _canvas(canvas.shape)
    for number, title in enumerate(top or []):
        axes.text(margin + step * number + side / 2, head - GAP, title, ha="center", va="bottom", **_font(9))
    for r, row in enumerate(rows):
        y = head + high * r
        if left:
            axes.text(margin - GAP, y + side / 2, left[r], ha="right", va="center", **_font(9))
        for c, picture in enumerate(row):
            x = margin + step * c
            if picture is not None:
                canvas[y : y + side, x : x + side] = picture
            if captions:
                axes.text(x + side / 2, y + side + 2, captions[r][c], ha="center", va="top", **_font(8))
    axes.imshow(canvas, interpolation="nearest", aspect="auto")
    return png(figure)


def _canvas(shape):
    """A figure whose only axes are in pixels of a picture of that shape."""
    figure = matplotlib.figure.Figure(figsize=(shape[1] / DPI, shape[0] / DPI), dpi=DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    return figure, axes


def _font(size):
    return {"fontsize": size, "color": INK}


def histogram(series, label):
    """PNG of the distributions of several samples, as shares, on common bins.

    Args:
        series: dict of name -> (n,) values.
        label: of the values.

    Returns:
        bytes.
    """
    figure = matplotlib.figure.Figure(figsize=(7, 3.2), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    everything = np.concatenate(list(series.values()))
    low, high = float(everything.min()), float(np.percentile(everything, 99))
    bins = np.linspace(low, max(high, low + 0.1), 25)
    for (name, values), colour in zip(series.items(), COLOURS, strict=False):
        shares = np.full(len(values), 1 / len(values))
        text = f"{name}: mean {values.mean():.2f}"
        shown = np.clip(values, bins[0], bins[-1])
        axes.hist(shown, bins, weights=shares, histtype="stepfilled", alpha=0.15, color=colour)
        axes.hist(shown, bins, weights=shares, histtype="step", lw=1.8, color=colour, label=text)
    axes.set(xlabel=label, ylabel="share of the patches")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, loc="outside upper center", ncols=2)
    return png(figure)


def agreement(bins):
    """PNG of observed against predicted probabilities, with intervals of 95 % and the number of patches.

    Args:
        bins: list of `train.judging.reliability.Bin`.

    Returns:
        bytes.
    """
    figure = matplotlib.figure.Figure(figsize=(4.2, 3.8), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#cccccc", lw=1)
    predicted, observed, count = (
        np.array([getattr(b, name) for b in bins]) for name in ("predicted", "observed", "count")
    )
    middle = (observed + 1.92 / count) / (1 + 3.84 / count)  # Wilson's interval
    half = 1.96 * np.sqrt(observed * (1 - observed) / count + 0.96 / count**2) / (1 + 3.84 / count)
    axes.vlines(predicted, middle - half, middle + half, color=COLOURS[0], lw=1.2)
    axes.plot(predicted, observed, "o", color=COLOURS[0], ms=4)
    for place in zip(predicted, observed, count, strict=True):
        axes.annotate(f"{place[2]}", place[:2], (4, 4), textcoords="offset points", **_font(7))
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="predicted probability of being real", ylabel="share of real patches")
    axes.spines[["top", "right"]].set_visible(False)
    return png(figure)


def curves(drawn, ends):
    """PNG of the values of a run, a panel for each, with a line where a phase ends.

    Args:
        drawn: dict of title -> list of parts, one for each phase with values: (n,) numbers of updates that the
            run had done, and (n,) values.
        ends: dict of phase -> number of updates at its end.

    Returns:
        bytes.
    """
    high = -(-len(drawn) // 2)
    figure = matplotlib.figure.Figure(figsize=(9.5, 0.6 + 1.7 * high), dpi=DPI, layout="constrained")
    grid = figure.subplots(high, 2, sharex=True, squeeze=False)
    for (title, parts), axes in zip(drawn.items(), grid.flat, strict=False):
        for updates, values in parts:
            axes.plot(updates, values, color=COLOURS[0], alpha=0.25, lw=0.7)
            axes.plot(updates, smoothed(values), color=COLOURS[0], marker="." if len(values) == 1 else None)
        for end in ends.values():
            axes.axvline(end, color="#cccccc", lw=0.8, zorder=0)
        axes.set_title(title, loc="left", **_font(9))
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid.flat[len(drawn) :]:
        axes.set_axis_off()
    figure.supxlabel("updates of any network", **_font(9))
    return png(figure)


def smoothed(values):
    """Moving average over about an eighth of the values; fewer at both ends."""
    half = len(values) // 16
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    low, high = np.maximum(places - half, 0), np.minimum(places + half + 1, len(values))
    return (sums[high] - sums[low]) / (high - low)


def png(figure):
    """Bytes of a figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def page(title, facts, sections):
    """A web page that needs no other file.

    Args:
        title: heading.
        facts: dict of name -> text, a line each.
        sections: list of `Section`.

    Returns:
        HTML.
    """
    lines = [f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>" for name, text in facts.items()]
    return PAGE.format(title=html.escape(title), facts="\n".join(lines), sections="\n".join(map(_section, sections)))


def _section(section):
    data = base64.b64encode(section.png).decode()
    title, caption = html.escape(section.title), html.escape(section.caption)
    image = f'<img src="data:image/png;base64,{data}" alt="{title}">'
    return f"<h2>{title}</h2>\n<figure>{image}\n<figcaption>{caption}</figcaption></figure>"
