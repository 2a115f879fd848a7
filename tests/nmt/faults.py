"""Faults for the alignment code, each of which a test of its module has to notice."""

from __future__ import annotations

from tests.fault import Fault

TESTS = {
    "alignment": ("test_alignment.py",),
    "attending": ("test_attending.py",),
    "networks": ("test_networks.py",),
}
"""Module → the files of tests that have to notice a fault in it."""

FAULTS: tuple[Fault, ...] = (
    Fault("alignment", "int(match[1]) - index, int", "int(match[3]) - index, int"),
    Fault("alignment", 'if match[2] == "-":', 'if match[2] == "p":'),
    Fault("alignment", "if min(link) < 0:", "if max(link) < 0:"),
    Fault(
        "alignment", 'f"{source + index}-{target + index}"', 'f"{target + index}-{source + index}"'
    ),
    Fault("alignment", "0 <= j < target", "0 <= j <= target"),
    Fault(
        "alignment",
        "frozenset((target, source) for source",
        "frozenset((source, target) for source",
    ),
    Fault("alignment", "if mass > 0)", "if mass >= 0)"),
    Fault("alignment", "matrix[shift : T + shift]", "matrix[:T]"),
    Fault("alignment", "aer=1 - (in_sure + in_possible)", "aer=1 - (in_sure + in_sure)"),
    Fault("alignment", "precision=in_possible / links", "precision=in_sure / links"),
    Fault("alignment", "if links + sure else 0.0", "if links + sure else 1.0"),
    Fault("alignment", "possible=possible | sure", "possible=possible & sure"),
    Fault("alignment", "        return forward & backward", "        return forward | backward"),
    Fault(
        "alignment",
        "if i not in sources and j not in targets",
        "if i not in sources or j not in targets",
    ),
    Fault(
        "alignment",
        "new[0] in sources and new[1] in targets",
        "new[0] in sources or new[1] in targets",
    ),
    Fault("alignment", ", (-1, -1), (-1, 1), (1, -1), (1, 1))", ")"),
    Fault("alignment", "(forward + backward.T) / 2", "forward + backward.T"),
    Fault("alignment", "else forward * backward.T", "else forward * forward"),
    Fault("alignment", "for side in (forward, backward):", "for side in (forward,):"),
    Fault("alignment", "other = swapped(token", "other = frozenset(token"),
    Fault("alignment", "descending=True", "descending=False"),
    Fault("alignment", "if float(row[place]) > 0)", "if float(row[place]) >= 0)"),
    Fault("alignment", "return found + found[-1:] * (count - len(found))", "return found"),
    Fault("alignment", "source[rank * k // m]", "source[0]"),
    Fault(
        "alignment",
        "return [(token, target[0]) for token in source]",
        "return [(source[0], target[0])]",
    ),
    Fault("alignment", "(per_token.T / pieces[:, None])", "per_token.T"),
    Fault("alignment", "overlaps[:, distinct].sum(dim=1) if", "overlaps.sum(dim=1) if"),
    Fault(
        "alignment",
        "shifted_rows(found.rows, shift=shift)",
        "shifted_rows(found.rows, shift=0)",
    ),
    Fault("attending", "            row[first] = 1", "            row[0] = 1"),
    Fault("attending", "matrix.double() / weights.sum(dim=1, keepdim=True)", "matrix.double()"),
    Fault("attending", "= shares, 1.0", "= shares, 0.0"),
    Fault("attending", ".end <= piece.start", ".end < piece.start - 1"),
    Fault(
        "alignment",
        "zip(order[start:stop].tolist(), matrices",
        "zip(range(start, stop), matrices",
    ),
    Fault("alignment", "for text, _ in pairs]", "for _, text in pairs]"),
    Fault("alignment", ", : len(source[place]) + 1]", "]"),
    Fault("networks", ".float().log() + likelihood", ".float() + likelihood"),
    Fault("networks", "chosen - scores.logsumexp(dim=2)", "chosen"),
    Fault("networks", "+ likelihood, dim=1)", "+ likelihood, dim=0)"),
    Fault(
        "networks",
        "[read.hidden[b, :t], read.embedded[b, :t]]",
        "[read.embedded[b, :t], read.hidden[b, :t]]",
    ),
    Fault("networks", "by_state, linear.bias)", "by_state)"),
)
