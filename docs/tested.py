"""Write a page for each family of pipelines and for each network that scores pictures: what it is, and which tests were run on it.

What was tested is read off the tests themselves: pytest is asked for its list, and a test's name is the sentence.
"""

import inspect
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TESTS = HERE.parent / "tests"
FILES = ("test_families.py", "test_encoded.py", "test_devices.py", "test_clips.py", "test_picture_rewards.py")
NETWORKS = ("CLIPScore", "PickScore", "HPSv2", "ImageReward", "SigLIP", "Aesthetics")


def pages() -> None:
    """Write all of them."""
    sys.path.append(str(TESTS))
    found = tests()
    from accord.policies.diffusion.families import FAMILIES

    for kind in FAMILIES:
        _write("families", slug(kind), family(kind, found))
    for name in NETWORKS:
        _write("rewards", name.lower(), network(name, found))


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
    table: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for file, test, parameters in found:
        # The longest name that fits: flux2-klein-distilled-half is none of flux2-klein.
        fits = [n for n in tiny_families.TINY if parameters == n or parameters.startswith(f"{n}-")]
        if fits and max(fits, key=len) in names:
            table[file, test][max(fits, key=len)] = None
        elif slug(kind) in test.split("_") or (file == "test_clips.py" and len(one.natural) == 3):
            table[file, test][""] = None
    classes = ", ".join(f"`{name}`" for name in sorted(kind.pipelines))
    facts = [
        ("pipelines", classes), ("published as", ", ".join(f"`{n}`" for n in published(kind)) or "(see diffusers)"),
        ("what trains", f"`{kind.part}`"), ("LoRA goes on", ", ".join(f"`{t}`" for t in one.targets)),
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
    from accord.algorithms.options import options_of

    made = getattr(rewards, name)
    table: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for file, test, parameters in found:
        if file != "test_picture_rewards.py":
            continue
        named = {n for n in NETWORKS if _plain(n) in _plain(parameters or test)}
        # Without a name it is of all of them.
        if name in named or (not named and not parameters and "all_of" in _source(file, test) and "linear" not in test):
            table[file, test][""] = None
    options = [f"| `{o.name}` | {'' if o.needed else f'`{o.default!r}`'} | {o.help or ''} |" for o in options_of(made).values()]  # fmt: skip
    return "\n".join([
        f"# {name}", "", f"{_first(made)} One of the [rewards for pictures](../rewards-pictures.md).", "",
        "```sh", f"accord align draft --policy stable-diffusion-v1-5/stable-diffusion-v1-5 --data prompts.jsonl --reward {name} --lora 16 --out run",
        f"accord reward score --reward {name} --data shown.jsonl --out scores.jsonl", "```", "",
        "| option | default | |", "|---|---|---|", *options, "", *_tested(table), "",
        "Tried on tiny networks in the published layout, not with the published weights.", "",
    ])  # fmt: skip


def _plain(name: str) -> str:
    """A network's name however it is spelled: clip-score, CLIPScore."""
    return re.sub(r"[^a-z]|v2", "", name.lower())


def _source(file: str, test: str) -> str:
    return re.search(rf"def {test}\(.*?\) -> None", (TESTS / file).read_text(), re.DOTALL)[0]  # type: ignore[index]


def _tested(table: dict[tuple[str, str], dict[str, None]]) -> list[str]:
    lines = ["## What was tested", "", "| a test says that | tried as | in |", "|---|---|---|"]
    for (file, test), names in table.items():
        lines.append(
            f"| {test.removeprefix('test_').replace('_', ' ')} | {', '.join(filter(None, names))} | `{file}` |"
        )
    return lines


def _first(thing: Any) -> str:
    """The first paragraph of its docstring, as a line."""
    return " ".join(inspect.cleandoc(thing.__doc__ or "").split("\n\n")[0].split())


if __name__ == "__main__":
    pages()
