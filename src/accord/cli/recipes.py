"""accord recipes: configurations to start from, written for a method or ready-made."""

import json
import re
import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accord.errors import ConfigError

FOLDER = Path(__file__).parents[1] / "recipes"


def list_recipes() -> None:
    """List the ready-made recipes with their first line; write makes one for any method."""
    for path in sorted(FOLDER.glob("*.yaml")):
        print(f"{path.stem:28} {path.read_text().splitlines()[0].lstrip('# ')}")


def copy(name: str, to: str | None = None) -> None:
    """Copy a ready-made recipe, to be changed and run.

    Args:
        name: of the recipe.
        to: file to write; NAME.yaml here without.
    """
    source = FOLDER / f"{name}.yaml"
    if not source.is_file():
        raise ConfigError(
            f"no recipe called {name!r}; there are {', '.join(sorted(p.stem for p in FOLDER.glob('*.yaml')))}"
        )
    shutil.copy(source, target := _new(name, to))
    print(f"{target}: change it, then run it (its first lines say how)")


def write(name: str, to: str | None = None) -> None:
    """Write a recipe of a method, with its options at their defaults; as it stands it runs on an embedded policy in under a minute.

    Args:
        name: of the method; see accord methods.
        to: file to write; NAME.yaml here without.
    """
    from accord.engine.run import write_text

    text = recipe(name)
    target = _new(name, to)
    write_text(target, text)
    print(f"{target}: run it, change it (its first lines say how)")


def recipe(name: str) -> str:
    """A method's recipe, commented from the docstrings."""
    from accord.algorithms.options import options_of
    from accord.catalogue import find
    from accord.cli.align import align
    from accord.cli.methods import Trainer, kind_for
    from accord.cli.shape import plain

    trainer = Trainer.find(name)
    kind = kind_for(trainer)
    common = {n: o.help for n, o in options_of(align).items()}
    sampling = trainer.default_sampling(kind) if trainer.samples else None
    start = _embedded(trainer, kind)
    row = find(name)
    title = row.title if row.title.startswith(row.short) else f"{row.short}: {row.title}"
    lines = [f"# {title}", f"# accord align {trainer.name}.yaml",
             *_comment(f"{trainer.about} {trainer.needs}"), f"method: {trainer.name}"]  # fmt: skip
    for key, value in start.items():
        own = (trainer.rewards | trainer.options).get(key)
        lines += ["", *_comment(common.get(key) or (own.help if own else "")), f"{key}: {_said(value)}"]
    lines += ["", *_comment(f"Options of {trainer.name}, each at its default.")]
    for option in (o for n, o in trainer.options.items() if n not in start):
        lines += [*_comment(f"{option.name}: {option.help}"), f"{option.name}: {_said(plain(option))}"]
    for section, values in _sections(sampling).items():
        lines += ["", *_comment(common[section]), f"{section}:", *(f"  {k}: {_said(v)}" for k, v in values.items())]
    return "\n".join(lines) + "\n"


def _embedded(trainer: Any, kind: type) -> dict[str, Any]:
    """A policy of the package that the method can train, with data and a reward for it."""
    from accord.catalogue import find
    from accord.policies import ControlPolicy, LanguagePolicy

    world = "letters" if kind is LanguagePolicy else "room" if kind is ControlPolicy else "portraits"
    start: dict[str, Any] = {"policy": world, "data": world, "out": f"runs/{trainer.name}", "lora": 4}
    rewards: dict[str, Any] = {
        "letters": SHORT,
        "portraits": "accord.worlds.portraits:Looks",
        "room": "accord.worlds.room:toward",
    }
    for i, name in enumerate(n for n, o in trainer.rewards.items() if o.needed and trainer.takes_reward):
        somebody = i == 0 and find(trainer.name).kind == "identity"
        start["reward" if i == 0 else name] = "accord.cli.embedded:Somebody" if somebody else rewards[world]
    if trainer.shape is not None and Sequence in trainer.shape.holders.values():
        start["reward"] = [{"length_penalty": {"target": n}} for n in (6, 8, 12)]
    return {**start, **OWN.get(trainer.name, {}), "test_limit": 8}


SHORT = {"length_penalty": {"target": 8}}
OWN: dict[str, dict[str, Any]] = {
    "rlcm": {"policy": "portraits/consistency"},
    "self-rewarding": {"reward": SHORT},
    "temporal-self-rewarding": {"reward": SHORT},
    "cream": {"before": "letters/untrained", "judge": SHORT},
    "copo-consistency": {"data": "letters/reason", "reward": {"numeric_answer": {}}},
    "scir": {"before": "letters/untrained", "judge": SHORT},
    "dpa": {
        "reward": {
            "combine": {
                "rewards": {"brief": SHORT, "even": {"length_penalty": {"target": 1, "unit": "characters", "per": 0.1}}}
            }
        }
    },
    "irl-llm-survey": {"judge": SHORT},
    "acre": {"data": "letters/quiz", "layout": "sentence", "judge": SHORT},
    "pairwise-rl": {"reward": {"Anchored": {"reward": SHORT, "anchor": "demonstration"}}},
    "dr-irl": {"reward": {"BesideDemonstrations": {"reward": SHORT}}},
    "fine-grained-rlhf": {"data": "letters/explain", "reward": {"PrefixDifferences": {"reward": SHORT}}},
    "harmo": {"scale": False},
    "barfi": {"lora": None, "warmup": 0},
    "toolrl": {"data": "letters/lookup", "column": "calls", "call": "call", "arguments": "arguments", "between": " "},
}
"""What the recipe of a method has in place of what others have: another generator, data that its rewards can read, a judge for a policy
too small to be one, or for the report of what is judged by nobody else."""


def _sections(sampling: Any) -> dict[str, dict[str, Any]]:
    """Settings small enough to be seen through to the end."""
    training = {"steps": 4, "batch_size": 4, "lr": 1e-4, "max_grad_norm": 1.0, "seed": 0}
    if sampling is None:
        return {"training": training}
    drawn = {k: v for k, v in vars(sampling).items() if isinstance(v, bool | int | float) or v is None}
    small = {"max_new_tokens": 24} if "max_new_tokens" in drawn else {"steps": min(sampling.steps or 10, 10)}
    return {"sampling": {**drawn, **small}, "training": training}


def _comment(text: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), 118, initial_indent="# ", subsequent_indent="# ") if text else []


def _said(value: Any) -> str:
    """A value as YAML, whose floats want a point."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{k}: {_said(v)}' for k, v in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_said, value))}]"
    if isinstance(value, str):
        return value if re.fullmatch(r"[a-z][\w/.-]*(:[A-Z]\w*)?", value) else json.dumps(value)
    text = json.dumps(value)
    return text.replace("e", ".0e") if isinstance(value, float) and "e" in text and "." not in text else text


def _new(name: str, to: str | None) -> Path:
    target = Path(to or f"{name}.yaml")
    if target.exists():
        raise ConfigError(f"{target} exists already: give another name with --to")
    return target
