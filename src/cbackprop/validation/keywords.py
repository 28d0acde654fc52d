"""Keyword arguments that a call, and attributes that a network, does not take: what is meant."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any, TypeVar, cast

Call = TypeVar("Call", bound=Callable[..., Any])

_calls: dict[str, Callable[..., Any]] = {}  # by the names that messages give them


def names_keywords(call: Call) -> Call:
    """The call, whose TypeError for an unknown keyword argument says what may be meant by it."""
    name = call.__qualname__.removesuffix(".__init__")
    _calls[name] = call

    @wraps(call)
    def named(*arguments: Any, **keywords: Any) -> Any:
        try:
            return call(*arguments, **keywords)
        except TypeError as error:
            # Of the call itself, which has then not begun.
            if error.__traceback__ is None or error.__traceback__.tb_next is not None:
                raise
            unknown = [word for word in keywords if word not in _parameters(call)]
            if not unknown:
                raise
            raise TypeError(
                f"{name}() got an unexpected keyword argument {unknown[0]!r}"
                f"{_meaning(unknown[0], name)}"
            ) from None

    return cast("Call", named)


def own_attribute(name: str, assignable: Iterable[str]) -> None:
    """Of one that a network does not have: refuse an option's name, or a slip in an assignable one.

    Any other is the user's own, also where it is like a method's or another library's word.
    """
    from difflib import get_close_matches  # for attributes of the user's alone

    # What models and optimisers of Keras and PyTorch have to assign, and we by another name.
    option = {"lr": "learning_rate", "loss": "cost"}.get(name, name)
    # Without X and Y: who keeps those with the network changes nothing by it.
    takes = [call for call in _calls if option in _parameters(_calls[call], options=True)]
    if takes:
        # The network's own calls before those of optimisers.
        call = min(takes, key=lambda call: not call.startswith("Network"))
        raise AttributeError(
            f"a Network has no attribute {name!r}: {option} is an argument of {call}()"
        )
    # More than the whole word is another one: parameters_before, my_metadata.
    words = [word for word in assignable if word not in name]
    near = get_close_matches(name, words, 1, 0.85)
    if near:
        raise AttributeError(f"a Network has no attribute {name!r}; did you mean {near[0]!r}?")


def _parameters(call: Callable[..., Any], *, options: bool = False) -> list[str]:
    """The names of all arguments, or of those that need not be given."""
    return [
        name
        for name, parameter in inspect.signature(call).parameters.items()
        if name != "self"
        # Y, too, which fit can be without.
        and not (options and (parameter.default is parameter.empty or name == "Y"))
    ]


def _meaning(word: str, name: str) -> str:
    found, elsewhere = meaning(word, _parameters(_calls[name]))
    if elsewhere is not None:
        return f"; {found} is an argument of {elsewhere}()"
    return f"; did you mean {found!r}?" if found else ""


def meaning(word: str, own: Sequence[str]) -> tuple[str | None, str | None]:
    """What a word means that is none of a call's own, and the other call that takes it, if any."""
    from cbackprop.validation import words

    found = words.same(word, own)
    if found is None:
        # The network's own calls before those of optimisers.
        for other in sorted(_calls, key=lambda other: not other.startswith("Network")):
            elsewhere = words.same(word, _parameters(_calls[other]))
            if elsewhere is not None:
                return elsewhere, other
        found = words.meant(word, own)
    return found, None
