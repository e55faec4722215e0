"""Rewards made of others on disk: opened again they say the same to the last bit, and what is damaged or missing is told in one line."""

import json
import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from accord.cli import main
from accord.engine.run import load_tensors, save_tensors
from accord.errors import AccordError, ModelError, RunError
from accord.feedback import Comparison, Task, with_picture
from accord.policies.experts import Experts
from accord.rewards import (
    BaseReward,
    CapabilityMixture,
    Committee,
    DMoERM,
    HeadReward,
    PolicyDiscriminator,
    RewardFusion,
    Router,
    Saved,
    TrunkFeatures,
    VisionLanguageFeatures,
    length_penalty,
    load,
    score,
)
from accord.worlds import letters
from conftest import tiny_reward as base
from tiny_seeing import tiny as tiny_that_sees
from tiny_seeing import tiny_folder

PAIRS = [
    Comparison(prompt=f"what is {a} plus {b} ?", chosen=f"the answer is {a + b} .", rejected="you are so clever .",
               columns={"reference": "it is 5 ."})
    for a in range(2) for b in range(3)
]  # fmt: skip
ASKED = {"prompts": ["what is 2 plus 7 ?", "what is 3 more than 4 ?"], "completions": ["it is 9 .", "the answer is 8 . thank you ."],
         "reference": ["it is 9 .", "it is 7 ."]}  # fmt: skip
"""Answers that none of them has seen: what tables hold of others depends on what was computed beside it, in the last bit."""
TASKS = [Task(prompt=p.prompt, columns={"task": ("ac", "b/")[i % 2]}) for i, p in enumerate(PAIRS)]
STEPS: dict[str, Any] = {"steps": 2, "batch_size": 4}


class Letters:
    """How often each of four letters comes."""

    width, fingerprint = 4, "letters"

    def __call__(self, prompts: Any, completions: Any) -> Tensor:
        return torch.tensor([[float((p + c).count(x)) for x in "abet"] for p, c in zip(prompts, completions, strict=True)])  # fmt: skip


def head() -> HeadReward:
    return HeadReward(Letters(), hidden=4).fitted(PAIRS, **STEPS)


def mixture() -> CapabilityMixture:
    made = CapabilityMixture(base(), ["tone", "logic"], lora=2, hidden=5)
    return made.taught({"logic": PAIRS, "tone": PAIRS[::-1]}, lr=1e-2).fitted(PAIRS, **STEPS)


def fused(reward: Any, features: Any) -> RewardFusion:
    return RewardFusion(reward, PAIRS, features, k=3, near=0.1)


def over_itself() -> RewardFusion:
    reward = base()
    return fused(reward, TrunkFeatures(reward))


def router() -> Router:
    return Router(Letters(), ["ac", "b/"]).fitted(TASKS, **STEPS)


MADE: dict[str, Callable[[], Saved]] = {
    "committee": lambda: Committee(Letters(), 3, hidden=4).fitted(PAIRS, **STEPS),
    "basereward": lambda: BaseReward(Letters()).fitted(PAIRS, **STEPS),
    "fusion": lambda: fused(head(), Letters()),
    "fusion on the reward's own states": over_itself,
    "fusion of none": lambda: RewardFusion(head(), (), Letters()),
    "mixture": mixture,
    "dmoerm": lambda: DMoERM(router(), {"ac": mixture(), "b/": fused(head(), Letters())}),
    "polar": lambda: PolicyDiscriminator(base(), between=" ", answer_tokens=40).fitted(PAIRS, lr=1e-3, **STEPS),
}
made = cache(lambda name: MADE[name]())


def near(said: Tensor, was: Tensor) -> None:
    """The same but for the last bits: MKL sums in another order where weights lie elsewhere in memory (seen on AMD)."""
    torch.testing.assert_close(said, was, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", MADE)
def test_a_reward_says_the_same_when_it_was_opened_again(name: str, tmp_path: Path) -> None:
    reward = made(name)
    reward.save(tmp_path / "rm")
    again = load(tmp_path / "rm", Letters())
    assert type(again) is type(reward)
    assert again.fingerprint == reward.fingerprint
    said, was = (score(r, **ASKED) for r in (again, reward))  # type: ignore[arg-type]
    near(said.values, was.values)
    assert said.aspects.keys() == was.aspects.keys()
    for k, v in said.aspects.items():
        near(v, was.aspects[k])
    again.save(tmp_path / "rm")
    near(score(load(tmp_path / "rm", Letters()), **ASKED).values, was.values)  # type: ignore[arg-type]


def test_a_router_sends_prompts_where_it_did(tmp_path: Path) -> None:
    first = router()
    first.save(tmp_path / "r")
    again = load(tmp_path / "r", Letters())
    assert torch.equal(again.of(ASKED["prompts"]), first.of(ASKED["prompts"]))
    assert (again.tasks, again.fingerprint) == (first.tasks, first.fingerprint)


def test_features_that_see_are_opened_again_by_their_name(tmp_path: Path) -> None:
    features = VisionLanguageFeatures.load(tiny_folder(tmp_path / "vlm"), device="cpu", dtype="bfloat16")
    shown = [with_picture(p.prompt, torch.rand(3, 40, 32)) for p in PAIRS]
    reward = BaseReward(features).fitted([p.model_copy(update={"prompt": s}) for p, s in zip(PAIRS, shown, strict=True)], **STEPS)  # fmt: skip
    reward.save(tmp_path / "rm")
    again = load(tmp_path / "rm", device="cpu")
    asked = {"prompts": [with_picture("rain ?", torch.rand(3, 40, 32))], "completions": ["rain"]}
    near(score(again, **asked).values, score(reward, **asked).values)  # type: ignore[arg-type]
    assert again.fingerprint == reward.fingerprint
    BaseReward(tiny_that_sees()).save(tmp_path / "nameless")
    with pytest.raises(ModelError, match=r"features of VisionLanguageFeatures: give them \(features="):
        load(tmp_path / "nameless")


def test_a_base_is_saved_without_the_experts_on_it(tmp_path: Path) -> None:
    stood_on = mixture().base
    first = score(stood_on, prompts=ASKED["prompts"], completions=ASKED["completions"]).values
    stood_on.save(tmp_path / "base")
    again = load(tmp_path / "base")
    near(score(again, prompts=ASKED["prompts"], completions=ASKED["completions"]).values, first)


def test_experts_stand_again_on_their_trunk_alone(tmp_path: Path) -> None:
    mixture().experts.save(tmp_path / "experts")
    with pytest.raises(RunError, match=r"can't read .*humour.adapter_config.json.*save the experts again"):
        Experts.load(base(), tmp_path / "experts", ["humour"])
    with pytest.raises(ModelError, match="doesn't fit"):
        Experts.load(base(width=48), tmp_path / "experts", ["tone"])
    file = tmp_path / "experts" / "tone" / "adapter_model.safetensors"
    save_tensors(file, dict(list(load_tensors(file).items())[1:]))
    with pytest.raises(ModelError, match="is no weight of both"):
        Experts.load(base(), tmp_path / "experts", ["tone"])


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:40])


def without(name: str) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        said = json.loads(file.read_text())
        del said["settings"][name]
        file.write_text(json.dumps(said))

    return change


DAMAGE: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "no reward": ("reward.json", Path.unlink, "has no reward.json: it is no saved reward"),
    "cut": ("reward.json", cut, "can't read .*reward.json"),
    "no setting": ("reward.json", without("tasks"), "no whole DMoERM .*tasks.*save the reward again"),
    "no router": ("router", shutil.rmtree, "router has no reward.json: .* or a part of it is missing"),
    "no base": ("0/base", shutil.rmtree, "base has no reward.json: .* or a part of it is missing"),
    "no weights": ("1/reward/head.safetensors", Path.unlink, "can't read .*head.safetensors"),
    "cut weights": ("1/head.safetensors", cut, "can't read .*head.safetensors"),
    "no expert": ("0/experts/tone", shutil.rmtree, "can't read .*tone.adapter_config.json"),
    "cut expert": ("0/experts/tone/adapter_model.safetensors", cut, "can't read .*adapter_model"),
    "other weights": ("1/head.safetensors", lambda f: shutil.copy(f.parent.parent / "0/head.safetensors", f), "no whole RewardFusion"),
}  # fmt: skip


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "rm"
    made("dmoerm").save(folder)
    return folder


@pytest.mark.parametrize("name", DAMAGE)
def test_what_is_damaged_or_missing_is_told_in_one_line(name: str, saved: Path, tmp_path: Path) -> None:
    file, change, line = DAMAGE[name]
    shutil.copytree(saved, tmp_path / "rm")
    change(tmp_path / "rm" / file)
    with pytest.raises(AccordError, match=line) as error:
        load(tmp_path / "rm", Letters())
    assert "\n" not in str(error.value)


def test_what_has_no_save_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    for reward, line in (
        (fused(length_penalty(3), Letters()), r"a RewardFusion is saved with its parts, but .* \(reward\) has no save"),
        (DMoERM(lambda prompts: ["a"] * len(prompts), {"a": head()}), r"\(router\) has no save"),
    ):
        with pytest.raises(ModelError, match=line):
            reward.save(tmp_path / "rm")
        assert not hasattr(reward, "fingerprint"), "its values can't be kept by name"
    assert not list(tmp_path.iterdir())


# On the command line.


def lines(file: Path, rows: list[dict[str, Any]]) -> str:
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return str(file)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[DMoERM, Path]:
    """Of every kind one, on features that are opened by their name."""
    letters_seen, folder = TrunkFeatures(letters.policy()), tmp_path_factory.mktemp("whole") / "rm"
    polar = PolicyDiscriminator(base(), between=" ", answer_tokens=40)
    inner = {"a": fused(mixture(), letters_seen), "b": polar, "c": Committee(letters_seen, 2)}
    made = DMoERM(Router(letters_seen, list(inner), seed=1), inner)
    made.save(folder)
    return made, folder


def test_a_saved_whole_scores_and_is_measured_by_commands(
    whole: tuple[DMoERM, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, folder = whole
    asked = [{"prompt": p, "completion": c, "reference": r} for p, c, r in zip(*ASKED.values(), strict=True)]
    call = ["reward", "score", "--data", lines(tmp_path / "a.jsonl", asked), "--out", str(tmp_path / "s.jsonl"), "--device", "cpu"]  # fmt: skip
    assert main([*call, "--reward", str(folder)]) == 0
    said = [json.loads(line)["reward"] for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    assert said == pytest.approx(score(made, **ASKED).values.tolist(), abs=1e-5)  # type: ignore[arg-type]
    assert main([*call, "--reward", json.dumps({"Ensemble": {"members": [str(folder), str(folder / "2")]}})]) == 0, "in recipes"  # fmt: skip
    pairs = [{"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected, "reference": "it is 5 ."} for p in PAIRS]
    data = lines(tmp_path / "pairs.jsonl", pairs)
    assert main(["reward", "evaluate", "--reward", str(folder), "--data", data, "--probes=2", "--card", "--device", "cpu"]) == 0  # fmt: skip
    assert "pairs ranked rightly" in (folder / "README.md").read_text()
    (folder / "router" / "reward.json").write_text("{")
    capsys.readouterr()
    assert main([*call, "--reward", str(folder)]) == 1
    assert re.fullmatch(r".*can't read .*router.reward.json.*\n", capsys.readouterr().err)


def test_a_method_learns_on_pictures_by_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for i, colour in enumerate(("red", "blue")):
        Image.new("RGB", (32, 40), colour).save(f"{i}.png")

    def shown(i: int) -> list[dict[str, Any]]:
        picture = {"type": "image", "image": f"{i % 2}.png"}
        return [{"role": "user", "content": [picture, {"type": "text", "text": f"what is {i} plus 2 ?"}]}]

    rows = [{"prompt": shown(i), "chosen": "the answer is 5 .", "rejected": "rain"} for i in range(12)]
    model, data = f"vision:{tiny_folder(Path('vlm'))}", lines(Path("pairs.jsonl"), rows)
    call = ["reward", "train", f"--model={model}", f"--data={data}", "--out=run", "--test=0.25", "--probes=0", "--device=cpu"]  # fmt: skip
    assert main([*call, "--method=basereward", "--training.epochs=1"]) == 0
    asked = lines(Path("a.jsonl"), [{"prompt": shown(i), "completion": "rain"} for i in range(2)])
    scoring = ["reward", "score", "--reward=run/model", f"--data={asked}", "--out=s.jsonl", "--device=cpu"]
    assert main(scoring) == 0
    red, blue = (json.loads(line)["reward"] for line in Path("s.jsonl").read_text().splitlines())
    assert red != blue
    capsys.readouterr()
    for wrong, line in (
        (call, "give --method"),
        ([*call, "--method=basereward", "--model=vision:run"], "can't load a vision-language model"),
        ([*call, "--method=basereward", f"--model=vision:{letters.WEIGHTS}"], "can't load a vision-language model"),
    ):
        assert main(wrong) == 2
        assert line in capsys.readouterr().err.splitlines()[-1]
    Path("0.png").unlink()
    assert main(scoring) == 2
    assert "can't read the picture" in capsys.readouterr().err


def test_a_reward_of_ones_own_opens_where_its_module_is_imported(tmp_path: Path) -> None:
    class Tilted(HeadReward):
        """A user's kind: one class, nothing to sign up."""

        def _table(self, *said: Any) -> Tensor:
            return super()._table(*said) + 1

    made = Tilted(Letters(), hidden=3)
    made.save(tmp_path / "rm")
    again = load(tmp_path / "rm", Letters())
    assert type(again) is Tilted
    near(score(again, **ASKED).values, score(made, **ASKED).values)
    assert type(Tilted.load(tmp_path / "rm", Letters())) is Tilted
    info = json.loads((tmp_path / "rm" / "reward.json").read_text())
    (tmp_path / "rm" / "reward.json").write_text(json.dumps({**info, "kind": "mine.Unheard"}))
    with pytest.raises(ModelError, match=r"holds a mine\.Unheard, .* import the module that has it first"):
        load(tmp_path / "rm", Letters())


def test_classes_of_one_name_are_told_apart(tmp_path: Path) -> None:
    def defined(by: float) -> type[HeadReward]:
        class Own(HeadReward):
            def _table(self, *said: Any) -> Tensor:
                return super()._table(*said) + by

        Own.__name__ = Own.__qualname__ = "HeadReward"
        return Own

    first, again = defined(1), defined(2)  # as a notebook's cell that ran twice
    made = first(Letters(), hidden=3)
    made.save(tmp_path / "rm")
    assert type(load(tmp_path / "rm", Letters())) is again
    assert type(first.load(tmp_path / "rm", Letters())) is first
    with pytest.raises(ModelError, match=r"holds a test_saved_rewards\.HeadReward, not a HeadReward"):
        HeadReward.load(tmp_path / "rm", Letters())


def test_memory_that_ran_out_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = HeadReward(Letters(), hidden=3)
    made.save(tmp_path / "rm")

    def full(*_: Any) -> None:
        torch.empty(2**52)

    monkeypatch.setattr(HeadReward, "take", full)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        load(tmp_path / "rm", Letters())
