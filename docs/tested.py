"""Write a page for each family of pipelines and for each reward: what it is, and which tests were run on it, since when.

What was tested is read off the tests themselves: pytest is asked for its list, git for the day, and a test's name is the sentence.
"""

import ast
import inspect
import re
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TESTS = HERE.parent / "tests"
PIPELINES = ("test_families.py", "test_encoded.py", "test_devices_pictures.py", "test_clips.py")
NETWORKS = ("CLIPScore", "PickScore", "HPSv2", "ImageReward", "SigLIP", "Aesthetics")


@dataclass(frozen=True)
class Page:
    """Another reward's page, or that of several of one kind.

    Attributes:
        names: in `accord.rewards`. home: where the docs speak of them. own: files all of whose tests are theirs. shared: files of
            whose tests those are theirs that speak of them.
    """

    names: tuple[str, ...]
    home: str
    own: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()


RULES = ("score", "exact_answer", "numeric_answer", "matches", "json_call", "length_penalty")
SIGHT = ("test_picture_judges.py",)
HEADS = ("test_saved_heads.py", "test_devices_rewards.py")
OTHERS = {
    "Functions": Page(RULES, "rewards.md#by-rule", ("test_rewards.py",)),
    "BradleyTerry": Page(("BradleyTerry",), "rewards.md#learned-from-people", (), ("test_reward_models.py",)),
    "EncoderReward": Page(("EncoderReward",), "rewards.md#learned-from-people", (), ("test_reward_models.py",)),
    "HeadReward": Page(("HeadReward",), "rewards.md#learned-from-people", ("test_features.py",), HEADS),
    "VPL": Page(("VPL",), "rewards.md#of-people-who-differ", (), ("test_rewards_of_people.py", *HEADS)),
    "PAL": Page(("PAL",), "rewards.md#of-people-who-differ", (), ("test_rewards_of_people.py", *HEADS)),
    "BaseReward": Page(("BaseReward",), "rewards.md#by-a-recipe", ("test_basereward.py",), HEADS),
    "Judge": Page(("Judge", "PairJudge"), "rewards.md#judged", ("test_judges.py",), SIGHT),
    "Served": Page(("Served",), "rewards-pictures.md#any-server", ("test_served.py",), SIGHT),
    "vision_judge": Page(("vision_judge",), "rewards-pictures.md#a-judge-who-sees", (), SIGHT),
    "OCRAccuracy": Page(("OCRAccuracy",), "rewards-pictures.md#text-in-a-picture", (), SIGHT),
    "ObjectChecks": Page(("ObjectChecks",), "rewards-pictures.md#objects", (), SIGHT),
}
FILES = dict.fromkeys(
    (*PIPELINES, "test_picture_rewards.py", *(f for page in OTHERS.values() for f in page.own + page.shared))
)


def pages() -> None:
    """Write all of them."""
    sys.path.append(str(TESTS))
    found = tests()
    from accord.policies.diffusion.families import FAMILIES

    for kind in FAMILIES:
        _write("families", slug(kind), family(kind, found))
    for name in NETWORKS:
        _write("rewards", name.lower(), network(name, found))
    for title in OTHERS:
        _write("rewards", title.lower(), reward(title, found))


def _write(folder: str, name: str, text: str) -> None:
    (HERE / folder).mkdir(exist_ok=True)
    (HERE / folder / f"{name}.md").write_text(text)


def slug(kind: type) -> str:
    """The name of a family's file, and of its page."""
    return kind.__module__.rpartition(".")[2]


def tests() -> list[tuple[str, str, str]]:
    """(file, name, parameters) of every test of `FILES`."""
    asked = [sys.executable, "-m", "pytest", "-n", "0", "-o", "addopts=", "--collect-only", "-q", *FILES]
    said = subprocess.run(asked, cwd=TESTS, capture_output=True, text=True, check=True).stdout
    return re.findall(r"^(?:tests/)?(\w+\.py)::(\w+)(?:\[(.*)\])?$", said, re.MULTILINE)


def family(kind: type, found: list[tuple[str, str, str]]) -> str:
    """A family's page."""
    import tiny_families

    names = {name for name in tiny_families.TINY if type(tiny_families.policy(name).family) is kind}
    one: Any = tiny_families.policy(sorted(names)[0]).family
    parts = dict.fromkeys(part for name in sorted(names) for part in tiny_families.policy(name).denoisers)
    table: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for file, test, parameters in found:
        if file not in PIPELINES:
            continue
        # The longest name that fits: flux2-klein-distilled-half is none of flux2-klein.
        fits = [n for n in tiny_families.TINY if parameters == n or parameters.startswith(f"{n}-")]
        if fits and max(fits, key=len) in names:
            table[file, test][max(fits, key=len)] = None
        elif slug(kind) in test.split("_") or (file == "test_clips.py" and len(one.natural) == 3):
            table[file, test][""] = None
    classes = ", ".join(f"`{name}`" for name in sorted(kind.pipelines))
    facts = [
        ("pipelines", classes), ("published as", ", ".join(f"`{n}`" for n in published(kind)) or "(see diffusers)"),
        ("what trains", ", ".join(f"`{part}`" for part in parts)), ("LoRA goes on", lora_of(one)),
        ("the blank prompt", f"`{kind.blank!r}`"), ("makes", "clips" if len(one.natural) == 3 else "pictures"),
    ]  # fmt: skip
    return "\n".join([
        f"# {kind.name}", "", f"{_first(kind)} One of the [families](../families.md).", "", "| | |", "|---|---|",
        *(f"| {k} | {v} |" for k, v in facts), "", *_tested(table), "",
        "Tried on tiny pipelines of the real classes with random weights, not on the published ones.", "",
    ])  # fmt: skip


def published(kind: Any) -> list[str]:
    """The hub names that diffusers' own examples of its pipelines have."""
    import diffusers

    sources = [inspect.getsource(sys.modules[getattr(diffusers, name).__module__]) for name in sorted(kind.pipelines)]
    shown = "\n".join(line for source in sources for line in source.splitlines() if ">>>" in line)
    named = re.findall(r'"([A-Za-z][\w.-]+/[\w.-]+)"', shown)
    return sorted(dict.fromkeys(named))


def network(name: str, found: list[tuple[str, str, str]]) -> str:
    """A reward's page."""
    from accord import rewards

    made = getattr(rewards, name)
    table: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for file, test, parameters in found:
        if file != "test_picture_rewards.py":
            continue
        named = {n for n in NETWORKS if _plain(n) in _plain(parameters or test)}
        # Without a name it is of all of them.
        if name in named or (not named and not parameters and "all_of" in _source(file, test) and "linear" not in test):
            table[file, test][""] = None
    return "\n".join([
        f"# {name}", "", f"{_first(made)} One of the [rewards for pictures](../rewards-pictures.md).", "",
        "```sh", f"accord align draft --policy stable-diffusion-v1-5/stable-diffusion-v1-5 --data prompts.jsonl --reward {name} --lora 16 --out run",
        f"accord reward score --reward {name} --data shown.jsonl --out scores.jsonl", "```", "",
        *_options(made), *_tested(table), "",
        "Tried on tiny networks in the published layout, not with the published weights.", "",
    ])  # fmt: skip


def reward(title: str, found: list[tuple[str, str, str]]) -> str:
    """The page of another reward, or of several of one kind."""
    from accord import rewards

    page = OTHERS[title]
    table: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for file, test, parameters in found:
        if file in page.own or (file in page.shared and _speaks_of(file, test) & set(page.names)):
            named = len(p := _plain(parameters)) > 2 and any(p in _plain(n) or _plain(n) in p for n in page.names)
            table[file, test][parameters if named else ""] = None
    said = [f"One of the [rewards](../{page.home}).", ""]
    for name in page.names:
        made = getattr(rewards, name)
        said += [*([f"## `{name}`", ""] if len(page.names) > 1 else []), _first(made), "", *_options(made)]
    return "\n".join([f"# {title}", "", *said, *_tested(table), ""])


def _options(made: Any) -> list[str]:
    """A table of what it is called with."""
    from accord.algorithms.options import options_of

    rows, bar = [], r"\|"
    for o in options_of(made).values():
        default = o.default.__qualname__.split(".")[0] if callable(o.default) else repr(o.default)
        rows.append(f"| `{o.name}` | {'' if o.needed else f'`{default}`'} | {(o.help or '').replace('|', bar)} |")
    return ["| option | default | |", "|---|---|---|", *rows, ""] if rows else []


@cache
def _spoken(file: str) -> dict[str, set[str]]:
    """The names that stand in each function, class and constant of a file of tests."""
    own: dict[str, set[str]] = {}
    for node in ast.parse((TESTS / file).read_text()).body:
        within = [*ast.walk(node)]
        said = {n.id for n in within if isinstance(n, ast.Name)} | {
            n.attr for n in within if isinstance(n, ast.Attribute)
        }
        said |= {n.arg for n in within if isinstance(n, ast.arg)}
        targets = getattr(node, "targets", [getattr(node, "target", node)])
        own |= {name: said for t in targets if (name := getattr(t, "name", getattr(t, "id", None)))}
    return own


def _speaks_of(file: str, test: str) -> set[str]:
    """All names in a test, and in what it uses of its file."""
    seen, todo = set(), [test]
    while todo:
        new = _spoken(file).get(todo.pop(), set()) - seen
        seen |= new
        todo += new
    return seen


@cache
def since() -> dict[str, str]:
    """The day on which each test was first committed."""
    asked = ["git", "log", "--reverse", "--format=@%as", "--unified=0", "-p", "--", "."]
    said = subprocess.run(asked, cwd=TESTS, capture_output=True, text=True, check=True).stdout
    days, day = {}, ""
    for line in said.splitlines():
        if re.match(r"@\d{4}-", line):
            day = line[1:]
        elif found := re.match(r"\+def (test_\w+)", line):
            days.setdefault(found[1], day)
    return days


def _plain(name: str) -> str:
    """A network's name however it is spelled: clip-score, CLIPScore."""
    return re.sub(r"[^a-z]|v2", "", name.lower())


def _source(file: str, test: str) -> str:
    return re.search(rf"def {test}\(.*?\) -> None", (TESTS / file).read_text(), re.DOTALL)[0]  # type: ignore[index]


def lora_of(family: Any) -> str:
    """Where its LoRA goes."""
    if not hasattr(family.denoiser, "add_adapter"):
        return "nothing: diffusers knows none for it, so all its weights train"
    return ", ".join(f"`{t}`" for t in family.targets)


def _tested(table: dict[tuple[str, str], dict[str, None]]) -> list[str]:
    lines = ["## What was tested", "", "| a test says that | tried as | in | since |", "|---|---|---|---|"]
    for (file, test), names in table.items():
        lines.append(
            f"| {test.removeprefix('test_').replace('_', ' ')} | {', '.join(filter(None, names))} | `{file}` | {since().get(test, '')} |"
        )
    return lines


def _first(thing: Any) -> str:
    """The first paragraph of its docstring, as a line."""
    return " ".join(inspect.cleandoc(thing.__doc__ or "").split("\n\n")[0].split())


if __name__ == "__main__":
    pages()
