"""Which tiles are taken: every tissue type by the root of its number of tiles, or every tile."""

import collections

import numpy as np


def by_type(items):
    """Lists of the items of each type, in the order of the types' names."""
    groups = collections.defaultdict(list)
    for item in items:
        groups[item.type].append(item)
    return [groups[name] for name in sorted(groups)]


def drawn(random, groups, count):
    """Items drawn with replacement: a group by the root of its size, and each item of it alike.

    So a group of many does not crowd out the others, and a group of few is not repeated all the time.

    Args:
        random: `numpy.random.Generator`.
        groups: list of lists; of one alone, items are drawn as if there were no groups.
        count: of the items.

    Returns:
        List.
    """
    if len(groups) == 1:
        return [groups[0][number] for number in random.integers(len(groups[0]), size=count)]
    shares = np.sqrt([len(group) for group in groups])
    chosen = [groups[number] for number in random.choice(len(groups), size=count, p=shares / shares.sum())]
    return [group[number] for group, number in zip(chosen, random.integers([len(g) for g in chosen]), strict=True)]


def in_turn(order, items):
    """An order of items in which their types take turns as long as each has some.

    Args:
        order: (n,) numbers of items.
        items: what has a `type`.

    Returns:
        (n,) the same numbers; the items of each type stay in their order.
    """
    seen, turns = collections.Counter(), []
    for number in order:
        turns.append(seen[items[number].type])
        seen[items[number].type] += 1
    return np.asarray(order)[np.argsort(turns, kind="stable")]
