"""The one exception for input that the user can put right, and the wording of a near-miss."""

import difflib
from collections.abc import Iterable

MAX_SHOWN = 200
"""Longest value that a message repeats in full, characters."""


def printable(text: str) -> str:
    """Return text as it is, save for what a terminal would act on, which is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class OneLineError(Exception):
    """Its message is one line, also where it repeats a name from a file that somebody else wrote."""

    def __str__(self) -> str:
        """Return the message without line breaks and escape codes."""
        return printable(super().__str__())


class UserError(OneLineError):
    """The user's input breaks a rule. The message is one line: the rule and the value received.

    Command lines print it without a traceback and exit with code 2.
    """


def received(value: object) -> str:
    """Write what was received for a message of one line: quoted, and cut where it is long."""
    text = repr(value)
    if len(text) <= MAX_SHOWN:
        return text
    return f"{text[: MAX_SHOWN - 20]}...{text[-10:]} ({len(text):,} characters)"


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Build the error for a name that is not among `known`, with the nearest name that is."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return UserError(f"unknown {kind} {received(name)}; {hint}known: {', '.join(known)}")
