"""accord reward train --method NAME: a published method's reward, on frozen features; trained in seconds, measured on who or what is new."""

import inspect
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from accord.catalogue import find, methods
from accord.cli.data import first_process, split
from accord.cli.embedded import rows_of
from accord.cli.evaluate import tied
from accord.cli.heldout import cluster, rated_pairs, spread_out
from accord.cli.intake import Intake, no_preference, of_kind
from accord.cli.options import check_options
from accord.cli.policies import check_policy, open_policy
from accord.engine import Training
from accord.engine.run import write_json
from accord.errors import ConfigError, wanted
from accord.evaluation import Estimate, accuracy, newcomers
from accord.evaluation.benchmarks.layouts import benchmark_rows
from accord.evaluation.trust import Referee
from accord.feedback import Comparison, Ranking, Rating, split_people
from accord.policies import LanguagePolicy
from accord.rewards import Features, SentenceEncoder, SentenceFeatures, TrunkFeatures, load_head

KNOWN_BY = 8
"""Verdicts by which a new person is known where a method is measured."""


def head_method(name: str) -> Any:
    """A method that trains a reward on features: a function of `accord.rewards` that takes records and features, or a class whose `fit` does.

    Raises:
        ConfigError: there is none of this name.
    """
    made = find(name).load()
    if not _takes_features(made):
        known = [
            m.name for m in methods() if m.entry and m.entry.startswith("accord.rewards:") and _takes_features(m.load())
        ]
        raise ConfigError(f"{name} trains no reward on frozen features; these do: {', '.join(known)}")
    return made


def _takes_features(made: Any) -> bool:
    return "features" in inspect.signature(_trains(made)).parameters


def _trains(made: Any) -> Any:
    """What trains a method's reward: a class's `fit`, or the function that it is."""
    return made if inspect.isfunction(made) else getattr(made, "fit", lambda: None)


def open_features(spec: str, device: str = "auto", dtype: str = "auto") -> Features:
    """Features of a sentence encoder (encoder:NAME), or of a language model's last hidden state."""
    if spec.startswith("encoder:"):
        return SentenceFeatures(SentenceEncoder(spec.partition(":")[2], device=device))
    return TrunkFeatures(open_policy(spec, device=device, dtype=dtype))


def train_head(
    method: str,
    model: str,
    data: str,
    out: str,
    options: dict[str, Any] | None,
    training: Training,
    *,
    columns: dict[str, str] | None,
    skip_bad: bool,
    chat: bool,
    limit: int | None,
    people: bool,
    test: float,
    split_by: str,
    test_limit: int | None,
    device: str,
    dtype: str,
) -> None:
    """See `accord.cli.reward.train`."""
    made = head_method(method)
    own = check_options([_trains(made)], options or {}, method, hidden={"records", "features"})
    if not model.startswith("encoder:") and check_policy(model) is not LanguagePolicy:
        raise ConfigError(f"{model} has no features of texts: give a language model, or encoder:NAME")
    source = benchmark_rows(rows_of(data, [Comparison], training.seed, limit), persons=people)
    intake = Intake.read(source, columns, skip_bad, limit, chat, name=data)
    learned = of_kind((Comparison, Ranking, Rating), f"{method} learns from")
    usable = intake.sift(intake.records, learned, no_preference, tied, purpose="train on")
    personal = hasattr(made, "for_newcomer") and not any(r.context for r in usable)
    sides: Any = (
        split_people(intake.pairs(usable), test, seed=training.seed)
        if personal
        else split(usable, test, training.seed, split_by)
    )
    kept, held = (list(side) for side in sides)
    wanted(bool(kept and held), "test leaves nobody on one side: give another share", test)
    intake.tell(to_train_on=len(kept), held_out=len(held))
    reward = _trains(made)(kept, open_features(model, device, dtype), **own, **_changed(training))
    found = newcomers(reward, held, KNOWN_BY) if personal else _foreseen(reward, held, split_by, test_limit)
    with first_process() as first:
        if first:
            reward.save(Path(out) / "model")
            result = {"method": method, "after": found.row(), "train_records": len(kept), "held_out": len(held)}
            write_json(Path(out) / "result.json", {**result, "intake": intake.row()})
            of = (
                f"{found.clusters} new people, each known by {KNOWN_BY} others"
                if personal
                else f"{found.clusters} {split_by}s"
            )
            print(f"held-out accuracy {found} on verdicts of {of}; model in {Path(out) / 'model'}")


def _foreseen(reward: Any, held: Sequence[Any], by: str, most: int | None) -> Estimate:
    """How often the preferred answer comes first, in its context where a pair has one."""
    pairs = [p for p in held if isinstance(p, Comparison)] + rated_pairs([r for r in held if isinstance(r, Rating)])
    some = spread_out(pairs, most)
    told = [p.model_copy(update={"columns": p.columns | {"context": p.context}}) if p.context else p for p in some]
    return accuracy(Referee(reward)(told), [cluster(p, by) for p in some])


def _changed(training: Training) -> dict[str, Any]:
    """What is not at its default: the rest is the method's own to choose."""
    return {f.name: v for f in fields(Training) if (v := getattr(training, f.name)) != getattr(Training(), f.name)}


def load_saved(folder: str, device: str = "auto", dtype: str = "auto") -> Any:
    """A saved head with its features, in the precision in which it learned on them unless another is asked for."""
    from accord.rewards.saved import about

    source = about(folder)["features"]
    features: Features | None = None
    if "model" in source:
        features = open_features(source["model"], device, source.get("dtype", dtype) if dtype == "auto" else dtype)
    elif "encoder" in source:
        features = SentenceFeatures(SentenceEncoder(source["encoder"], max_tokens=source["max_tokens"], device=device))
    return load_head(folder, features)
