"""Write docs/letters.md from docs/results/letters.json, which `make letters` writes."""

import json
from pathlib import Path

HERE = Path(__file__).parent
Table = dict[str, dict[str, float]]

INTRO = """# The world of letters

Made by `make letters` from the weights in the package. Everything is read off requests that neither the base policy's
corpus nor any training in the world has seen. The gold of every reply is exact; *base* below is the policy that ships.
"""
PARTS = {
    "judge": ("The base policy as a judge", "Which of two replies to a request is better, in one word; the replies are composed as in the corpus, their gold at least 0.05 apart. "
              "*Right* is the likelier of the two verdicts, unless it says sampled."),
    "reasoning": ("Steps before an answer", "Sums of two or three terms, without options (`reason`) and with four (`quiz`); shares of the readable replies, sampled at temperature 1. "
                  "The policy finds results, but not which option holds one: it answers a quiz at chance, and a method that needs quizzes has to teach that first."),
    "lookups": ("Tools, over two turns", "A call, its result, a report; one or two findings a request, with a day or without. For the last two lines calls and results were put into the prompt: "
                "any results that the tools could give, not those that this world's give."),
    "explanations": ("Longer replies, a clause for each thing", "Three to six things to be explained; what is wrong with the sentences of the base policy's replies."),
    "training": ("Headroom, and people with flaws", "RLOO, groups of 4, 16 prompts a step, learning rate 1e-3 for the oracle and 3e-4 for the others, with a cosine and a warm-up of a tenth, no KL term, 400 held-out tests. The oracle's reward is the gold; the others' "
                 "a Bradley-Terry model of 1000 verdicts of 20 people with this flaw (`FLAWS`), new people and verdicts for each run."),
}  # fmt: skip


def letters() -> None:
    """The whole page."""
    found: dict[str, dict[str, float]] = json.loads((HERE / "results" / "letters.json").read_text())
    lines = [INTRO, "## What the base policy's replies are worth", "",
             f"The corpus that it imitates has a mean gold of {found['corpus']['gold']:.3f} on the five kinds.", "",
             *crossed(rows_of(found["kinds"])), "## Manners: control tags and a system line", "",
             "Means of the aspect that the manner is about, on the five kinds (safe: on what should be refused); tags ask for levels 0 to 3 "
             "of an aspect, `<aspect>` for the highest. What is a matter of form is heeded; *correct* and *safe* hardly are, by themselves.", "", *manners(found["manners"])]  # fmt: skip
    for part, (title, says) in PARTS.items():
        if part in found:
            lines += [f"## {title}", "", says, "", *plain(found[part])]
    (HERE / "letters.md").write_text("\n".join(lines))


def manners(found: dict[str, float]) -> list[str]:
    """A row an aspect; the tags that name none below."""
    rows = rows_of({k: v for k, v in found.items() if not k.startswith(("gold/", "obeyed/"))})
    tidy = {a: {k.replace(f"<{a}:", "level ").replace(f"<{a}>", "tag alone").rstrip(">") if "system" not in k else "system line": v
                for k, v in row.items()} for a, row in rows.items()}  # fmt: skip
    gold = {f"gold, {k.removeprefix('gold/') or 'no tag'}": v for k, v in found.items() if k.startswith("gold/")}
    return crossed(tidy) + plain(gold)


def rows_of(found: dict[str, float]) -> Table:
    """Figures named row/column as a table."""
    table: Table = {}
    for name, value in found.items():
        row, column = name.split("/", 1)
        table.setdefault(row, {})[column] = value
    return table


def crossed(table: Table) -> list[str]:
    columns = list(dict.fromkeys(c for row in table.values() for c in row))
    cells = [[row, *(f"{of[c]:.3f}" if c in of else "" for c in columns)] for row, of in table.items()]
    return written(["", *columns], cells)


def plain(found: dict[str, float]) -> list[str]:
    return written(["", ""], [[f"`{k}`" if "<" in k else k, f"{v:.3f}"] for k, v in found.items()])


def written(head: list[str], cells: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *cells)] + [""]


if __name__ == "__main__":
    letters()
