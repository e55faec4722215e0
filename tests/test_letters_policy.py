"""The shipped policy of letters can do what methods need of it, and all of it only so well that there is room."""

from functools import cache

import torch

from accord.policies import LanguagePolicy
from accord.worlds.letters import KINDS, gold, judge_tasks, obeyed, parse_request, prefers, read_reply, respond, tasks
from accord.worlds.letters.answers import finding
from accord.worlds.letters.check import led_to
from accord.worlds.letters.feedback import LONG, SAMPLING
from accord.worlds.letters.gold import aspects_of
from accord.worlds.letters.replies import findings

N = 150


def test_it_answers_in_the_grammar_with_room_to_improve(base_policy: LanguagePolicy) -> None:
    asked = tasks(2 * N, seed=5, split="test")
    drawn = base_policy.sample([t.prompt for t in asked], 1, SAMPLING, seed=0)
    assert sum(read_reply(c).parsed for c in drawn.completions) > 0.85 * 2 * N
    assert 0.42 < float(gold(prompts=drawn.prompt_of_each(), completions=drawn.completions).values.mean()) < 0.58  # type: ignore[arg-type]


@torch.no_grad()
def test_as_a_judge_it_is_right_clearly_more_often_than_chance_and_far_from_always(base_policy: LanguagePolicy) -> None:
    pairs = judge_tasks(2 * N, seed=5, split="test")
    asked = [p.columns["request"] for p in pairs]
    one, two = ([p.columns["replies"][i] for p in pairs] for i in (0, 1))
    better = torch.tensor([p.columns["answer"] == "first" for p in pairs])
    shown, turned = prefers(base_policy, asked, one, two), 1 - prefers(base_policy, asked, two, one)
    for says in (shown, turned):  # either order by itself
        assert 0.56 < float(((says > 0.5) == better).float().mean()) < 0.85
    assert 0.35 < float((shown > 0.5).float().mean()) < 0.65  # it doesn't go by the place


def test_steps_help_and_the_answer_follows_from_them(base_policy: LanguagePolicy) -> None:
    asked = [str(t.prompt) for t in tasks(N, seed=5, split="test", kinds=("reason",))]
    drawn = base_policy.sample(asked, 4, LONG, seed=0)
    said = [
        (parse_request(str(p)), read_reply(c)) for p, c in zip(drawn.prompt_of_each(), drawn.completions, strict=True)
    ]
    right = {
        steps: [r.slots == (q.answer,) for q, r in said if r.parsed and bool(r.clauses) is steps]
        for steps in (True, False)
    }
    share = {steps: sum(x) / len(x) for steps, x in right.items()}
    assert share[True] > share[False] + 0.1
    follows = [led_to(q, r) == r.slots for q, r in said if r.parsed and r.clauses]
    assert sum(follows) / len(follows) > 0.8
    sound = [r.slots == (q.answer,) for q, r in said if r.parsed and aspects_of(q, r)["helpful"] == 1]
    assert sum(sound) / len(sound) > 0.85


def test_it_calls_tools_and_reads_what_they_find(base_policy: LanguagePolicy) -> None:
    asked = [str(t.prompt) for t in tasks(N, seed=5, split="test", kinds=("lookup",))]
    episodes = [read_reply(e) for e in base_policy.sample(asked, 1, LONG, env=respond, turns=2).completions]
    assert sum(bool(e.results) for e in episodes) > 0.6 * N
    # It goes by what it is told, not by what it may remember: results that this world's tools would not give.
    phrase, results = "weather in oslo", ("rain", "snow", "fog", "sun")
    call = '<call> {"name": "weather", "arguments": {"city": "oslo"}} </call>'
    told = base_policy.sample([f"find the {phrase} . {call} <result> {r} </result>" for r in results], 30, LONG, seed=0)
    wanted = [[(phrase, r)] for r in results for _ in range(30)]
    assert finding(phrase) in ("rain", "sun", "snow", "fog", "wind", "hail")
    assert sum(findings(read_reply(c).body) == w for c, w in zip(told.completions, wanted, strict=True)) > 0.55 * 120


def test_it_obeys_tags_and_system_lines(base_policy: LanguagePolicy) -> None:
    plain = [str(t.prompt) for t in tasks(N, seed=5, split="test", kinds=KINDS)]

    @cache
    def drawn(shown: str) -> list[str]:
        return list(base_policy.sample([f"{shown} {p}".lstrip() for p in plain], 1, LONG, seed=0).completions)

    def keeping(manner: str, shown: str) -> float:
        """How well replies to requests shown in one way (or none) keep to a manner."""
        return float(obeyed(prompts=[f"{manner} {p}" for p in plain], completions=drawn(shown)).values.mean())

    tags = ("<polite>", "<polite:0>", "<sincere:3>", "<better>", "<worse>")
    for manner in (*tags, "system : be polite .", "system : be honest ."):
        assert keeping(manner, manner) > keeping(manner, "") + 0.05, manner
    assert keeping("<polite>", "<polite>") > 0.75
