"""``make bench``: every work on both sides in turn, written to results.json and rendered to docs/benchmarks.md."""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PEER = Path(os.environ.get("ACCORD_PEER", HERE.parent / ".venv-peer" / "bin" / "python"))
"""A Python with TRL 0.23.1, the last that trains diffusion models; `make bench` builds it."""
GOALS: dict[str, tuple[float | None, float | None]] = {
    "dpo-step": (3.5, 0.45), "dpo-step-equal": (2.5, 0.6), "dpo-step-checkpointed": (None, None),
    "grpo-step": (3.5, 0.5), "reward-step": (2.0, None), "score-16": (3.0, None), "matmul-share": (None, None),
    "reward-backprop-step": (1.5, 0.6), "ddpo-step": (1.5, 0.6), "ddpo-step-parts": (None, None), "diffusion-dpo-step": (None, None),
    "backprop-memory": (None, None), "world-speed": (None, None),
}  # fmt: skip
PICTURES = ("reward-backprop-step", "ddpo-step", "ddpo-step-parts", "diffusion-dpo-step")
WORLD = {
    "unet": ("16 pictures through the U-Net, forward and backward", 0.1), "decoder": ("16 pictures through the decoder, forward and backward", 0.13),
    "sample": ("32 pictures of 20 steps with guidance", 5.0),
}  # fmt: skip
"""Parts of the portraits world, and in how many seconds each should be done."""
MEMORY = ("1", "2", "5", "10", "20", "plain")
SETTINGS = {
    "dpo-step": "ragged rows, reference computed in each step on both sides, no checkpointing",
    "dpo-step-equal": "equal rows, else as dpo-step",
    "dpo-step-checkpointed": "ragged rows, gradient checkpointing on both sides (TRL's default)",
    "grpo-step": "2 prompts x 8 answers x 48 tokens, KL 0.04, no checkpointing",
    "reward-step": "ragged pairs, no checkpointing",
    "score-16": "16 answers of 50 tokens to one prompt of 300; the peer scores one padded batch",
    "reward-backprop-step": "AlignProp through the last 10 of 20 steps, 32 pictures, guidance, LoRA of rank 4, activations made again on both sides",
    "ddpo-step": "32 pictures, 20 steps, guidance, LoRA of rank 4, one epoch, the whole batch at once",
    "ddpo-step-parts": "as ddpo-step, 16 pictures at a time on both sides",
    "diffusion-dpo-step": "32 pairs of latents against the loss of diffusers' research script; LoRA of rank 4",
    "backprop-memory": "reward backprop through the last k of 20 steps, 16 pictures, against plain autograd over all",
    "world-speed": "parts of the portraits world",
    "matmul-share": "useful operations of dpo-step against the fastest matmul measured in the same process",
}


def side(work: str, which: str, folder: str | None = None) -> dict[str, Any]:
    """One side in a process of its own; works on pictures get the pipeline's folder, and their peer a Python of its own."""
    script, more = ("pictures.py", [folder]) if folder else ("work.py", [])
    python = str(PEER) if folder and which == "peer" else sys.executable
    done = subprocess.run([python, str(HERE / script), work, which, *more], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{work} {which} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def picture_row(work: str, folder: str) -> dict[str, Any]:
    if work == "world-speed":
        return {"work": work, "parts": side(work, "ours", folder)["parts"], "cpu": cpu(), "settings": SETTINGS[work]}
    if work == "backprop-memory":
        found = {k: side(work, k, folder) for k in MEMORY}
        grown = {
            k: {"s": statistics.median(f["seconds"]), "mb": round(f["peak_mb"] - f["before_mb"])}
            for k, f in found.items()
        }
        return {"work": work, "k": grown, "cpu": cpu(), "settings": SETTINGS[work]}
    if not PEER.is_file():
        raise SystemExit(f"{PEER} is missing: run `make bench`, or give a Python with TRL 0.23.1 as ACCORD_PEER")
    ours, peer = (side(work, which, folder) for which in ("ours", "peer"))
    name = "diffusers" if work == "diffusion-dpo-step" else "trl"
    return {"work": work, **against(ours, peer), "runs": len(ours["seconds"]), "cpu": cpu(), "settings": SETTINGS[work],
            "peer": name, "peer_version": peer["versions"][name]}  # fmt: skip


def against(ours: dict[str, Any], peer: dict[str, Any]) -> dict[str, Any]:
    """Medians of both sides and their ratios."""
    ours_s, peer_s = (statistics.median(x["seconds"]) for x in (ours, peer))
    return {
        "ours_s": ours_s, "ours_peak_mb": round(ours["peak_mb"]), "peer_s": peer_s, "speed_ratio": peer_s / ours_s,
        "peer_peak_mb": round(peer["peak_mb"]), "memory_ratio": ours["peak_mb"] / peer["peak_mb"],
        "parity": max(abs(a - b) for a, b in zip(ours["logprobs"], peer["logprobs"], strict=True)),
    }  # fmt: skip


def row(work: str) -> dict[str, Any]:
    if work in (*PICTURES, "backprop-memory", "world-speed"):
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(
                [sys.executable, str(HERE / "pictures.py"), "any", "build", folder], check=True, capture_output=True
            )
            return picture_row(work, folder)
    ours = side(work, "ours")
    base = {"work": work, "ours_s": statistics.median(ours["seconds"]), "ours_peak_mb": round(ours["peak_mb"]),
            "runs": len(ours["seconds"]), "cpu": cpu(), "settings": SETTINGS[work]}  # fmt: skip
    if work == "matmul-share":
        return {**base, "share": ours["share"], "peak_gflops": ours["peak_gflops"]}
    peer = side(work, "peer")
    name = "transformers" if work == "score-16" else "trl"
    return {
        **base, "peer": name, "peer_version": version(name), **against(ours, peer),
        **({"ours_tokens": ours["tokens"], "peer_tokens": peer["tokens"]} if "tokens" in ours else {}),
    }  # fmt: skip


def cpu() -> str:
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    return f"{model}, {os.cpu_count()} cores"


def render(rows: list[dict[str, Any]]) -> str:
    """docs/benchmarks.md."""
    lines = [
        "# Benchmarks", "",
        "Made by `make bench` from `benchmarks/results.json`: SmolLM2-135M, and the portraits world's U-Net with random weights, in float32, both sides of a row in "
        "one run on one machine, each in a process of its own, medians of whole steps. Ratios above 1 in speed and below 1 in memory are in accord's favour. "
        "Parity is the largest difference of a token-mean log-prob (or of a reward). [Notes](benchmark-notes.md) say what stands in the way of the goals that are missed.", "",
        "| work | settings | ours s | peer s | speed | goal | memory | goal | parity |",
        "|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for r in rows:
        if "k" in r or "parts" in r:
            continue
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
    for r in rows:
        if "k" in r:
            lines += ["", "## Memory of reward backprop", "", f"{r['settings']}: what the steps add to the peak of sampling alone.", "",
                      "| steps with gradient | seconds | MB |", "|---|---|---|"]  # fmt: skip
            lines += [
                f"| {'20, nothing recomputed' if k == 'plain' else k} | {v['s']:.2f} | {v['mb']} |"
                for k, v in r["k"].items()
            ]
        if "parts" in r:
            lines += ["", "## Speed of the world of portraits", "", "| what | seconds | goal |", "|---|---|---|"]
            lines += [f"| {WORLD[k][0]} | {v:.2f} | {WORLD[k][1]} |" for k, v in r["parts"].items()]
    lines += gpu_lines()
    machines: dict[str, list[str]] = {}
    for r in rows:
        machines.setdefault(r["cpu"], []).append(r["work"])
    lines += ["", *(f"Measured on {cpu}: {', '.join(works)}.\n" for cpu, works in machines.items())]
    return "\n".join(lines)


def gpu_lines() -> list[str]:
    """What `benchmarks/gpu.py` measured on a GPU."""
    path = HERE / "gpu.json"
    if not path.is_file():
        return [
            "",
            "## On a GPU",
            "",
            "No figures yet: `python benchmarks/gpu.py` measures them on a machine that has one.",
        ]
    found = json.loads(path.read_text())
    lines = ["", "## On a GPU", "",
             f"`benchmarks/gpu.py` on one {found['gpu']} (torch {found['torch']}, transformers {found['transformers']}), bfloat16, random weights: a Llama of a billion "
             "with LoRA of rank 16, 16 ragged pairs a step, or 4 prompts of 512 tokens with 8 answers of up to 128; AlignProp on a U-Net of Stable Diffusion 1.5's size, 2 pictures "
             "of 512 pixels, 10 steps with guidance. *Padded rows* are the same steps with every answer behind a copy of its prompt.", "",
             "| step | seconds | peak GB |", "|---|---|---|"]  # fmt: skip
    lines += [
        f"| {work} | {r['seconds']:.3f} | {r['peak_gb']:.1f} |"
        for work, r in found.items()
        if isinstance(r, dict) and "seconds" in r
    ]
    kinds = found["attention"]
    heads = " | ".join(f"{kind} ({ways['tokens']} tokens)" for kind, ways in kinds.items())
    lines += ["", "Attention of one layer over packed trees, milliseconds forward and backward:", "",
              f"| way | {heads} |", "|---|" + "---|" * len(kinds)]  # fmt: skip
    for way in next(iter(kinds.values())):
        if way != "tokens":
            cells = [f"{v[way]:.2f}" if isinstance(v[way], float) else str(v[way]) for v in kinds.values()]
            lines.append(f"| {way} | {' | '.join(cells)} |")
    if "passed" in (parity := found.get("parity", {})):
        whole = parity["passed"] + parity["failed"]
        lines += [
            "",
            f"First steps of every algorithm, rewards and searches on it equal the CPU's in {parity['passed']} of {whole} tests.",
        ]
    return lines


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
