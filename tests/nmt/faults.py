"""Faults for the alignment code, each of which a test of its module has to notice."""

from __future__ import annotations

from tests.fault import Fault

TESTS = {
    "alignment": ("test_alignment.py",),
    "aligner": ("test_aligner.py",),
    "attention": ("test_attention.py",),
    "networks": ("test_networks.py",),
}
"""Module → the files of tests that have to notice a fault in it."""

FAULTS: tuple[Fault, ...] = (
    Fault("alignment", "int(match[1]) - index, int", "int(match[3]) - index, int"),
    Fault("alignment", 'if match[2] == "-":', 'if match[2] == "p":'),
    Fault("alignment", "if min(link) < 0:", "if max(link) < 0:"),
    Fault("alignment", 'f"{source}-{target}"', 'f"{target}-{source}"'),
    Fault("alignment", "and j < target", "and j <= target"),
    Fault(
        "alignment",
        "frozenset((target, source) for source",
        "frozenset((source, target) for source",
    ),
    Fault("alignment", "if mass > 0)", "if mass >= 0)"),
    Fault("alignment", "aer=1 - (in_sure + in_possible)", "aer=1 - (in_sure + in_sure)"),
    Fault("alignment", "precision=in_possible / links", "precision=in_sure / links"),
    Fault("alignment", "if links + sure else 0.0", "if links + sure else 1.0"),
    Fault("alignment", "        return forward & backward", "        return forward | backward"),
    Fault(
        "alignment",
        "if i not in sources and j not in targets",
        "if i not in sources or j not in targets",
    ),
    Fault("alignment", "(i in sources and j in targets)", "(i in sources or j in targets)"),
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
    Fault("aligner", "(per_token.T / pieces[:, None])", "per_token.T"),
    Fault("aligner", "found[:, distinct].sum(", "found.sum("),
    Fault("aligner", "found.rows[shift : T + shift, :-1]", "found.rows[:T, :-1]"),
    Fault(
        "aligner", "zip(order[start:stop].tolist(), matrices", "zip(range(start, stop), matrices"
    ),
    Fault("aligner", "for text, _ in pairs]", "for _, text in pairs]"),
    Fault("aligner", ", : len(source[place]) + 1]", "]"),
    Fault("attention", "row[min(before, len(words) - 1)] = 1", "row[0] = 1"),
    Fault("attention", " / weights.sum(dim=1, keepdim=True)", ""),
    Fault("attention", "shares[-1, -1] = 1.0", "shares[-1, -1] = 0.0"),
    Fault("attention", ".end <= piece.start", ".end < piece.start - 1"),
    Fault("attention", "torch.minimum(ends", "torch.maximum(ends"),
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
