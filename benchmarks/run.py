"""``make bench``: every work on both sides in turn, written to results.json and rendered to docs/benchmarks.md."""

import argparse
import json
import platform
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
GOALS: dict[str, tuple[float | None, float | None]] = {
    "dpo-step": (3.5, 0.45), "dpo-step-equal": (2.5, 0.6), "dpo-step-checkpointed": (None, None),
    "grpo-step": (3.5, 0.5), "reward-step": (2.0, None), "score-16": (3.0, None), "matmul-share": (None, None),
}  # fmt: skip
SETTINGS = {
    "dpo-step": "ragged rows, reference computed in each step on both sides, no checkpointing",
    "dpo-step-equal": "equal rows, else as dpo-step",
    "dpo-step-checkpointed": "ragged rows, gradient checkpointing on both sides (TRL's default)",
    "grpo-step": "2 prompts x 8 answers x 48 tokens, KL 0.04, no checkpointing",
    "reward-step": "ragged pairs, no checkpointing",
    "score-16": "16 answers of 50 tokens to one prompt of 300; the peer scores one padded batch",
    "matmul-share": "useful operations of dpo-step against the fastest matmul measured in the same process",
}


def side(work: str, which: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(HERE / "work.py"), work, which], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{work} {which} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def row(work: str) -> dict[str, Any]:
    ours = side(work, "ours")
    base = {"work": work, "ours_s": statistics.median(ours["seconds"]), "ours_peak_mb": round(ours["peak_mb"]),
            "runs": len(ours["seconds"]), "cpu": cpu(), "settings": SETTINGS[work]}  # fmt: skip
    if work == "matmul-share":
        return {**base, "share": ours["share"], "peak_gflops": ours["peak_gflops"]}
    peer = side(work, "peer")
    name = "transformers" if work == "score-16" else "trl"
    peer_s = statistics.median(peer["seconds"])
    return {
        **base, "peer": name, "peer_version": version(name), "peer_s": peer_s, "speed_ratio": peer_s / base["ours_s"],
        "peer_peak_mb": round(peer["peak_mb"]), "memory_ratio": ours["peak_mb"] / peer["peak_mb"],
        "parity": max(abs(a - b) for a, b in zip(ours["logprobs"], peer["logprobs"], strict=True)),
        **({"ours_tokens": ours["tokens"], "peer_tokens": peer["tokens"]} if "tokens" in ours else {}),
    }  # fmt: skip


def cpu() -> str:
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    return f"{model}, {__import__('os').cpu_count()} cores"


def render(rows: list[dict[str, Any]]) -> str:
    """docs/benchmarks.md."""
    lines = [
        "# Benchmarks", "",
        "Made by `make bench` from `benchmarks/results.json`: SmolLM2-135M in float32, both sides in one run on one machine, each in a "
        "process of its own, medians of whole steps. Ratios above 1 in speed and below 1 in memory are in accord's favour. "
        "Parity is the largest difference of a token-mean log-prob (or of a reward). [Notes](benchmark-notes.md) say what stands in the way of the goals that are missed.", "",
        "| work | settings | ours s | peer s | speed | goal | memory | goal | parity |",
        "|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for r in rows:
        speed, memory = GOALS[r["work"]]
        if "share" in r:
            lines.append(
                f"| {r['work']} | {r['settings']} ({r['peak_gflops']:.0f} GFLOP/s) | {r['ours_s']:.2f} | | {r['share']:.0%} of peak | 75 % | | | |"
            )
            continue
        lines.append(
            f"| {r['work']} | {r['settings']}; peer {r['peer']} {r['peer_version']} | {r['ours_s']:.2f} | {r['peer_s']:.2f} | "
            f"{r['speed_ratio']:.2f}x | {f'{speed}x' if speed else ''} | {r['memory_ratio']:.2f} | {memory or ''} | {r['parity']:.1e} |"
        )
    return "\n".join([*lines, "", f"Machine: {rows[0]['cpu']}.", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("works", nargs="*", help="only these; the others keep their last result")
    parser.add_argument("--render", action="store_true", help="only write docs/benchmarks.md again")
    args = parser.parse_args()
    path = HERE / "results.json"
    known = {r["work"]: r for r in json.loads(path.read_text())} if path.is_file() else {}
    for work in [] if args.render else args.works or GOALS:
        known[work] = row(work)
        print(json.dumps({k: v for k, v in known[work].items() if k not in ("cpu", "settings")}), flush=True)
        path.write_text(json.dumps([known[w] for w in GOALS if w in known], indent=1) + "\n")
    (HERE.parent / "docs" / "benchmarks.md").write_text(render([known[w] for w in GOALS if w in known]))


if __name__ == "__main__":
    main()
