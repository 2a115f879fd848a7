"""What the tests hold every answer to."""

from __future__ import annotations

from dlcli.assignment.question import Answer, Number


def numbers(answer: Answer) -> dict[str, Number]:
    """Return an answer's numbers by name, after looking at what every answer must have."""
    assert answer.words
    assert answer.commands
    assert all(command.startswith(("dl ", "pytest ")) for command in answer.commands)
    for one in answer.numbers:
        assert "version:dlcli-" in one.signature, one.name
    for figure in answer.figures:
        assert figure.svg.lstrip().startswith("<?xml")
        assert len(figure.alt) > 20
        assert figure.caption
    found = {one.name: one for one in answer.numbers}
    assert len(found) == len(answer.numbers), "two numbers have one name"
    return found


def number(answer: Answer, beginning: str) -> Number:
    """Return the number of this name, or the only one whose name begins so."""
    named = numbers(answer)
    if beginning in named:
        return named[beginning]
    (found,) = (one for name, one in named.items() if name.startswith(beginning))
    return found
