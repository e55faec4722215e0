"""accord reward train --method NAME: a published method's reward, on frozen features; trained in seconds, measured on who or what is new."""

import inspect
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

from accord.catalogue import find, methods
from accord.cli.columns import with_context
from accord.cli.data import first_process, say, split
from accord.cli.embedded import rows_of
from accord.cli.evaluate import as_whom, tied
from accord.cli.heldout import cluster, of_some_prompts, rated_pairs, spread_out
from accord.cli.intake import Intake, Verdict, no_preference, of_kind
from accord.cli.options import check_options
from accord.cli.policies import check_policy, open_policy
from accord.engine import Training
from accord.engine.run import write_json
from accord.errors import ConfigError, FeedbackError, wanted
from accord.evaluation import accuracy
from accord.evaluation.benchmarks.layouts import benchmark_rows
from accord.evaluation.newcomers import known, of_nobody, told_and_asked
from accord.evaluation.trust import Referee, write_card
from accord.evaluation.trust import evaluate as tested
from accord.feedback import Comparison, Feedback, Ranking, Rating, split_people
from accord.policies import LanguagePolicy
from accord.rewards import Features, SentenceEncoder, SentenceFeatures, TrunkFeatures, VisionLanguageFeatures

NOT_OF_HEADS = {"lora", "fitting", "curated", "max_tokens", "gradient_checkpointing", "resume"}
"""Options of `accord reward train` that belong to no head on frozen features."""
UNKNOWN = "pairs ranked rightly as somebody of whom nothing is known"


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


def refuse_foreign(method: str, named: frozenset[str]) -> None:
    """Refuse options that a call names and the method has no use for; raises ConfigError for them."""
    made = head_method(method)
    foreign = NOT_OF_HEADS | ({"split_by", "test_limit"} if of_nobody(made) else {"known_by"})
    if not _rates(made):
        foreign |= {"aspect"}
    if said := sorted(foreign & {name.partition(".")[0] for name in named}):
        raise ConfigError(f"{method} trains a head on frozen features: leave {', '.join(said)} out")


def _reads_context(made: Any) -> bool:
    return "context" in inspect.signature(made.__call__).parameters


def _rates(made: Any) -> bool:
    """Whether ratings teach it too."""
    return get_args(inspect.signature(_trains(made)).parameters["records"].annotation) != (Comparison,)


def open_features(spec: str, device: str = "auto", dtype: str = "auto") -> Features:
    """Features of a sentence encoder (encoder:NAME), or of the last hidden state of a vision-language model (vision:NAME) or language model."""
    if spec.startswith("encoder:"):
        return SentenceFeatures(SentenceEncoder(spec.partition(":")[2], device=device))
    if spec.startswith("vision:"):
        return VisionLanguageFeatures.load(spec.partition(":")[2], device=device, dtype=dtype)
    return TrunkFeatures(open_policy(spec, device=device, dtype=dtype))


def train_head(
    method: str,
    model: str,
    data: str,
    out: str,
    options: dict[str, Any] | None,
    training: Training,
    named: frozenset[str],
    *,
    columns: dict[str, str] | None,
    skip_bad: bool,
    chat: bool,
    limit: int | None,
    aspect: str | None,
    people: bool,
    known_by: int,
    test: float,
    split_by: str,
    test_limit: int | None,
    probes: int,
    device: str,
    dtype: str,
) -> None:
    """See `accord.cli.reward.train`."""
    made = head_method(method)
    own = check_options([_trains(made)], options or {}, method, hidden={"records", "features"})
    if not model.startswith(("encoder:", "vision:")) and check_policy(model) is not LanguagePolicy:
        raise ConfigError(f"{model} has no features of texts: give a language model, encoder:NAME or vision:NAME")
    source = benchmark_rows(rows_of(data, [Comparison], training.seed, limit), persons=people)
    intake = Intake.read(source, columns, skip_bad, limit, chat, name=data)
    records, personal = _usable(made, method, intake, aspect), of_nobody(made)
    sides: Any = (
        split_people(records, test, seed=training.seed) if personal else split(records, test, training.seed, split_by)
    )
    kept, held = (list(side) for side in sides)
    wanted(bool(kept and held), "test leaves nobody on one side: give another share", test)
    # Before training, or it would turn out after it that nobody can be asked.
    asked = [p for _, some in told_and_asked(held, known_by).values() for p in some] if personal else _asked(held, test_limit)  # fmt: skip
    clusters = [p.annotator if personal else cluster(p, split_by) for p in asked]
    intake.tell(to_train_on=len(kept), held_out=len(held))
    reward = _trains(made)(kept, open_features(model, device, dtype), **own, **_said_of(training, named))
    folder = Path(out) / "model"
    with first_process() as first:
        if first:
            reward.save(folder)
    unknown = {UNKNOWN: accuracy(Referee(reward)(asked), clusters)} if personal else {}
    judge, asked = known(reward, held, known_by) if personal else (reward, asked)
    found = accuracy(Referee(judge)(asked), clusters)
    with first_process() as first:
        if first:
            result = {"method": method, "after": found.row(), "train_records": len(kept), "held_out": len(held)}
            write_json(Path(out) / "result.json", {**result, "intake": intake.row()})
            ranked = of_some_prompts(held, test_limit) if probes else ()
            card = tested(judge, asked, ranked, probes=probes, clusters=clusters, name=f"{Path(out).name}/model")
            who = as_whom(known_by) if personal else ""
            say(f"card: {write_card(card, folder, f'the held-out part of {data}', who=who, more=unknown)}")
            of = f"new people, each known by {known_by} others" if personal else f"{split_by}s"
            print(f"held-out accuracy {found} on verdicts of {found.clusters} {of}; model in {folder}")


def _usable(made: Any, method: str, intake: Intake, aspect: str | None) -> Feedback:
    """What the method can learn from; rankings as the comparisons within them."""
    kinds: tuple[type, ...] = (Comparison, Ranking)
    verdicts: list[Verdict] = [no_preference, tied]
    if _rates(made):
        kinds = (*kinds, Rating)
        verdicts.append(intake.narrow(aspect))
    if not _reads_context(made):
        verdicts.append(lambda r: f"{method} reads no context" if getattr(r, "context", None) else None)
    usable = intake.sift(intake.records, of_kind(kinds, f"{method} learns from"), *verdicts, purpose="train on")
    return Feedback((*intake.pairs(usable), *usable.of(Rating)))


def _asked(held: Sequence[Any], most: int | None) -> list[Comparison]:
    """Held-out pairs, those of ratings too, each with its context among its columns."""
    pairs = [p for p in held if isinstance(p, Comparison)] + rated_pairs([r for r in held if isinstance(r, Rating)])
    if not pairs:
        raise FeedbackError(
            "no two held-out answers to one prompt are compared or rated differently: give another test or split_by"
        )
    return [with_context(p) for p in spread_out(pairs, most)]


def _said_of(training: Training, named: frozenset[str]) -> dict[str, Any]:
    """What the call says of training: the rest is the method's own to choose."""
    said = {f.name: getattr(training, f.name) for f in fields(Training)}
    return {name: value for name, value in said.items() if any(n.split(".")[:2] == ["training", name] for n in named)}
