"""Habits that users of other libraries bring: they work, or are answered with what does."""

import dataclasses
import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import accord
from accord import catalogue
from accord.algorithms import GRPO, RLOO, DRaFT
from accord.cli import main
from accord.cli.makers import MAKERS
from accord.cli.rewards import check_reward, open_reward
from accord.engine import Training
from accord.errors import ConfigError
from accord.policies import LanguagePolicy, Sampling
from accord.policies.adapters import lora_config
from accord.policies.diffusion import Denoising
from accord.rewards import combine, score
from accord.rewards.combine import reward_of
from accord.worlds import letters
from conftest import tiny_policy
from tiny_pipelines import contrast
from tiny_pipelines import policy as pictures

ASKED = [t.prompt for t in letters.tasks(3)]


def says(name: str, value: float) -> Any:
    def reward(*, prompts: Any, completions: Any, **columns: Any) -> list[float]:
        return [value * len(c) for c in completions]

    reward.__name__ = name
    return reward


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-2, 2), min_size=1, max_size=4), st.booleans())
def test_a_list_of_rewards_is_their_sum_and_shows_each(values: list[float], alike: bool) -> None:
    several = [says("same" if alike else f"r{i}", v) for i, v in enumerate(values)]
    said = score(reward_of(several), prompts=["p", "q"], completions=["a", "bc"])
    assert said.values.tolist() == pytest.approx([sum(values), 2 * sum(values)], abs=1e-5)
    assert [v[0].item() for v in said.aspects.values()] == pytest.approx(values, abs=1e-6)


def test_methods_and_searches_take_several_rewards() -> None:
    one, two, policy = says("one", 1.0), says("two", -3.0), tiny_policy()
    short = Sampling(max_new_tokens=4)
    whole = combine({"one": one, "two": two})
    for several in ([one, two], {"one": one, "two": two}):
        found = [accord.search.best_of_n(policy, r, ASKED, 3, short)[1].values for r in (several, whole)]
        assert torch.equal(*found)
        algorithm = GRPO(policy, several, group_size=2, sampling=short)  # type: ignore[arg-type]
        run = accord.fit(algorithm, ASKED, steps=1, batch_size=2, progress=False)
        assert {"reward/one", "reward/two"} <= run.metrics[0].keys()
    p = pictures("sd")
    assert torch.equal(*(accord.search.noise_optimise(p, r, ["a cat"], iterations=1).values for r in ([contrast, contrast], lambda **x: 2 * contrast(**x))))  # fmt: skip
    for name in ("runs/rm/model", Path("rm")):
        with pytest.raises(ConfigError, match=r"BradleyTerry\.load"):
            GRPO(policy, name)  # type: ignore[arg-type]


DICTS: dict[str, tuple[Any, Any]] = {
    "sampling of words": (Sampling(), lambda d: RLOO(tiny_policy(), says("r", 1.0), sampling=d).sampling),
    "sampling of pictures": (Denoising(), lambda d: DRaFT(pictures("sd"), contrast, sampling=d).sampling),
    "training": (Training(), lambda d: Training.of(d, {})),
}
OTHER: dict[Any, Any] = {
    "max_new_tokens": 3,
    "temperature": 0.5,
    "stop": ("x",),
    "steps": 3,
    "guidance": 2.0,
    "eta": 0.5,
    "lr": 1e-3,
    "batch_size": 3,
}
"""Values that are no defaults."""


@pytest.mark.parametrize("name", DICTS)
def test_a_dict_stands_for_the_dataclass_with_those_fields(name: str) -> None:
    default, made = DICTS[name]
    tried = OTHER.keys() & {f.name for f in dataclasses.fields(default)}
    assert tried
    for key in tried:
        assert made({key: OTHER[key]}) == dataclasses.replace(default, **{key: OTHER[key]})
    assert made({k: OTHER[k] for k in tried}) == made(dataclasses.replace(default, **{k: OTHER[k] for k in tried}))
    for wrong in ({"learning_rte": 1}, 7, "fast", Training if name != "training" else Sampling()):
        with pytest.raises(ConfigError):
            made(wrong)


def test_a_dict_draws_as_its_dataclass_does() -> None:
    policy = tiny_policy()
    short = policy.sample(ASKED, 2, {"max_new_tokens": 4}, seed=3)
    assert short.completions == policy.sample(ASKED, 2, Sampling(max_new_tokens=4), seed=3).completions


def test_a_dict_of_lora_is_pefts_configuration() -> None:
    found = lora_config({"r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}, "m", targets="all-linear")
    assert (found.r, found.lora_alpha, found.target_modules) == (4, 8, {"q_proj"})
    assert LanguagePolicy.load(letters.WEIGHTS, lora={"r": 2}).adapted
    with pytest.raises(ConfigError, match="here it is r"):
        lora_config({"rank": 4}, "m", targets="all-linear")


TRAINERS = [m for m in catalogue.methods() if m.entry and m.entry.startswith("accord.algorithms:")]


@pytest.mark.parametrize("method", TRAINERS, ids=lambda m: m.name)
def test_a_name_from_elsewhere_is_an_option_here_or_is_answered_with_the_one_that_is(method: Any) -> None:
    made = method.load()
    known = inspect.signature(made).parameters
    for name, here in accord.elsewhere.NAMES.items():
        if name not in known:
            with pytest.raises(ConfigError) as error:
                made(None, **{name: 1})
            assert f"no option {name!r} (here it is {here}" in str(error.value)


# On the command line.


def spec(value: float) -> dict[str, Any]:
    return {"length_penalty": {"target": 0, "per": value, "unit": "characters"}}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.1, 2), min_size=2, max_size=3), st.sampled_from(["mean", "min", "median"]))
def test_a_specification_of_rewards_within_rewards_is_what_it_says(values: list[float], how: str) -> None:
    held = {f"r{i}": spec(v) for i, v in enumerate(values)}
    for said, wanted in (
        ([*held.values()], -sum(values)),
        ({"combine": {"rewards": held, "weights": {"r0": 3.0}}}, -sum(values) - 2 * values[0]),
        ({"Ensemble": {"members": [*held.values()], "how": how}}, -float(getattr(torch.tensor(values), {"min": "amax"}.get(how, how))()) if how != "median" else -sorted(values)[1] if len(values) == 3 else -sum(values) / 2),
        ({"ceil": {"reward": held["r0"], "at": -100}}, -100.0),
    ):  # fmt: skip
        check_reward(said)
        assert score(open_reward(said), prompts=["p"], completions=["x"]).values.item() == pytest.approx(
            wanted, abs=1e-4
        )


@pytest.mark.parametrize(("said", "why"), [
    ({"par": {}}, "'reward' wants a reward"), ({"par": {"reward": spec(1)}}, "compares with answers"), ([], "without any name"),
    ({"Ensemble": {"members": spec(1)}}, "a list of rewards"), ({"combine": {"rewards": [spec(1)]}}, "rewards by name"),
    ({"combine": {"rewards": {"a": {"nice": {}}}}}, "no rule called 'nice'"), ({"clip": {"reward": spec(1), "at": 3}}, "no option 'at'"),
    ({"clip": 3}, "its options by name"),
])  # fmt: skip
def test_a_wrong_specification_is_one_line(said: Any, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        check_reward(said)


def test_every_maker_is_one_of_rewards_that_a_specification_can_write() -> None:
    assert set(MAKERS) <= set(accord.rewards.__all__)
    assert {m.load().__name__ for m in catalogue.methods() if m.by} <= set(MAKERS)


def test_par_from_the_command_line_is_rloo_with_that_reward(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The reward begins near a half, since nothing beats its own like; both ways of asking give the same run."""
    say = ["--policy", "letters", "--data", "letters", "--lora", '{"r": 2}', "--sampling.max_new_tokens=12", "--limit=12", "--test=0.2",
           "--training.steps=1", "--training.batch_size=4", "--training.progress=false", "--group_size=2"]  # fmt: skip
    inner = {"length_penalty": {"target": 0, "per": 0.2}}
    whole = {"par": {"reward": inner, "references": 4, "slope": 0.5}}
    asked = {"par": ["--reward", json.dumps(inner), "--slope=0.5"], "rloo": ["--reward", json.dumps(whole)]}
    runs = {}
    for method, reward in asked.items():
        assert main(["align", method, *say, *reward, "--out", str(tmp_path / method)]) == 0
        runs[method] = json.loads((tmp_path / method / "result.json").read_text())["after"]
    assert runs["par"] == runs["rloo"]
    assert runs["par"]["reward/proxy"] == pytest.approx(0.5, abs=0.2)
    assert "reward/proxy/raw" in runs["par"]
