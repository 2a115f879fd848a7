"""The exceptions a user can cause, each with the exit code it ends the program with.

Every message is one sentence saying what was wrong, naming the file, key or flag; every hint is one
sentence saying what to do about it. The command line turns them into exit codes in one place.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class DlError(Exception):
    """A failure with a message for the user, a way out, and an exit code.

    Args:
        message: one sentence that says what was wrong.
        hint: one sentence that says what to do, or an empty string.
    """

    exit_code = 1
    kind = "run"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class RunFailed(DlError):
    """The work was started and could not be finished (exit code 1)."""


class DataError(DlError):
    """A data set cannot be had, is damaged or not what its name promises (exit code 1)."""

    kind = "data"


class CheckpointError(DlError):
    """A checkpoint is damaged, foreign, from a newer version or of another model (exit code 1)."""

    kind = "checkpoint"


class UsageFault(DlError):
    """The command line asks for something impossible (exit code 2)."""

    exit_code = 2
    kind = "usage"


class ConfigError(DlError):
    """A configuration file or value, or the name or path of a data set, is wrong (exit code 2)."""

    exit_code = 2
    kind = "config"


class CheckFailed(DlError):
    """A check that was asked for did not hold (exit code 3)."""

    exit_code = 3
    kind = "check"


class Interrupted(DlError):
    """The user or the system asked to stop; what there was has been saved (exit code 130)."""

    exit_code = 130
    kind = "interrupted"


RULES = {
    r"greater than or equal to (\S+)": r"at least \1",
    r"less than or equal to (\S+)": r"at most \1",
    r"greater than (\S+)": r"more than \1",
    r"less than (\S+)": r"less than \1",
    r"a valid integer.*": "a whole number",
    r"a valid number.*": "a number",
    r"a finite number": "a finite number",
    r"a valid boolean.*": "true or false",
    r"a valid string": "text",
    r"a valid (array|list|tuple)": "a list",
}
"""What pydantic says that an input should be → the same in plain words."""


def in_words(rule: str) -> str:
    """Say in plain words which of pydantic's rules a value breaks."""
    for theirs, ours in RULES.items():
        rule, changed = re.subn(f"Input should be {theirs}", f"it must be {ours}", rule)
        if changed:
            break
    return rule


def plural(number: int, thing: str) -> str:
    """Write a number of things: "1 file", "2,000 files"."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return "did you mean 'x'?" for the choice closest to `word`, or an empty string."""
    matches = difflib.get_close_matches(str(word), list(choices), n=1, cutoff=0.5)
    return f"did you mean '{matches[0]}'?" if matches else ""
