"""Comparisons from file to file: all of them arrive, each says what was done to it, and a curation killed anywhere goes on."""

import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from accord.cli import main
from accord.errors import ConfigError, FeedbackError, RunError
from accord.feedback import Cleaning, Comparison, dropped, notes_of, original, read, usable
from accord.feedback.cleaning import Seen, key_of
from accord.rewards import Committee, Curator, HeadReward, Relabelling, Synthesis, Voting, WordFeatures, curate
from accord.rewards.secrets_rlhf_rm import voted
from conftest import tiny_policy


def worth(text: str) -> float:
    return 2.0 * text.count("good") - text.count("bad")


def gold(*, completions: Any, **x: Any) -> list[float]:
    return [worth(c) for c in completions]


def pairs(n: int, wrong: int = 4) -> list[Comparison]:
    """Every wrong-th is labelled wrongly."""
    made = []
    for i in range(n):
        sides = f"good {'very ' * (i % 5)}thing {i}", f"bad {'so ' * (i % 3)}thing {i}"
        chosen, rejected = sides[::-1] if i % wrong == 0 else sides
        made.append(Comparison(prompt=f"what of {i % 50} ?", chosen=chosen, rejected=rejected))
    return made


def through(source: Any, out: Path, *curators: Curator, **options: Any) -> list[Comparison]:
    curate(source, out, curators, **options)
    return list(read(out))  # type: ignore[arg-type]


def test_all_arrive_in_order_and_each_can_be_undone(tmp_path: Path) -> None:
    told = pairs(230)
    found = through(
        told, tmp_path / "c.jsonl", Voting([gold], flip=0.25, drop=0.1), Relabelling(gold), part=50, sample=100
    )
    assert [original(p) for p in found] == told
    assert all(notes_of(p) for p in found)
    account = json.loads((tmp_path / "c.account.json").read_text())
    counts = account["account"]
    assert sum(sum(v.values()) for k, v in counts.items() if k.startswith("voting")) == 230
    judged = sum(sum(v.values()) for k, v in counts.items() if k.startswith("relabelling"))
    assert judged == 230 - counts["voting: dropped"]["ambiguous"], "what was dropped is not looked at again"
    assert all(worth(p.chosen) > worth(p.rejected) for p in usable(found))
    assert (account["records"], account["finished"]) == (230, True)
    assert not list(tmp_path.glob(".c.jsonl*"))


@pytest.mark.parametrize(("part", "sample"), [(7, 20_000), (1000, 90)])
def test_the_file_does_not_depend_on_how_it_was_cut(part: int, sample: int, tmp_path: Path) -> None:
    a = through(pairs(90), tmp_path / "a.jsonl", Voting([gold], flip=0.2), part=20)
    assert through(pairs(90), tmp_path / "b.jsonl", Voting([gold], flip=0.2), part=part, sample=sample) == a


def test_shares_of_votes_are_shares_of_all(tmp_path: Path) -> None:
    told = [Comparison(prompt="p", chosen="x", rejected="y" * (i + 1), columns={"i": i}) for i in range(200)]

    def shorter(*, completions: Any, **x: Any) -> list[float]:
        return [-float(len(c)) for c in completions]

    found = through(told, tmp_path / "c.jsonl", Voting([shorter], flip=0.1, drop=0.2), part=33)
    by = {s: sorted(p.columns["i"] for p in found if p.provenance.status == s) for s in ("flipped", "dropped", "kept")}
    assert by == {"flipped": [*range(20)], "dropped": [*range(20, 60)], "kept": [*range(60, 200)]}


def test_of_equal_comparisons_the_first_stays_wherever_parts_are_cut(tmp_path: Path) -> None:
    told = [p for i in range(3) for p in pairs(40)]
    found = through(told, tmp_path / "c.jsonl", part=17)
    assert [p.provenance.status for p in found] == ["kept"] * 40 + ["dropped"] * 80
    assert {n["why"] for p in found for n in notes_of(p)} == {"a duplicate"}
    turned = [pairs(1)[0], pairs(1)[0].flipped()]
    assert key_of(turned[0]) != key_of(turned[1]), "the opposite verdict is another comparison"


def test_what_says_nothing_or_gives_a_test_away_is_dropped() -> None:
    long = "please write a long letter to my old aunt about the weather in spring"
    clean = Cleaning([f"now {long}", "what is this ?"])
    pair = Comparison(prompt="hello", chosen="a", rejected="b")
    assert clean(pair) is None
    assert clean(pair.model_copy(update={"chosen": "  "})) == "an answer is empty"
    assert clean(pair.model_copy(update={"chosen": "b"})) == "its answers are the same"
    assert clean(pair.model_copy(update={"prompt": f"Today {long} and summer"})) == "its prompt is one of the test's"
    assert clean(pair.model_copy(update={"prompt": "what is this ?"})) == "its prompt is one of the test's"
    assert clean(pair.model_copy(update={"prompt": "and what is this ?"})) is None, "a short prompt counts as a whole"


def test_seen_keeps_the_first_place_of_each(tmp_path: Path) -> None:
    seen = Seen(tmp_path / "seen")
    seen.add([(b"a", 1), (b"b", 2), (b"a", 3)])
    seen.add([(b"b", 4)])
    assert [seen.first(k) for k in (b"a", b"b")] == [1, 2]


def test_what_was_dropped_before_stays_dropped_and_is_shown_to_nobody(tmp_path: Path) -> None:
    gone = dropped(pairs(2)[1], "spam", "somebody")

    def refuses(*, completions: Any, **x: Any) -> list[float]:
        assert gone.chosen not in completions
        return gold(completions=completions)

    found = through([gone, *pairs(1)], tmp_path / "c.jsonl", Relabelling(refuses))
    assert found[0] == gone
    assert found[1].provenance.status == "flipped"


def test_a_judge_confirms_contradicts_or_can_not_tell(tmp_path: Path) -> None:
    def some(*, completions: Any, **x: Any) -> list[float | None]:
        return [None if "3" in c else worth(c) if "1" in c else 0.0 for c in completions]

    told = pairs(4)
    found = through(
        [*told, told[1].flipped().model_copy(update={"provenance": told[1].provenance})],
        tmp_path / "c.jsonl",
        Relabelling(some),
    )
    assert [notes_of(p)[-1]["why"] for p in found] == [
        "undecided",
        "confirmed",
        "undecided",
        "not judged",
        "contradicted",
    ]
    assert [p.provenance.status for p in found] == ["dropped", "kept", "dropped", "kept", "flipped"]


def test_new_pairs_stand_behind_their_prompts_and_lead_by_the_gap(tmp_path: Path) -> None:
    policy = tiny_policy()

    def length(*, completions: Any, **x: Any) -> list[float]:
        return [float(len(c.split())) for c in completions]

    maker = Synthesis(policy, length, answers=4, gap=1.0, sampling={"max_new_tokens": 6})
    found = through([*pairs(3), *pairs(2)], tmp_path / "c.jsonl", maker, cleaning=None)
    new = [i for i, p in enumerate(found) if notes_of(p)]
    assert new
    assert len(found) - len(new) == 5
    for i in new:
        assert found[i].prompt == found[i - 1].prompt
        assert len(found[i].chosen.split()) - len(found[i].rejected.split()) > 1
    assert len({found[i].prompt for i in new}) == len(new), "once for each prompt"


def test_a_committee_votes_as_its_heads_do_alone() -> None:
    told = pairs(60)
    committee = Committee(WordFeatures(64), 3, seed=5).fitted(told, epochs=2, lr=1e-2)
    alone = []
    for head in committee.heads:
        one = HeadReward(WordFeatures(64), hidden=0)
        one.head = head  # type: ignore[assignment]
        alone.append(one)
    together, apart = voted(told, [committee]), voted(told, alone)
    for name in ("voted", "voted_std"):
        a, b = (torch.tensor([p.columns[name] for p in some]) for some in (together, apart))
        assert torch.allclose(a, b, atol=1e-5)
    assert not torch.equal(committee.heads[0].weight, committee.heads[1].weight)


def test_a_committee_reads_every_answer_once_however_many_heads_and_passes_it_has() -> None:
    read: list[str] = []

    class Counts(WordFeatures):
        def __call__(self, prompts: Any, completions: Any) -> torch.Tensor:
            read.extend(completions)
            return super().__call__(prompts, completions)

    told = pairs(20)
    Committee(Counts(64), 3).fitted(told, epochs=2)
    assert sorted(read) == sorted(c for p in told for c in (p.chosen, p.rejected))


def test_words_are_hashed_alike_and_those_of_the_prompt_apart() -> None:
    features = WordFeatures(4096)
    a, b, other = features(["the cat", "the cat", "a dog"], ["The cat sat.", "the  cat sat .", "the cat sat."])
    assert torch.equal(a, b)
    assert not torch.equal(a, other)
    assert float(a.sum()) == pytest.approx((4 + 3) / 7**0.5), "four words, three pairs of words"
    assert features(["p"], [""]).abs().sum() == 0


# From file to file.


def written(path: Path, told: list[Comparison]) -> Path:
    path.write_text("".join(p.model_dump_json(exclude_defaults=True) + "\n" for p in told))
    return path


def test_a_million_take_no_more_memory_than_a_thousand(tmp_path: Path) -> None:
    """Of ten times as many as memory holds at once."""

    def peak(n: int) -> int:
        def endless() -> Iterator[Comparison]:
            for i in range(n):
                yield Comparison(prompt=f"p{i}", chosen=f"good {i} " * 20, rejected=f"bad {i}")

        class Again:
            def __iter__(self) -> Iterator[Comparison]:
                return endless()

        tracemalloc.start()
        curate(Again(), tmp_path / f"{n}.jsonl", [Voting([gold], flip=0.1)], part=50, sample=100)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(150)  # what is loaded and compiled on the way is no data
    assert peak(3000) < 1.25 * peak(300)


SLOW = """
import time

def slow(*, completions, **x):
    time.sleep(0.02)
    return [2.0 * c.count("good") - c.count("bad") for c in completions]
"""


def test_killed_at_any_time_nothing_is_lost_and_the_file_is_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = written(tmp_path / "pairs.jsonl", [*pairs(140), *pairs(20)])
    (tmp_path / "judge.py").write_text(SLOW)

    def call(out: str) -> list[str]:
        given = {"data": data, "out": tmp_path / out, "judge": f"{tmp_path}/judge.py:slow", "part": 4}
        return ["curate", *(f"--{name}={value}" for name, value in given.items())]

    broken = subprocess.Popen([sys.executable, "-m", "accord", *call("broken.jsonl")], stdout=subprocess.DEVNULL)
    ledger, until = tmp_path / "broken.account.json", time.monotonic() + 200
    while time.monotonic() < until and not (ledger.is_file() and json.loads(ledger.read_text())["records"] >= 40):
        time.sleep(0.01)
    os.kill(broken.pid, signal.SIGKILL)
    broken.wait()
    assert not (tmp_path / "broken.jsonl").exists(), "a part of a file has not its name"
    assert 40 <= json.loads(ledger.read_text())["records"] < 160
    part = tmp_path / ".broken.jsonl.part"
    part.write_bytes(part.read_bytes() + b'{"prompt": "half a li')  # killed within a line
    assert main([*call("broken.jsonl"), "--resume"]) == 0
    assert main(call("whole.jsonl")) == 0
    files = [(tmp_path / f"{name}.jsonl").read_bytes() for name in ("whole", "broken")]
    assert files[0] == files[1]
    assert len(files[0].splitlines()) == 160
    told = [json.loads((tmp_path / f"{name}.account.json").read_text()) for name in ("whole", "broken")]
    assert told[0] == told[1]


@pytest.mark.skipif(find_spec("ray") is not None, reason="ray is installed")
def test_without_ray_workers_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pip install"):
        curate(pairs(9), tmp_path / "a.jsonl", workers=2)


def test_what_another_curation_wrote_is_never_written_over(tmp_path: Path) -> None:
    out = tmp_path / "c.jsonl"

    def broken(*, completions: Any, **x: Any) -> list[float]:
        if any(" 30" in c for c in completions):
            raise KeyboardInterrupt
        return gold(completions=completions)

    with pytest.raises(KeyboardInterrupt):
        curate(pairs(60), out, [Relabelling(broken)], part=10)
    with pytest.raises(RunError, match="go on with --resume"):
        curate(pairs(60), out, [Relabelling(gold)], part=10)
    with pytest.raises(RunError, match="began with another data"):
        curate(pairs(61), out, [Relabelling(gold)], part=10, resume=True)
    with pytest.raises(RunError, match="began with another judge"):
        curate(pairs(60), out, [Relabelling(gold)], part=10, resume=True, began={"judge": "x"})
    account = curate(pairs(60), out, [Relabelling(gold)], part=10, resume=True)
    assert curate(pairs(60), out, part=10, resume=True) == account, "what has finished stays as it is"
    with pytest.raises(RunError, match="began with another data"):
        curate(pairs(50), out, part=10, resume=True)
    with pytest.raises(RunError, match="is there already"):
        (tmp_path / "d.jsonl").write_text("mine")
        curate(pairs(60), tmp_path / "d.jsonl")
    with pytest.raises(ConfigError, match="ends in"):
        curate(pairs(2), tmp_path / "d.csv")
    with pytest.raises(FeedbackError, match="no comparisons to curate"):
        curate([pairs(1)[0].model_copy(update={"chosen": ""})], tmp_path / "e.jsonl")


def test_the_command_finds_wrong_labels_by_words_alone_and_others_leave_out_what_it_dropped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = written(tmp_path / "pairs.jsonl", [*pairs(400), *pairs(10)]), tmp_path / "c.jsonl"
    call = [
        "curate",
        "--data",
        str(data),
        "--out",
        str(out),
        "--voters",
        '["encoder:words"]',
        "--heads",
        "3",
        "--flip",
        "0.25",
        "--soften",
        "0.2",
    ]
    assert main(call) == 0
    account = json.loads(capsys.readouterr().out)
    assert account["cleaning: dropped"] == {"a duplicate": 10}
    right = [worth(p.chosen) > worth(p.rejected) for p in usable(list(read(out)))]  # type: ignore[arg-type]
    assert sum(right) / len(right) > 0.95
    assert (
        main(
            ["reward", "evaluate", "--reward", '{"length_penalty": {"target": 5}}', "--data", str(out), "--probes", "0"]
        )
        == 0
    )
    assert "10 comparisons (dropped by curation" in capsys.readouterr().err
    assert main([*call, "--resume"]) == 0, "it has finished"
    assert main([*call, "--resume", "--flip", "0.1"]) == 1, "by other votes"
    for odd, line in ((["--flip", "0.1"], "say who votes"), (["--policy", "letters"], "want both"), (["--judge", "nonsense"], "nonsense"),
                      (["--voters", '["encoder:words"]', "--flip", "1.5"], "together below 1")):  # fmt: skip
        capsys.readouterr()
        assert main(["curate", "--data", str(data), "--out", str(tmp_path / "x.jsonl"), *odd]) == 2
        said = capsys.readouterr().err
        assert line in said
        assert said.count("\n") == 1
    assert not (tmp_path / "x.jsonl").exists()


def test_peers_drop_wrong_labels_and_two_who_agree_mend_them(tmp_path: Path) -> None:
    data, judge = written(tmp_path / "pairs.jsonl", pairs(300)), tmp_path / "judge.py"
    judge.write_text(SLOW.replace("0.05", "0"))

    def found(name: str, *more: str) -> list[Comparison]:
        out = tmp_path / "a new folder" / name
        assert main(["curate", "--data", str(data), "--out", str(out), *more]) == 0
        return usable(list(read(out)))  # type: ignore[arg-type]

    right = [
        worth(p.chosen) > worth(p.rejected) for p in found("p.jsonl", "--voters", '["peers:words"]', "--drop=0.25")
    ]
    assert len(right) == pytest.approx(225, abs=2)
    assert sum(right) / len(right) > 0.95
    mended = found("a.jsonl", "--agree", json.dumps([f"{judge}:slow"] * 2))
    assert len(mended) == 300
    assert all(worth(p.chosen) > worth(p.rejected) for p in mended)
    assert (
        main(["curate", "--data", str(data), "--out", str(tmp_path / "x.jsonl"), "--agree", f'["{judge}:slow"]']) == 2
    )
