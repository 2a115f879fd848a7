"""Drafts: words become sentences."""

from __future__ import annotations

from dlcli.data.grammar.draft import Draft
from dlcli.data.grammar.names import fixed


def test_a_sentence_is_written_with_its_links() -> None:
    draft = Draft()
    draft.both(fixed("in Portugal | à:0 *le:1 Portugal:1"))
    draft.dire(",", draft.say(","))
    article, noun = draft.say("a"), draft.say("agreement")
    draft.dire("un", article)
    draft.dire("accord", noun)
    draft.dire(".", draft.say("."))
    example = draft.finish()
    assert example.source == "In Portugal, an agreement."
    assert example.target == "Au Portugal, un accord."
    assert example.links == "0-0 1-1 2-2 3-3 4-4 5-5"
    assert example.lengths == (6, 6)


def test_an_accent_stays_on_a_capital_and_nothing_follows_an_apostrophe() -> None:
    draft = Draft()
    draft.both(fixed("at Ghent | à:0 Gand:1"))
    draft.both(fixed("the army | la:0 armée:1"))
    assert draft.finish().target == "À Gand l'armée"
