"""The command line as a user meets it: real commands on a real (tiny) model, and every mistake in one line."""

import json
import re
from pathlib import Path

import pytest

from accord.cli import main
from accord.cli.methods import Trainer, names
from accord.policies import LanguagePolicy
from accord.policies.diffusion import as_picture
from accord.rewards import BradleyTerry, score
from accord.worlds import letters

MODEL = str(letters.WEIGHTS)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A user's own JSONL."""
    rows = [{"prompt": t.prompt, "chosen": f"the answer is {i % 9} . thank you for asking .", "rejected": f"i admire you . the answer is {i % 9} ."}
            for i, t in enumerate(letters.tasks(40))]  # fmt: skip
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


QUICK = ["--training.steps", "3", "--training.batch_size", "4", "--training.lr", "0.001", "--training.progress=false"]


def test_align_by_preferences_end_to_end(pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    config = tmp_path / "run.yaml"
    config.write_text(f"method: dpo\npolicy: {MODEL}\ndata: {pairs}\nout: {out}\nbeta: 0.2\ntest: 0.3\n")
    assert main(["align", str(config), *QUICK, "--lora", "4"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["before"]["accuracy"] == 0.5
    assert result["after"]["margin"] > 0
    page = (out / "report.html").read_text()
    assert "<svg" in page
    assert "src=" not in page, "self-contained"
    assert LanguagePolicy.load(out / "policy").sample(["what is 2 plus 3 ?"]).completions
    assert main(["align", str(config), *QUICK, "--lora", "4"]) == 1, "a second run must not overwrite the first"


def test_reward_train_evaluate_score_and_use(pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "rm"
    assert (
        main(["reward", "train", "--model", MODEL, "--data", str(pairs), "--out", str(out), "--test", "0.3", *QUICK])
        == 0
    )
    assert "held-out accuracy" in capsys.readouterr().out
    assert main(["reward", "evaluate", "--reward", str(out / "model"), "--data", str(pairs), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"]["n"] == 40
    flat = tmp_path / "flat.jsonl"
    flat.write_text(json.dumps({"prompt": "what is 2 plus 3 ?", "completion": "the answer is 5 ."}) + "\n")
    assert (
        main(
            ["reward", "score", "--reward", str(out / "model"), "--data", str(flat), "--out", str(tmp_path / "s.jsonl")]
        )
        == 0
    )
    said = json.loads((tmp_path / "s.jsonl").read_text())["reward"]
    again = score(BradleyTerry.load(out / "model"), prompts=["what is 2 plus 3 ?"], completions=["the answer is 5 ."])
    assert said == pytest.approx(float(again.values), abs=1e-5)
    capsys.readouterr()
    options = ["--policy", MODEL, "--prompt", "what is 2 plus 3 ?", "--n", "4", "--sampling.max_new_tokens", "16"]
    assert main(["sample", *options, "--search", "best-of-n", "--reward", str(out / "model")]) == 0
    assert "reward" in json.loads(capsys.readouterr().out)


def test_on_policy_alignment_with_a_rule_and_a_judge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, judge = tmp_path / "prompts.jsonl", tmp_path / "judge.py"
    data.write_text(
        "".join(
            json.dumps({"prompt": t.prompt, "answer": t.columns["answer"] or "0"}) + "\n"
            for t in letters.tasks(20, kinds=("sum",))
        )
    )
    judge.write_text(
        "def brief(*, prompts, completions, **columns):\n    return [-float(len(c)) for c in completions]\n"
    )
    out = tmp_path / "run"
    call = ["align", "rloo", "--policy", MODEL, "--data", str(data), "--out", str(out), "--reward", '{"numeric_answer": {}}',
            "--judge", f"{judge}:brief", "--group_size", "2", "--sampling.max_new_tokens", "12", "--test", "0.3", *QUICK]  # fmt: skip
    assert main(call) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"reward/proxy", "reward/judge", "kl", "length"} <= result["after"].keys()
    page = (out / "report.html").read_text()
    assert "Signs of reward hacking" in page
    assert "Answers before and after" in page


def mistakes(tmp_path: Path) -> dict[str, tuple[list[str], str]]:
    empty, wrong, out = tmp_path / "empty.jsonl", tmp_path / "wrong.jsonl", str(tmp_path / "o")
    empty.write_text("")
    wrong.write_text('{"prompt": "p", "better": "a", "worse": "b"}\n')
    good = tmp_path / "good.jsonl"
    good.write_text(
        "".join(f'{{"prompt": "what is {i} plus 3 ?", "chosen": "a", "rejected": "b"}}\n' for i in range(9))
    )
    align = ["align", "--policy", MODEL, "--out", out, "--method"]
    return {
        "an empty file": ([*align, "dpo", "--data", str(empty)], "empty"),
        "a wrong column": ([*align, "dpo", "--data", str(wrong)], "better"),
        "no such file": ([*align, "dpo", "--data", "/no/file.jsonl"], "no file at /no/file.jsonl"),
        "no such model": (
            ["align", "dpo", "--out", out, "--policy", "/no/model", "--data", str(good)],
            "/no/model",
        ),
        "an unknown option": (
            [*align, "dpo", "--data", str(good), "--eta", "1"],
            "dpo has no option 'eta'",
        ),
        "an unknown method": ([*align, "dppo", "--data", str(good)], "dppo"),
        "a method without its reward": ([*align, "grpo", "--data", str(good)], "wants a reward"),
        "a reward for an offline method": ([*align, "dpo", "--data", str(good), "--reward", "x"], "not from a reward"),
        "the wrong kind of feedback": ([*align, "kto", "--data", str(good)], "label"),
        "truncated training samples": (
            [
                *align,
                "grpo",
                "--data",
                str(good),
                "--reward",
                '{"matches": {"pattern": "a"}}',
                "--sampling.top_p",
                "0.5",
            ],
            "never truncated",
        ),
        "an unknown rule": ([*align, "grpo", "--data", str(good), "--reward", '{"nice": {}}'], "no rule called 'nice'"),
        "a number that is none": ([*align, "dpo", "--data", str(good), "--training.lr", "fast"], "lr"),
        "a value out of range": ([*align, "dpo", "--data", str(good), "--training.steps", "0"], "steps"),
        "an unknown flag": ([*align, "dpo", "--data", str(good), "--fast"], "fast"),
        "a config that is not there": (["align", "none.yaml"], "none.yaml"),
        "an unknown command": (["aling"], "did you mean align"),
        "no run": (["report", str(tmp_path)], "not a run"),
        "no system": (["reproduce", "rafft"], "did you mean raft"),
        "an unwritten system": (["reproduce", "magicid"], "no reproduction yet"),
        "a file for tuning": (["reproduce", "raft", "--tune=true", "--json", "f.json"], "--json names the file"),
        "twins for tuning": (["reproduce", "raft", "--tune=true", "--twins", "3"], "--twins is for --plan"),
        "no recipe": (["recipes", "copy", "none"], "no recipe"),
        "nothing to sample": (["sample", "--policy", MODEL], "--prompt or --data"),
        "words of a size": (
            ["sample", "--policy", "letters", "--prompt", "hi", "--size", "32"],
            "size=32 is for pictures",
        ),
    }


@pytest.mark.parametrize("name", mistakes(Path("/tmp")) if Path("/tmp").is_dir() else [])
def test_every_mistake_is_one_line_and_exit_code_two_or_one(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call, wanted = mistakes(tmp_path)[name]
    code = main(call)
    said = capsys.readouterr()
    assert code in (1, 2)
    lines = [x for x in said.err.splitlines() if x.strip()]
    assert len(lines) == 1, said.err
    assert wanted in lines[0]
    assert not (tmp_path / "o" / "metrics.jsonl").exists()


def test_methods_prints_the_whole_catalogue_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [r["number"] for r in rows if r["number"] is not None] == list(range(1, 97))
    assert {"dpo", "grpo", "flow-grpo", "diffusion-nft"} <= {r["name"] for r in rows if r["number"] is None}
    assert rows[18].keys() == {"number", "name", "title", "kind", "modality", "status", "reproduction"}
    assert {r["status"] for r in rows} == {"working", "planned"}
    assert main(["methods", "--kind", "judge", "--json"]) == 0
    assert {r["kind"] for r in json.loads(capsys.readouterr().out)} == {"judge"}


def test_methods_shows_the_systems_and_then_what_is_also_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods"]) == 0
    systems, also = capsys.readouterr().out.split("also here")
    assert " raft " in systems
    assert " flow-grpo " in also
    assert " raft " not in also


TRAINERS = {t.name: t for t in map(Trainer.find, names())}


@pytest.mark.parametrize("name", TRAINERS)
def test_a_methods_help_shows_its_options_and_no_others(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["align", name, "--help"]) == 0
    said = capsys.readouterr().out
    every = {o for t in TRAINERS.values() for o in t.options}
    shown = set(re.findall(r"^  --(\w+)", said, re.MULTILINE))
    assert every & shown == set(TRAINERS[name].options)
    assert ("reward" in shown) == TRAINERS[name].takes_reward, "some bring their own"
    assert ("--sampling" in said) == TRAINERS[name].samples


@pytest.mark.parametrize(("call", "said"), [
    ("ppo --policy portraits", "ppo wants a policy that draws completions and shows the hidden states"),
    ("alignprop --policy letters", "alignprop wants a policy that makes pictures by denoising"),
    ("lambda-harmonic-rpo --policy letters", "lambda-harmonic-rpo wants a policy that makes pictures"),
    ("reno --policy portraits", "reno trains no policy"),
    ("magicid --policy portraits", "planned"),
    ("barfi --policy letters", "barfi wants a policy that acts in an environment"),
    ("--policy letters", "wants a method"),
])  # fmt: skip
def test_what_a_method_needs_is_asked_before_anything_is_loaded(
    call: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["align", *call.split(), "--data", "none.jsonl", "--reward", "r.py:f", "--out", str(tmp_path / "o")]) == 2
    )
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    assert said in error


@pytest.mark.parametrize(("flag", "here"), [
    ("learning_rate", "--training.lr"), ("num_generations", "--group_size"), ("max_completion_length", "--sampling.max_new_tokens"),
    ("per_device_train_batch_size", "--training.batch_size"), ("num_train_epochs", "--training.epochs"), ("beta", "--kl"),
    ("reward_funcs", "--reward"), ("temperature", "--sampling.temperature"), ("epsilon", "--clip"),
    ("training.learning_rate", "--training.lr"), ("klip", "--clip"),
])  # fmt: skip
def test_a_name_of_trls_is_answered_with_the_one_of_here(
    flag: str, here: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = [
        "align",
        "grpo",
        "--policy",
        "letters",
        "--data",
        "letters",
        "--reward",
        "r.py:f",
        "--out",
        str(tmp_path / "o"),
    ]
    config = tmp_path / "run.yaml"
    section, _, key = flag.rpartition(".")
    config.write_text(f"{section}:\n  {key}: 1\n" if section else f"{flag}: 1\n")
    for more in ([f"--{flag}", "1"], [str(config)]):
        assert main([*call, *more]) == 2
        error = capsys.readouterr().err.strip()
        assert "\n" not in error
        assert f"{here}" in error


def test_pictures_are_drawn_into_a_folder_and_searched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["sample", "--policy", "portraits/consistency", "--prompt", "a person with a red hat"]
    looks = ["--reward", "accord.worlds.portraits:Looks"]
    assert main(call) == 2
    assert "--out" in capsys.readouterr().err
    few = ["--sampling.steps=2", "--sampling.guidance=1"]
    assert main([*call, *few, "--n", "2", "--size", "[32,48]", "--out", str(tmp_path / "plain")]) == 0
    assert sorted(p.name for p in (tmp_path / "plain").iterdir()) == ["0000.png", "0001.png", "samples.jsonl"]
    assert as_picture(tmp_path / "plain" / "0000.png").shape == (3, 32, 48)
    values = {}
    for i in (1, 3):
        out = tmp_path / str(i)
        assert main([*call, "--search", "reno", *looks, "--iterations", str(i), "--out", str(out)]) == 0
        (row,) = map(json.loads, (out / "samples.jsonl").read_text().splitlines())
        values[i] = row["reward"]
        assert as_picture(str(out / row["completion"])).shape == (3, 64, 64)
    assert values[3] >= values[1], "the first iteration is the plain sample, and the best is kept"


def test_help_shows_real_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["align", "--help"]) == 0
    said = capsys.readouterr().out
    assert "default: 1e-05" in said
    assert "default: prompt" in said


def test_the_demo_learns_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"
    assert main(["demo", "letters", "--out", str(out), "--pairs", "120", "--steps", "3"]) == 0
    assert f"report: {out / 'report.html'}" in capsys.readouterr().out
    page = (out / "report.html").read_text()
    assert "proxy" in page
    assert "gold" in page
    assert (out / "feedback.jsonl").is_file()
    assert (out / "policy" / "config.json").is_file()
    assert BradleyTerry.load(out / "reward")


def test_a_method_and_its_policy_may_be_flags_too() -> None:
    from accord.cli import _method_by_position

    plain = ["align", "dpo", "--policy", "m", "--beta", "1"]
    assert _method_by_position(["align", "--policy", "m", "--method", "dpo", "--beta", "1"]) == plain
    assert _method_by_position(["align", "--method=dpo", "--model", "m", "--beta", "1"]) == plain
    assert _method_by_position(["align", "run.yaml", "--model=m"]) == ["align", "run.yaml", "--policy=m"]
    assert _method_by_position(["reward", "train", "--model", "m"]) == ["reward", "train", "--model", "m"]
