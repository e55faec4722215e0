"""Write docs/compatibility.md, what works with what, from the results of `make conformance`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
Cells = dict[str, dict[str, Any]]

INVARIANTS = (
    "**I1** the log-probs that training computes of what was sampled are those noted at sampling, and the model's own",
    "**I2** before the first update every margin and KL is 0 and every ratio 1",
    "**I3** what is saved gives the same log-probs, scores and pictures through plain transformers, peft and diffusers",
    "**I4** a template's text holds the answer once, at its end, and the scored tokens are those that the model would have to write",
    "**I5** every record of a file is used, refused by its line, or counted with the reason",
    "**I6** any input or option works, or ends in one line with exit code 2 and nothing half-written",
    "**I7** micro-batches, processes, resuming, the order of rows and what ran before in the process leave the gradient as it is",
)


def compatibility() -> None:
    """Write the page."""
    found = json.loads((HERE / "results" / "conformance.json").read_text())
    lines = [
        "# What works with what", "",
        "Made by `make conformance` from `tests/conformance/`: every class is built tiny from its own config, saved, loaded as a user loads it, and "
        "held to these invariants:", "", *[f"- {i}" for i in INVARIANTS], "",
        *architectures(found.get("architectures", {}), found.get("rewards", {})),
        *section("Chat templates", found.get("templates", {}), {"system": "system messages", "tools": "tool calls", "thinks": "reasoning"}, THINKS.get),
        *section("Tokenisers", found.get("tokenizers", {}), {"result": ""}),
        *section("What a run starts from", found.get("adapters", {}), {"training": "training", "saved": "saved"}),
        *section("Methods", found.get("methods", {}), {"resume": "cut off and resumed", "again": "after other work in the process", "ranks": "two processes"}),
        *section("Pictures", found.get("pictures", {}), {"saved": "its LoRA"}),
        *section("Precisions and devices", {**found.get("precisions", {}), **found.get("devices", {})}, {"result": ""}),
        *section("Files and options", found.get("inputs", {}), {"result": ""}),
    ]  # fmt: skip
    (HERE / "compatibility.md").write_text("\n".join(lines) + "\n")


THINKS = {
    "no": "passes it on as text",
    "writes": "written by the template, scored",
    "strips": "stripped by the template, scored all the same",
    "opens": "opened by the generation prompt; an answer without it is refused",
}


def architectures(cells: Cells, rewards: Cells) -> list[str]:
    """Which way each class takes, by kind of way."""
    ways: dict[str, list[str]] = {"packed trees": [], "padded rows": [], "refused": [], "not tried": []}
    for name, cell in cells.items():
        ways[cell.get("path", "not tried")].append(name)
    usable = ways["packed trees"] + ways["padded rows"]
    lines = ["## Language models", "",
             f"Of the {len(cells)} classes of transformers' `AutoModelForCausalLM`, {len(usable)} can be trained. *Packed trees*: a prompt is computed once for "
             "all its answers, without padding; *padded rows* compute it for each. Logits are made *in chunks* where a class does nothing but a "
             "product, a scale and a soft cap behind its last hidden states, or else by *its own logits*, all at once.", "",
             "| class | rows | logits | sampling | as a reward model |", "|---|---|---|---|---|"]  # fmt: skip
    for name in usable:
        c = cells[name]
        reward = {"works": "yes", "refused": "refused"}.get(rewards.get(name, {}).get("result", ""), "")
        failed = " (**fails a test**)" if "failed" in c else ""
        lines.append(f"| {name}{failed} | {c['path']} | {c.get('head', '')} | {c.get('sampling', '')} | {reward} |")
    for way, title in (
        ("refused", "Refused when they are loaded"),
        ("not tried", "Not tried: they can't be built tiny"),
    ):
        lines += ["", f"### {title}", "", "| class | reason |", "|---|---|"]
        lines += [f"| {n} | {plain(cells[n].get('reason', ''))} |" for n in ways[way]]
    return [*lines, ""]


def section(
    title: str, cells: Cells, columns: dict[str, str], words: Callable[[str], str | None] = lambda x: x
) -> list[str]:
    """A table of a part's cells."""
    if not cells:
        return []
    lines = [f"## {title}", "", f"| | {' | '.join(columns.values())} |", f"|---|{'---|' * len(columns)}"]
    for name, cell in cells.items():
        failed = " (**fails a test**)" if "failed" in cell else ""
        lines.append(
            f"| {name}{failed} | {' | '.join(plain(words(str(cell.get(c, ''))) or str(cell.get(c, ''))) for c in columns)} |"
        )
    return [*lines, ""]


def plain(text: str) -> str:
    """Text that a cell of a table can hold."""
    return " ".join(text.replace("|", "/").replace("<", "&lt;").split())


if __name__ == "__main__":
    compatibility()
