"""A million comparisons through voting curation: the rate, and that memory does not grow with them.

    python benchmarks/curation.py [--rows 1000000] [--workers 0]

Writes benchmarks/curation.json: a tenth of the comparisons and all of them, each in a process of its own.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from run import cpu

OUT = Path(__file__).with_name("curation.json")
VOTERS, FLIP = 10, 0.1
GOOD, BAD = ("surely", "because", "first", "indeed", "exactly"), ("maybe", "whatever", "dunno", "stuff", "nope")


def write(path: Path, rows: int) -> None:
    """Comparisons of about forty words an answer, a fifth of them labelled wrongly and one in fifty twice there."""
    words = [f"word{i}" for i in range(3000)]
    with path.open("w") as file:
        for i in range(rows):
            random = Random(i - 1 if i % 50 == 49 else i)
            sides = [" ".join([*random.choices(words, k=30), *random.choices(kind, k=10)]) for kind in (GOOD, BAD)]
            chosen, rejected = sides[::-1] if random.random() < 0.2 else sides
            row = {"prompt": " ".join(random.choices(words, k=12)), "chosen": chosen, "rejected": rejected}
            file.write(json.dumps(row) + "\n")


def curated(folder: Path, rows: int, workers: int) -> dict[str, float]:
    data, out = folder / f"{rows}.jsonl", folder / f"{rows}-curated.jsonl"
    write(data, rows)
    call = [
        "curate",
        "--data",
        data,
        "--out",
        out,
        "--voters",
        '["encoder:words"]',
        "--heads",
        VOTERS,
        "--flip",
        FLIP,
        "--workers",
        workers,
    ]
    started, before = time.perf_counter(), used()
    done = subprocess.run(
        [sys.executable, "-m", "accord", *map(str, call)], capture_output=True, text=True, check=False
    )
    seconds, worked = time.perf_counter() - started, used() - before
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    account = json.loads(done.stdout)
    assert sum(n for some in account.values() for n in some.values()) == rows, "every comparison has its note"
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024  # of the largest child so far: sizes go up
    return {
        "rows": rows,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(worked, 1),
        "rows_per_cpu_second": round(rows / worked),
        "peak_mb": round(peak),
    }


def used() -> float:
    """Seconds of a processor that finished children took: they don't change with what else the machine does."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sizes = [curated(Path(folder), n, given.workers) for n in (given.rows // 10, given.rows)]
    found = {
        "voters": VOTERS,
        "features": "words",
        "workers": given.workers,
        "cpu": cpu(),
        "sizes": sizes,
    }
    if given.rows >= 1_000_000:
        OUT.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
