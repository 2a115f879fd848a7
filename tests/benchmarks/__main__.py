"""Speed beside other programs, in one table.

python -m tests.benchmarks                        # the names of the benchmarks
python -m tests.benchmarks vae nmt-train          # some of them
python -m tests.benchmarks all --form avx2        # all, as on a processor without AVX-512

It installs nothing: a peer that is not there is skipped, with a word on how to get it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.benchmarks.table import Comparison, Options

    Benchmark = Callable[[Options], Iterator[Comparison]]

FORMS = {
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "DL_SIMD": "avx2",
    },
    "avx512": {
        "ATEN_CPU_CAPABILITY": "avx512",
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI",
        "MKL_ENABLE_INSTRUCTIONS": "AVX512",
        "DL_SIMD": "avx512",
    },
}
"""What keeps torch, its libraries and the compiled code to a part of the processor's features."""
JOEYNMT = Path(__file__).parents[3] / "joey/bin/python"


def main(words: Sequence[str] | None = None) -> None:
    """Read the command line, run what it names and print the table."""
    args = parser().parse_args(words)
    os.environ.update(FORMS.get(args.form, {}))  # read when torch is imported, and by all programs
    if args.threads:
        os.environ["OMP_NUM_THREADS"] = str(args.threads)
    known = benchmarks()
    if not args.names:
        for name, benchmark in known.items():
            print(f"{name:15s} {(benchmark.__doc__ or '').splitlines()[0]}")
        return
    chosen = {name: benchmark for name, benchmark in known.items() if named(name, args.names)}
    if not chosen:
        sys.exit(f"There is no benchmark {' '.join(args.names)}. There are: {', '.join(known)}.")
    with TemporaryDirectory() as name:
        folder = (args.folder or Path(name)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        run(chosen, args=args, folder=folder)


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    made = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    place = os.environ.get("DL_JOEYNMT", JOEYNMT)
    add = made.add_argument
    add("names", nargs="*", help="benchmarks, or how their names begin; all")
    add("--form", choices=FORMS, help="keep both sides to these instructions")
    add("--threads", type=int, help="OMP_NUM_THREADS of both sides (one a core)")
    add("--runs", type=int, default=5, help="counted rounds, in which the sides take turns (5)")
    add("--json", type=Path, metavar="FILE", help="keep everything that was found")
    add("--folder", type=Path, help="keep trained translators here for the next time")
    add("--joeynmt", type=Path, metavar="PYTHON", default=place, help="$DL_JOEYNMT, or %(default)s")
    add("--quick", action="store_true", help="try everything in the smallest size; no real data")
    return made


def benchmarks() -> dict[str, Benchmark]:
    """Return all benchmarks by name."""
    from tests.benchmarks import busy, nmt, startup, vae

    return vae.BENCHMARKS | nmt.BENCHMARKS | startup.BENCHMARKS | busy.BENCHMARKS


def named(name: str, chosen: Sequence[str]) -> bool:
    """Say whether `vae-mlp` was chosen, as `vae-mlp`, `vae` or `all`."""
    return any(one in ("all", name) or name.startswith(f"{one}-") for one in chosen)


def run(chosen: dict[str, Benchmark], *, args: argparse.Namespace, folder: Path) -> None:
    """Run benchmarks and print their rows as they come."""
    from dlcli.errors import DataError
    from tests.benchmarks.table import COLUMNS, Options, line, machine, measure, report

    options = Options(
        folder=folder,
        runs=1 if args.quick else args.runs,
        quick=args.quick,
        joeynmt=args.joeynmt.absolute(),
    )
    rows, missing = [], []
    print(machine(), "", line(COLUMNS), line(["---"] * len(COLUMNS)), sep="\n", flush=True)
    for name, benchmark in chosen.items():
        try:
            for comparison in benchmark(options):
                missing += [f"{comparison.work}: {comparison.missing}"] * bool(comparison.missing)
                for row in measure(comparison, runs=options.runs):
                    rows.append(row)
                    print(line(row.cells()), flush=True)
        except DataError as error:
            missing.append(f"{name}: {error.message} {error.hint}")
    print(*missing, sep="\n")
    if args.json:
        found = report(options, rows=rows, missing=missing)
        args.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
