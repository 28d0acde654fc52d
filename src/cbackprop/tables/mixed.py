"""Columns of words, and columns of numbers of which some are missing, as inputs that are numbers.

A column of words becomes an input for each of its categories, 1 in the rows that have it. What is
missing there is 0 in all of them. In a column of numbers it becomes NaN, for which whoever trains
puts the mean, and, where the training had some, an input that is 1 in these rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cbackprop.functions import Array
from cbackprop.tables.columns import Column
from cbackprop.tables.numbers import MISSING_CLASSES

Part = Array | Sequence[str]  # of a column: its numbers (n,), or its cells
Names = tuple[str, ...]


def is_missing(word: str) -> bool:
    """Whether a cell of a column of words says that there is none."""
    return not word or not MISSING_CLASSES.isdisjoint((word, word.lower()))


def learnt(name: str, part: Part, may_miss: bool) -> Column:
    """What a column of the examples to train on has, so that others can be read likewise."""
    if isinstance(part, np.ndarray):
        return Column(name, None, may_miss, tells_missing=bool(np.isnan(part).any()))
    words = {word for word in part if not (may_miss and is_missing(word))}
    return Column(name, tuple(sorted(words)), may_miss, fill=0.0)


def encoded(columns: Sequence[Column], parts: Sequence[Part], n: int) -> tuple[Array, Names]:
    """The columns of n rows as X (n, n_0), and the names of X's columns.

    Words are categories, or missing where they may be.
    """
    arrays: list[Array] = []
    for column, part in zip(columns, parts, strict=True):
        if isinstance(part, np.ndarray):
            gaps = np.isnan(part)
            arrays.append(np.where(gaps, column.fill, part) if column.may_miss else part)
            arrays += [gaps] if column.tells_missing else []
            continue
        numbers = {word: k for k, word in enumerate(column.categories or ())}
        ones = np.zeros((len(numbers), n))
        for row, word in enumerate(part):
            if word in numbers:
                ones[numbers[word], row] = 1.0
        arrays += list(ones)
    X = np.empty((n, len(arrays)))
    for k, array in enumerate(arrays):
        X[:, k] = array
    return X, tuple(name for column in columns for name in column.inputs())


def fill_with_means(columns: Sequence[Column], X: Array, *others: Array) -> tuple[Column, ...]:
    """Put the means of X's columns for NaN in X and the others, in place; the columns with them."""
    filled: list[Column] = []
    place = 0
    for column in columns:
        if column.categories is None and column.may_miss:
            there = X[:, place][~np.isnan(X[:, place])]
            mean = float(there.mean()) if len(there) else 0.0
            for array in (X, *others):
                array[np.isnan(array[:, place]), place] = mean
            column = column._replace(fill=mean)
        filled.append(column)
        place += len(column.inputs())
    return tuple(filled)
