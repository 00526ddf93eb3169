"""Tables of texts, for a terminal and for Markdown."""


def aligned(lines, left):
    """Text table.

    Args:
        lines: lists of texts, the header first, all of one length.
        left: number of leading columns that are words; the others are numbers and end at the right.

    Returns:
        str without a final line break.
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    sides = [str.ljust] * left + [str.rjust] * (len(widths) - left)
    rows = ((side(text, width) for text, side, width in zip(line, sides, widths, strict=True)) for line in lines)
    return "\n".join("  ".join(row).rstrip() for row in rows)


def markdown(lines, left):
    """The same as Markdown."""
    header, *texts = ([text.replace("|", r"\|") for text in line] for line in lines)
    rule = ["---"] * left + ["---:"] * (len(header) - left)
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, rule, *texts])
