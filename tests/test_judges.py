"""Judges: what their verdicts promise whoever judges, reading what they write, and a server with a real policy behind it."""

import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from accord.cli import main
from accord.errors import ConfigError, RewardError
from accord.feedback import Prompt
from accord.policies import LanguagePolicy, Sampling
from accord.rewards import Endpoint, Judge, PairJudge, PolicyJudge, Tournament, score
from accord.rewards.answers import choice, field, number, tagged
from conftest import tiny_policy

TEMPLATE = "{prompt} ; {first} ; {second}"
WORDS = ("a", "bb", "ccc", "dddd")


class Told:
    """Somebody who answers by a function of the question."""

    def __init__(self, choose: Any = None, write: Any = None, fingerprint: str = "") -> None:
        self._choose, self._write, self.fingerprint, self.asked = choose, write, fingerprint, 0

    def choose(self, questions: Sequence[Prompt], labels: Sequence[str]) -> Tensor:
        return torch.tensor([[float(self._choose(str(q))), 0.0] for q in questions])

    def write(self, questions: Sequence[Prompt], n: int = 1, seed: int = 0) -> list[list[str]]:
        self.asked += len(questions)
        return [[self._write(str(q), i) for i in range(n)] for q in questions]


def hashed(question: str) -> float:
    """An arbitrary judge, with a liking for the first place."""
    return 1.5 + (hash(question) % 1000) / 250


@given(st.lists(st.text("xyz ", min_size=1, max_size=6), min_size=2, max_size=5, unique=True))
def test_whoever_judges_two_answers_share_one_win_and_an_answer_is_as_good_as_itself(texts: list[str]) -> None:
    judge, n = PairJudge(Told(hashed), TEMPLATE), len(texts) - 1
    there, back = judge.wins(["?"] * n, texts[1:], texts[:-1]), judge.wins(["?"] * n, texts[:-1], texts[1:])
    assert torch.allclose(there + back, torch.ones(n), atol=1e-6)
    assert torch.allclose(judge.wins(["?"] * n, texts[1:], texts[1:]), torch.full((n,), 0.5), atol=1e-6)
    placed = PairJudge(Told(lambda q: 3.0), TEMPLATE)
    assert torch.allclose(placed.wins(["?"] * n, texts[1:], texts[:-1]), torch.full((n,), 0.5)), (
        "a liking for a place tells nothing"
    )
    one_way = PairJudge(Told(lambda q: 3.0), TEMPLATE, both=False)
    assert (one_way.wins(["?"] * n, texts[1:], texts[:-1]) > 0.9).all()


def by_length(question: str) -> float:
    _, first, second = question.split(" ; ")
    return len(first) - len(second)


def test_of_a_consistent_judge_the_reward_is_the_chance_to_beat_the_anchor() -> None:
    judge = PairJudge(Told(by_length), TEMPLATE)
    said = score(judge, prompts=["?"] * 4, completions=WORDS, anchor=["bb"] * 4)
    assert torch.allclose(said.values, torch.sigmoid(torch.tensor([-1.0, 0.0, 1.0, 2.0])))
    several = score(judge, prompts=["?"] * 4, completions=WORDS, anchor=[["bb", "dddd"]] * 4)
    other = score(judge, prompts=["?"] * 4, completions=WORDS, anchor=["dddd"] * 4)
    assert torch.allclose(several.values, (said.values + other.values) / 2)
    with pytest.raises(RewardError, match="compares with the column 'anchor', but the data have only"):
        score(judge, prompts=["?"], completions=["a"])


def test_a_tournament_ranks_a_group_and_its_wins_are_shared_out() -> None:
    said = score(
        Tournament(PairJudge(Told(by_length), TEMPLATE)),
        prompts=["?"] * 6,
        completions=[*WORDS, "x", "x"],
        group=[0] * 4 + [1] * 2,
    )
    assert said.values[:4].argsort().tolist() == [0, 1, 2, 3]
    assert float(said.values[:4].sum()) == pytest.approx(2.0), "six games, three for each"
    assert said.values[4:].tolist() == [0.5, 0.5]


@pytest.mark.parametrize(("parse", "text", "wanted"), [
    (number(1, 10), "I give it 7", 7.0), (number(1, 10), "Score: 7/10.", 7.0), (number(1, 10), "8.5 of 10? No: 6", 6.0),
    (number(1, 10), "eleven", None), (number(1, 10), "11", None), (number(), "-3.5", -3.5), (number(), "", None),
    (choice("A", "B"), "A", "A"), (choice("A", "B"), "Answer B.", "B"), (choice("A", "B"), "A is fine, but B", "B"),
    (choice("A", "B"), "A or B, who knows", None), (choice("A", "B"), "Both are bad", None), (choice("A", "B"), "B, as ever", "B"),
    (tagged("score", number(0, 5)), "<think>9</think><score> 4 </score>", 4.0), (tagged("score"), "<score>1</score> <score>2</score>", None),
    (tagged("score"), "<score>4", None), (field("rating"), 'first {"rating": 3} then ```json\n{"rating": 4}\n```', 4),
    (field("a", "b"), '{"a": {"b": "x"}}', "x"), (field("a", "b"), '{"a": 1}', None), (field("a"), "{broken", None),
    (field("score", inner=number(1, 5)), '{"score": "4/5"}', 4.0),
])  # fmt: skip
def test_what_a_text_says_is_read_and_what_it_does_not_say_is_not_guessed(parse: Any, text: str, wanted: Any) -> None:
    assert parse(text) == wanted


def test_a_verdict_that_cannot_be_read_is_no_verdict() -> None:
    said = score(
        Judge(Told(write=lambda q, i: "no idea" if "bb" in q else "10"), "{prompt} {completion}"),
        prompts=["?"] * 2,
        completions=["a", "bb"],
    )
    assert said.valid.tolist() == [True, False]
    assert said.parsed is not None
    assert said.parsed.tolist() == [True, False]
    assert said.text == ["10", "no idea"]
    assert said.values.tolist() == [1.0, 0.0]
    pairs = PairJudge(Told(write=lambda q, i: "A" if "a" in q else "?"), TEMPLATE, parse=choice("A", "B"))
    read = score(pairs, prompts=["?"] * 2, completions=["a", "x"], anchor=["y", "y"])
    assert read.valid.tolist() == [True, False]


def test_several_tries_are_averaged_and_nobody_is_asked_twice(tmp_path: Any) -> None:
    asked = Told(write=lambda q, i: str(1 + 9 * (i % 2)), fingerprint="me")
    judge = Judge(asked, "{prompt} {completion} {rubric}", tries=2, folder=tmp_path)
    rows = {"prompts": ["?", "?"], "completions": ["a", "b"], "rubric": ["r", "s"]}
    first = score(judge, **rows)  # type: ignore[arg-type]
    assert first.values.tolist() == [0.5, 0.5]
    assert first.std is not None
    assert asked.asked == 2
    again = score(Judge(asked, "{prompt} {completion} {rubric}", tries=2, folder=tmp_path), **rows)  # type: ignore[arg-type]
    assert asked.asked == 2
    assert again.text == first.text
    score(judge, **{**rows, "rubric": ["r", "other"]})  # type: ignore[arg-type]
    assert asked.asked == 3, "another question"
    with pytest.raises(ConfigError, match="asks for 'rubric', but there are only prompt, completion"):
        score(judge, prompts=["?"], completions=["a"])


def test_a_policys_choice_is_its_models_next_token() -> None:
    policy = tiny_policy()
    question, labels = "which one is a bird : crow , rose or zinc ?", ("crow", "rose", "zinc")
    ids = policy.tokeniser.prompt(question)
    with torch.no_grad():
        logits = policy.model(input_ids=torch.tensor([ids])).logits[0, -1].log_softmax(-1)
    wanted = logits[[policy.tokeniser.continued(x)[0] for x in labels]]
    assert torch.allclose(PolicyJudge(policy).choose([question], labels)[0], wanted, atol=1e-5)
    assert not PolicyJudge(policy).choose([question], labels).requires_grad
    assert PolicyJudge(policy, trains=True).choose([question], labels).requires_grad
    assert PolicyJudge(policy).fingerprint == "", "it may still change: nothing that it says is kept"
    assert PolicyJudge(policy.freeze("now")).fingerprint


class Server(BaseHTTPRequestHandler):
    """Speaks the chat protocol, greedily, with a policy behind it."""

    policy: LanguagePolicy

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        question = asked["messages"][-1]["content"]
        drawn = self.policy.sample([question], 1, Sampling(max_new_tokens=asked["max_tokens"], temperature=0.0))
        choice_: dict[str, Any] = {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": drawn.completions[0]},
        }
        if asked.get("logprobs"):
            with torch.no_grad():
                top = (
                    self.policy.model(input_ids=torch.tensor([self.policy.tokeniser.prompt(question)]))
                    .logits[0, -1]
                    .log_softmax(-1)
                    .topk(20)
                )
            tokens = [
                {"token": self.policy.tokeniser.decode([int(i)]), "logprob": float(v), "bytes": None}
                for v, i in zip(*top, strict=True)
            ]
            choice_["logprobs"] = {"content": [{**tokens[0], "top_logprobs": tokens}], "refusal": None}
        body = json.dumps(
            {"id": "1", "object": "chat.completion", "created": 0, "model": asked["model"], "choices": [choice_]}
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def served(base_policy: LanguagePolicy) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Serving", (Server,), {"policy": base_policy}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()


def test_a_server_says_what_the_policy_behind_it_says(served: str, base_policy: LanguagePolicy) -> None:
    pytest.importorskip("openai")
    far, near = (
        Endpoint("letters", served, max_tokens=20),
        PolicyJudge(base_policy, Sampling(max_new_tokens=20, temperature=0.0)),
    )
    questions = ["what is 2 plus 3 ?", "which one is a bird : crow , rose or zinc ?"]
    assert far.write(questions) == near.write(questions)
    labels = ("the", "it")
    assert torch.allclose(far.choose(questions, labels), near.choose(questions, labels), atol=1e-4)
    unlikely = far.choose(questions[:1], ("oslo", "the"))
    assert unlikely[0, 0] < unlikely[0, 1], "what is not among the likeliest is less likely than they"
    said = score(
        Judge(far, "what is 2 plus {completion} ?", number(), low=None, high=None),
        prompts=["?"] * 2,
        completions=["3", "4"],
    )
    assert said.values.tolist() == [
        float(number()(t) or 0) for t in [x[0] for x in near.write(["what is 2 plus 3 ?", "what is 2 plus 4 ?"])]
    ]


def test_nobody_there_is_one_line() -> None:
    pytest.importorskip("openai")
    with pytest.raises(RewardError, match=r"m at http://127\.0\.0\.1:9/v1 does not answer") as caught:
        Endpoint("m", "http://127.0.0.1:9/v1", tries=1).write(["hello"])
    assert "\n" not in str(caught.value)


def test_a_judge_behind_a_server_is_tested_as_any_reward(served: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    data = tmp_path / "pairs.jsonl"
    rows = [
        {"prompt": f"what is {i} plus 1 ?", "chosen": f"the answer is {i + 1} .", "rejected": "i admire you ."}
        for i in range(4)
    ]
    data.write_text("".join(json.dumps(r) + "\n" for r in rows))

    def call(kind: str) -> int:
        judge = json.dumps({kind: {"model": "letters", "url": served}})
        return main(["reward", "evaluate", "--reward", judge, "--data", str(data), "--probes", "2", "--json"])

    assert call("compared_by") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["accuracy"]["n"] == 4
    assert found["order"] is not None
    assert found["contrast"]["request"] is None, "who sees one request at a time can't compare two"
    assert found["faults"] == [], "four pairs show nothing"
    assert call("rated_by") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["accuracy"]["n"] + told["left"] == 4, "a verdict that can't be read is none"
