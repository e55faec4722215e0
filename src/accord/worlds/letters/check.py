"""What the base policy can do: ``python -m accord.worlds.letters.check`` writes figures, read off held-out requests."""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from random import Random

import torch

from accord.engine.run import write_json
from accord.policies import LanguagePolicy
from accord.worlds.letters.answers import finding
from accord.worlds.letters.compose import compose
from accord.worlds.letters.feedback import LONG
from accord.worlds.letters.gold import aspects_of, faults, gold, obeyed
from accord.worlds.letters.headroom import headroom
from accord.worlds.letters.judge import compare, judge_tasks, prefers, verdict
from accord.worlds.letters.manners import LEVELS, MANNERS
from accord.worlds.letters.model import policy
from accord.worlds.letters.replies import Reply, findings, read_reply
from accord.worlds.letters.tasks import KINDS, MORE, Request, called, parse_request, tasks
from accord.worlds.letters.turns import respond
from accord.worlds.letters.words import ASPECTS, OPTIONS, TOOLS

SEED, N = 31_337, 400
Figures = dict[str, float]
Groups = dict[str, Figures]


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


def episodes_of(base: LanguagePolicy, asked: Sequence[str]) -> list[str]:
    """One reply to each request, over two turns where tools are called."""
    return base.sample(asked, 1, LONG, seed=SEED, env=respond, turns=2).completions


def of_kinds(base: LanguagePolicy) -> Figures:
    """Gold of one reply (a lookup: one episode) to each request, by kind, and what makes it up."""
    found: Figures = {}
    for name, kinds in (("the five kinds", KINDS), *((k, (k,)) for k in (*KINDS, *MORE))):
        asked = [str(t.prompt) for t in tasks(N, seed=SEED, split="test", kinds=kinds)]
        said = gold(prompts=asked, completions=(replies := episodes_of(base, asked)))
        found |= {f"{name}/gold": float(said.values.mean()),
                  f"{name}/correct": float(said.aspects["correct"].mean()),
                  f"{name}/readable": mean([read_reply(r).parsed for r in replies])}  # fmt: skip
    return found


def of_judge(base: LanguagePolicy) -> Figures:
    """Verdicts on pairs of composed replies: right in each order, by both together, by how clear the case is."""
    pairs = judge_tasks(2 * N, seed=SEED, split="test")
    asked, gap = [p.columns["request"] for p in pairs], torch.tensor([p.columns["gap"] for p in pairs])
    better = torch.tensor([p.columns["answer"] == "first" for p in pairs])
    one, two = ([p.columns["replies"][i] for p in pairs] for i in (0, 1))
    with torch.no_grad():
        shown = prefers(base, asked, one, two)
        turned = 1 - prefers(base, asked, two, one)
    said = base.sample([compare(*x) for x in zip(asked, one, two, strict=True)], 1, LONG, seed=SEED).completions
    right = ((shown + turned) / 2 > 0.5) == better
    edges = gap.quantile(torch.tensor([0.0, 1 / 3, 2 / 3, 1.0])).tolist()
    third = {f"right by both orders, gold {low:.2f} to {high:.2f} apart": float(right[(gap >= low) & (gap <= high)].float().mean())
             for low, high in pairwise(edges)}  # fmt: skip
    return {
        "says a verdict": mean([verdict(s) is not None for s in said]),
        "right, sampled": mean([verdict(s) == int(not b) for s, b in zip(said, better.tolist(), strict=True)]),
        "right, the better shown first": float(torch.where(better, shown > 0.5, turned < 0.5)[better].float().mean()),
        "right, the likelier verdict": float((((shown > 0.5) == better).float().mean() + ((turned > 0.5) == better).float().mean()) / 2),
        "right by both orders": float(right.float().mean()),
        "same verdict in both orders": float(((shown > 0.5) == (turned > 0.5)).float().mean()),
        "mean probability of the first shown": float(((shown + 1 - turned) / 2).mean()),
        **third,
    }  # fmt: skip


def of_reasoning(base: LanguagePolicy, samples: int = 9) -> Figures:
    """Sums worked out step by step: what the steps do for the answer, and what a vote over samples does."""
    found: Figures = {}
    for kind in ("reason", "quiz"):
        asked = [str(t.prompt) for t in tasks(N // 2, seed=SEED, split="test", kinds=(kind,))]
        drawn = base.sample(asked, samples, LONG, seed=SEED).completions
        requests = [parse_request(p) for p in asked]
        own = [[read_reply(c) for c in drawn[i * samples : (i + 1) * samples]] for i in range(len(asked))]
        said = [(q, r) for q, replies in zip(requests, own, strict=True) for r in replies if r.parsed]
        right = [(r.slots == (q.answer,), bool(r.clauses), aspects_of(q, r)["helpful"] == 1) for q, r in said]
        most = [Counter(r.slots for r in replies).most_common(1)[0][0] for replies in own]
        found |= {f"{kind}/right": mean([x for x, *_ in right]),
                  f"{kind}/shows steps": mean([steps for _, steps, _ in right]),
                  f"{kind}/right without steps": mean([x for x, steps, _ in right if not steps]),
                  f"{kind}/right with steps": mean([x for x, steps, _ in right if steps]),
                  f"{kind}/right where every step is": mean([x for x, _, sound in right if sound]),
                  f"{kind}/answers what its steps lead to": mean([led_to(q, r) == r.slots for q, r in said if r.clauses]),
                  f"{kind}/right by vote of {samples}": mean([m == (q.answer,) for m, q in zip(most, requests, strict=True)])}  # fmt: skip
    return found


def led_to(request: Request, reply: Reply) -> tuple[str, ...]:
    """The answer that a reply's last step gives."""
    result = reply.clauses[-1][1][-1]
    if request.kind != "quiz":
        return (result,)
    return (dict(zip(request.slots[1:], OPTIONS, strict=True)).get(result, "none of them"),)


def of_lookups(base: LanguagePolicy) -> Figures:
    """Tools called and their results read, also results that this world's tools would not give."""
    asked = [str(t.prompt) for t in tasks(N, seed=SEED, split="test", kinds=("lookup",))]
    requests = [parse_request(p) for p in asked]
    episodes = [read_reply(e) for e in episodes_of(base, asked)]
    random = Random(SEED)
    given = [[random.choice(TOOLS[p.split()[0]]) for p in q.slots] for q in requests]
    turns = [[*(f"<call> {json.dumps(called(p))} </call>" for p in q.slots), *(f"<result> {x} </result>" for x in g)]
             for q, g in zip(requests, given, strict=True)]  # fmt: skip
    told = base.sample([" ".join([p, *t]) for p, t in zip(asked, turns, strict=True)], 1, LONG, seed=SEED).completions
    true = [[finding(p) for p in q.slots] for q in requests]

    def told_as(found: list[list[str]]) -> float:
        wanted = [list(zip(q.slots, f, strict=True)) for q, f in zip(requests, found, strict=True)]
        return mean([findings(read_reply(t).body) == w for t, w in zip(told, wanted, strict=True)])

    return {
        "calls in a form that is run": mean([bool(e.calls) for e in episodes]),
        "all calls right": mean([e.calls == list(map(called, q.slots)) for e, q in zip(episodes, requests, strict=True)]),
        "all found and reported": mean([aspects_of(q, e)["correct"] == 1 for e, q in zip(episodes, requests, strict=True)]),
        "given any results, reports them": told_as(given),
        "given any results, reports the true ones": told_as(true),
    }  # fmt: skip


def of_manners(base: LanguagePolicy) -> Figures:
    """Mean of each aspect under its tags and its system line, and how closely each manner is kept to."""
    found: Figures = {}
    plain = [str(t.prompt) for t in tasks(N, seed=SEED, split="test")]
    kept: dict[str, float] = {}

    def under(manner: str, aspect: str) -> float:
        asked = [f"{manner} {p}".lstrip() for p in plain if aspect != "safe" or parse_request(p).kind == "unsafe"]
        said = base.sample(asked, 1, LONG, seed=SEED).completions
        if manner:
            kept[manner] = float(obeyed(prompts=asked, completions=said).values.mean())
        scores = gold(prompts=asked, completions=said)
        return float(scores.values.mean() if aspect == "gold" else scores.aspects[aspect].mean())

    for a in ASPECTS:
        found |= {f"{a}/no tag": under("", a), **{f"{a}/<{a}:{k}>": under(f"<{a}:{k}>", a) for k in LEVELS}}
        found |= {f"{a}/{m}": under(m, a) for m, asks in MANNERS.items() if asks == {a: LEVELS[-1]} and ":3" not in m}
    found |= {f"gold/{m}": under(m, "gold") for m in ("", "<worse>", "<better>")}
    return found | {f"obeyed/{m}": v for m, v in kept.items()}


def of_explanations(base: LanguagePolicy) -> Figures:
    """Clauses of long replies, by what is wrong with them; and that what the clauses are worth sums to the whole."""
    asked = [str(t.prompt) for t in tasks(N, seed=SEED, split="test", kinds=("explain",))]
    said = base.sample(asked, 1, LONG, seed=SEED).completions
    scores = gold(prompts=asked, completions=said)
    marks = Counter(f or "sound" for p, c in zip(asked, said, strict=True) for *_, f in faults(p, c))
    clauses = [len(read_reply(c).clauses) for c in said if read_reply(c).parsed]
    sums = torch.tensor([sum(s.value for s in spans) for spans in scores.spans or []])
    return {
        "clauses a reply": mean(clauses),
        **{f"share of sentences/{f}": n / marks.total() for f, n in sorted(marks.items())},
        "greatest difference of a sum of spans from its gold": float((sums - scores.values).abs().max()),
    }


def of_corpus() -> Figures:
    """Gold of the replies that the base policy imitates."""
    random = Random(SEED)
    asked = [str(t.prompt) for t in tasks(N, seed=SEED)]
    said = gold(prompts=asked, completions=[compose(parse_request(p), random) for p in asked])
    return {"gold": float(said.values.mean())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument(
        "--runs", type=int, default=6, help="training runs of each setting; 0 keeps the figures there are"
    )
    args = parser.parse_args()
    base, path = policy(), args.out / "letters.json"
    found = {"kinds": of_kinds(base), "judge": of_judge(base), "reasoning": of_reasoning(base), "lookups": of_lookups(base),
             "manners": of_manners(base), "explanations": of_explanations(base), "corpus": of_corpus()}  # fmt: skip
    before = json.loads(path.read_text()) if path.is_file() else {}
    write_json(path, {**before, **found, **({"training": headroom(args.runs)} if args.runs else {})})


if __name__ == "__main__":
    main()
