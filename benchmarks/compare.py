"""Is a newer measurement slower than an older one? `python benchmarks/compare.py OLD.json NEW.json`

Both files are from `speed.py --out`. What is compared are our ratios to the peer measured beside us in the same run,
so the two may come from different days and machines of one kind. Exits with 1 where a ratio fell by more than the
tolerance (shared machines vary by 10 to 20% between processes), with 2 where no ratio stands in both files.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from speed import ratios, read


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--tolerance", type=float, default=0.15, help="part of the old ratio that may be lost")
    arguments = parser.parse_args()
    old, new = read(arguments.old), read(arguments.new)
    if old["machine"]["cpu"] != new["machine"]["cpu"] or old["machine"]["cores"] != new["machine"]["cores"]:
        print("different machines: ratios may differ for that alone", file=sys.stderr)
    before, after = ratios(old["runs"]), ratios(new["runs"])
    both = [task for task in before if task in after]
    for task in sorted(before.keys() ^ after.keys()):
        print(f"{task}: only in {arguments.old if task in before else arguments.new}", file=sys.stderr)
    if not both:
        print("no ratio to a peer stands in both files", file=sys.stderr)
        return 2
    print("| task | ratio before | ratio now | change |")
    print("|---|---|---|---|")
    slower = []
    for task in both:
        change = after[task] / before[task] - 1.0
        print(f"| {task} | {before[task]:.2f} | {after[task]:.2f} | {100.0 * change:+.0f}% |")
        if change < -arguments.tolerance:
            slower.append(task)
    if slower:
        print(f"slower by more than {100.0 * arguments.tolerance:.0f}%: {', '.join(slower)}", file=sys.stderr)
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
