"""Heads on frozen features on disk: they come back as they were, and only on the features that they were trained on."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from accord.cli import main
from accord.cli.recipes import FOLDER
from accord.errors import ConfigError, ModelError
from accord.feedback import Comparison
from accord.rewards import (
    PAL,
    VPL,
    BayesianEnsemble,
    HeadReward,
    Saved,
    SentenceEncoder,
    SentenceFeatures,
    TrunkFeatures,
    load,
    score,
)
from accord.worlds import letters

ANSWERS = ["aab", "bcd", "ddd", "abcd"]
SAID = [
    Comparison(prompt=f"p{i}", chosen=ANSWERS[i % 2], rejected=ANSWERS[2 + i % 2], annotator=f"who-{i % 3}")
    for i in range(24)
]


class Letters:
    """How often each of four letters comes."""

    width = 4

    def __init__(self, fingerprint: str = "letters") -> None:
        self.fingerprint = fingerprint
        self.source: dict[str, Any] = {"kind": "letters counted"}

    def __call__(self, prompts: Any, completions: Any) -> Tensor:
        return torch.tensor([[float(c.count(x)) for x in "abcd"] for c in completions]).reshape(-1, 4)


MADE: dict[str, Saved] = {
    "head": HeadReward(Letters(), hidden=8).fitted(SAID, steps=3),
    "deep head": HeadReward(Letters(), hidden=(8, 8), aspects=("a", "b")),
    "vpl": VPL.fit(SAID, Letters(), context=3, latent=3, hidden=8, steps=3),
    "pal": PAL.fit(SAID, Letters(), prototypes=3, hidden=8, steps=3),
    "pal by angle": PAL.fit(SAID, Letters(), by="angle", hidden=8, steps=3),
    "bayesian": BayesianEnsemble.fit(SAID, Letters(), heads=3, hidden=4, worst="batch", steps=3),
}


def values(reward: Any) -> Tensor:
    return score(reward, prompts=["p"] * 4, completions=ANSWERS).values


@pytest.mark.parametrize("name", MADE)
def test_a_head_comes_back_as_it_was(name: str, tmp_path: Path) -> None:
    made = MADE[name]
    made.save(tmp_path / "rm")
    again = load(tmp_path / "rm", Letters())
    assert type(again) is type(made)
    assert again.fingerprint == made.fingerprint
    assert torch.equal(values(again), values(made))
    if hasattr(made, "for_newcomer"):
        mine = SAID[:4]
        assert torch.equal(values(again.for_newcomer(mine)), values(made.for_newcomer(mine)))  # type: ignore[operator]


def test_it_stands_on_its_own_features_and_is_of_its_own_kind(tmp_path: Path) -> None:
    MADE["pal"].save(tmp_path / "rm")
    with pytest.raises(ModelError, match="other weights of letters counted"):
        PAL.load(tmp_path / "rm", Letters("others"))
    with pytest.raises(ModelError, match="give them"):
        PAL.load(tmp_path / "rm")
    with pytest.raises(ModelError, match="holds a PAL, not a VPL"):
        VPL.load(tmp_path / "rm", Letters())
    with pytest.raises(ModelError, match="no saved reward"):
        load(tmp_path, Letters())
    info = json.loads((tmp_path / "rm" / "reward.json").read_text())
    (tmp_path / "rm" / "reward.json").write_text(json.dumps({**info, "kind": "combine"}))
    with pytest.raises(ModelError, match="no reward that is known"):
        load(tmp_path / "rm", Letters())


def test_what_an_older_accord_saved_or_was_cut_off_says_what_is_missing(tmp_path: Path) -> None:
    MADE["head"].save(tmp_path / "rm")
    info = json.loads((tmp_path / "rm" / "reward.json").read_text())
    (tmp_path / "rm" / "reward.json").write_text(json.dumps({"kind": info["kind"], "settings": info["settings"]}))
    for opened in (load, HeadReward.load):
        with pytest.raises(ModelError, match=r"says nothing of features, fingerprint: .*save the reward again"):
            opened(str(tmp_path / "rm"))


def test_a_newcomer_who_said_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="a newcomer wants at least one verdict"):
        MADE["pal"].for_newcomer([])  # type: ignore[operator]


def test_everybody_has_a_reward_and_strangers_the_mean_of_all() -> None:
    pal = MADE["pal"]
    assert isinstance(pal, PAL)
    named = pal(prompts=["p"] * 2, completions=ANSWERS[:2], person=["who-0", None]).values
    alone = pal.for_person("who-0")(prompts=["p"], completions=ANSWERS[:1]).values
    mean = pal.for_person(pal.tastes().mean(0).detach())(prompts=["p"], completions=ANSWERS[1:2]).values
    assert torch.allclose(named, torch.cat([alone, mean]))
    with pytest.raises(ConfigError, match="none of the 3 people"):
        pal(prompts=["p"], completions=["a"], person=["nobody"])
    vpl = MADE["vpl"]
    assert isinstance(vpl, VPL)
    rows = torch.tensor([[1.0, 1.0, 1.0, 1.0]])
    assert torch.allclose(vpl(prompts=["p"], completions=["abcd"]).values, vpl.value(rows, torch.zeros(1, 3)).detach())


HEADS = sorted(p.stem for p in FOLDER.glob("*.yaml") if "\nmethod:" in p.read_text() and "\nmodel:" in p.read_text())


@pytest.mark.parametrize("name", HEADS)
def test_a_recipe_trains_on_the_embedded_world_and_its_reward_scores(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = next(
        line for line in (FOLDER / f"{name}.yaml").read_text().splitlines() if "embedded world" in line
    ).split()
    call = [str(FOLDER / f"{name}.yaml") if w == f"{name}.yaml" else w for w in words[words.index("accord") + 1 :]]
    assert main([*call, "--out=run", "--limit=120", "--test=0.4", "--training.epochs=1"]) == 0
    assert "model in run/model" in capsys.readouterr().out
    result = json.loads(Path("run/result.json").read_text())
    assert result["method"] == yaml.safe_load((FOLDER / f"{name}.yaml").read_text())["method"]
    (tmp_path / "answers.jsonl").write_text(
        json.dumps({"prompt": "what is 2 plus 3 ?", "completion": "the answer is 5 ."}) + "\n"
    )
    assert main(["reward", "score", "--reward", "run/model", "--data", "answers.jsonl", "--out", "said.jsonl"]) == 0
    assert isinstance(json.loads(Path("said.jsonl").read_text())["reward"], float)


def test_features_of_a_language_model_are_found_again_by_its_name(tmp_path: Path) -> None:
    policy = letters.policy()
    made = HeadReward(TrunkFeatures(policy), hidden=4)
    made.save(tmp_path / "rm")
    info = json.loads((tmp_path / "rm" / "reward.json").read_text())
    assert info["features"] == {"model": policy.name, "dtype": "float32"}


def test_in_another_precision_a_head_is_told_so_and_opens_in_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = letters.policy()
    HeadReward(TrunkFeatures(policy.to(torch.bfloat16)), hidden=4).save(tmp_path / "rm")
    opened = load(tmp_path / "rm", device="cpu")
    assert opened.features.source["dtype"] == "bfloat16"
    (tmp_path / "a.jsonl").write_text(json.dumps({"prompt": "p", "completion": "the answer is 5 ."}) + "\n")
    call = ["reward", "score", "--reward", str(tmp_path / "rm"), "--data", str(tmp_path / "a.jsonl"), "--out", str(tmp_path / "s.jsonl")]  # fmt: skip
    assert main([*call, "--dtype", "float32"]) != 0
    assert "in another precision (bfloat16, here it is float32)" in capsys.readouterr().err


def test_a_sentence_encoder_is_opened_where_it_is_wanted(tmp_path: Path) -> None:
    HeadReward(SentenceFeatures(SentenceEncoder(device="cpu")), hidden=4).save(tmp_path / "rm")
    with pytest.raises(ConfigError, match="device='nowhere'"):
        load(tmp_path / "rm", device="nowhere")


@pytest.mark.parametrize(
    ("method", "why"),
    [("pal --lora 4", "leave lora"), ("raft", "no reward on frozen features"), ("par", "these do: .*pal")],
)
def test_what_a_head_can_not_be_told_is_refused(method: str, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    call = [
        "reward",
        "train",
        "--model",
        "letters",
        "--data",
        "letters/people",
        "--out",
        "run",
        "--method",
        *method.split(),
    ]
    assert main(call) == 2

    assert re.search(why, capsys.readouterr().err)
