"""Reads a corpus of layouts in Python and as the editor does, and tells where the two differ.

`python scripts/layout_agreement.py --count 20000` prints how many texts ended in what, and every difference;
the exit code is 1 if there is one. A few hundred are read in the unit tests.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from layout_corpus import disagreements


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="how many texts (20000)")
    parser.add_argument("--seed", type=int, default=1, help="which corpus (1)")
    arguments = parser.parse_args()
    start = time.monotonic()
    found, endings = disagreements(arguments.count, arguments.seed)
    for name, count in sorted(endings.items(), key=lambda pair: -pair[1]):
        print(f"{count:7} {name}")
    print(f"{len(found)} differences in {arguments.count} texts, {time.monotonic() - start:.0f} s")
    for entry in found:
        print(f"{entry['difference']}\n  {entry['text']!r}\n  {entry['python']}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
