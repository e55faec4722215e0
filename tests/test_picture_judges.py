"""Pictures that somebody looks at: judges who see, readers of text, detectors of objects."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import (
    TrOCRConfig,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTImageProcessorPil,
)

from accord.cli import main
from accord.errors import ConfigError, ModelError, RewardError
from accord.feedback import prompt_key, with_picture
from accord.rewards import (
    CLIPScore,
    Judge,
    ObjectChecks,
    OCRAccuracy,
    PairJudge,
    PolicyJudge,
    Served,
    score,
    vision_judge,
)
from accord.rewards.answers import choice, number
from accord.rewards.judge import filled
from accord.rewards.pictures.objects import relations
from accord.rewards.pictures.ocr import ModelReader, edit_distance, quoted
from conftest import tiny_policy
from serving import pixels
from tiny_pipelines import folder
from tiny_rewards import SIDE, clip_folder, shaken, words_tokenizer
from two_devices import FAR


def pictures(n: int = 5) -> Tensor:
    return (torch.rand(n, 3, 6, 8, generator=torch.Generator().manual_seed(3)) * 255).round() / 255


# Judges who see


def chat(body: dict[str, Any], say: Callable[[str, list[Tensor]], str]) -> dict[str, Any]:
    """An answer in OpenAI's protocol: of the words of a question, and of its pictures."""
    parts = body["messages"][-1]["content"]
    words = "".join(p["text"] if p["type"] == "text" else "#" for p in parts)
    shown = [
        pixels(p["image_url"]["url"].removeprefix("data:image/png;base64,")) for p in parts if p["type"] == "image_url"
    ]
    turn = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": say(words, shown)}}
    return {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"], "choices": [turn]}


def test_a_judge_sees_the_picture_in_its_place_and_is_never_guessed(serve: Any, tmp_path: Path) -> None:
    pytest.importorskip("openai")
    x = torch.cat([torch.full((1, 3, 4, 4), v) for v in (0.2, 0.6, 1.0)])

    def say(words: str, shown: list[Tensor]) -> str:
        assert words == "Is # a dog? From 0 to 10."
        bright = float(shown[0].mean()) * 10
        return "I can't tell." if bright > 9 else f"It is dark. {bright:.0f}"

    server = serve(lambda body: chat(body, say))
    made = {
        "url": f"{server.url}/v1",
        "rubric": "Is {completion} a {prompt}? From 0 to 10.",
        "low": 0.0,
        "folder": str(tmp_path),
    }
    judge = vision_judge("seer", **made)
    said = score(judge, prompts=["dog"] * 3, completions=x)
    assert said.valid.tolist() == [True, True, False]
    assert torch.allclose(said.values, torch.tensor([0.2, 0.6, 0.0]))
    file = tmp_path / "x.png"
    Image.fromarray(np.full((4, 4, 3), 51, np.uint8)).save(file)
    assert score(judge, prompts=["dog"], completions=[str(file)]).values.item() == pytest.approx(0.2)
    asked = len(server.bodies)
    assert score(vision_judge("seer", **made), prompts=["dog"], completions=x[:1]).values.item() == pytest.approx(0.2)
    assert len(server.bodies) == asked, "the same picture was judged before"


def test_pictures_stand_before_a_rubric_that_has_no_place_for_them(serve: Any) -> None:
    pytest.importorskip("openai")
    seen: list[str] = []
    server = serve(lambda body: chat(body, lambda words, shown: seen.append(words) or "10"))
    said = score(
        vision_judge("seer", f"{server.url}/v1", "Rate it from 1 to 10."), prompts=["a"], completions=pictures(1)
    )
    assert (seen, said.values.tolist()) == (["#\n\nRate it from 1 to 10."], [1.0])


def test_two_pictures_are_compared_in_both_orders(serve: Any) -> None:
    pytest.importorskip("openai")
    from accord.rewards import Endpoint

    server = serve(lambda body: chat(body, lambda words, shown: "A" if shown[-2].mean() > shown[-1].mean() else "B"))
    x = pictures(2)
    judge = PairJudge(Endpoint("seer", f"{server.url}/v1"), parse=choice("A", "B"))
    prompts = [with_picture("like this", x[0]), "a cat"]
    said = score(judge, prompts=prompts, completions=x, anchor=[x[1], x[0]])
    better = float(x[0].mean() > x[1].mean())
    assert said.values.tolist() == [better, 1 - better]
    assert {len([p for p in b["messages"][0]["content"] if p["type"] == "image_url"]) for b in server.bodies} == {2, 3}


def test_a_language_policy_is_not_asked_about_pictures() -> None:
    with pytest.raises(ConfigError, match="sees no pictures"):
        score(Judge(PolicyJudge(tiny_policy())), prompts=["a"], completions=pictures(1))
    with pytest.raises(ConfigError, match="sees no pictures"):
        score(PairJudge(PolicyJudge(tiny_policy())), prompts=["a"], completions=pictures(1), anchor=[pictures(1)[0]])


def test_files_of_pictures_are_judged_as_the_pictures_in_them(tmp_path: Path) -> None:
    (x,), file = pictures(1), tmp_path / "x.PNG"
    Image.fromarray((x * 255).round().byte().permute(1, 2, 0).numpy()).save(file)
    should = filled("{prompt} {completion}", prompt="a", completion=x)
    for said in (file, str(file)):
        assert prompt_key(filled("{prompt} {completion}", prompt="a", completion=said)) == prompt_key(should)
    assert filled("{completion}", completion="no file.png") == "no file.png"


def test_texts_are_judged_in_words_as_before() -> None:
    class Told:
        fingerprint = ""

        def write(self, questions: Any, n: int = 1, seed: int = 0) -> list[list[str]]:
            assert questions == ["say hi: hi!"]
            return [["7"]]

    judge = Judge(Told(), "{prompt}: {completion}", number(1, 10))  # type: ignore[arg-type]
    assert score(judge, prompts=["say hi"], completions=["hi!"]).values.item() == pytest.approx(6 / 9)


# Text in pictures


def test_edit_distance() -> None:
    assert [
        edit_distance(*p) for p in (("kitten", "sitting"), ("", "abc"), ("abc", ""), ("flaw", "lawn"), ("a", "a"))
    ] == [3, 3, 3, 2, 0]
    words = ["open", "pen", "opened", "happen", "", "nope"]
    for a in words:
        for b in words:
            assert edit_distance(a, b) == edit_distance(b, a) <= max(len(a), len(b))
            assert edit_distance(a, b, anywhere=True) == min(
                edit_distance(a, b[i:j]) for i in range(len(b) + 1) for j in range(i, len(b) + 1)
            )
            assert all(edit_distance(a, b) <= edit_distance(a, c) + edit_distance(c, b) for c in words)


def test_what_is_written_is_compared_with_what_was_asked_for() -> None:
    says = ["OPEN late", "Open  L8", "xx open late yy", "anything"]
    prompts = ['a sign "Open Late"', "a sign “Open Late”", 'a sign "Open Late"', "a sign"]
    reward, x = OCRAccuracy(lambda shown: says), pictures(4)
    said = score(reward, prompts=prompts, completions=x)
    assert said.valid.tolist() == [True, True, True, False], "a prompt that wants no text does not apply"
    assert torch.allclose(said.values[:3], torch.tensor([1.0, 1 - 3 / 8, 1 - 4 / 12]))
    assert said.answer == says
    anywhere = score(OCRAccuracy(lambda shown: says, anywhere=True), prompts=prompts, completions=x)
    assert torch.allclose(anywhere.values[:3], torch.tensor([1.0, 1 - 3 / 8, 1.0]))
    texts = ["open late", None, "xx open late yy", None]
    column = score(OCRAccuracy(lambda shown: says, column="text"), prompts=prompts, completions=x, text=texts)
    assert torch.allclose(column.values[:3], torch.tensor([1.0, 1 - 3 / 8, 1.0]))
    assert torch.equal(score(reward, prompts=prompts, completions=x, text=texts).values, said.values)
    with pytest.raises(RewardError, match="the column 'writing', but"):
        score(OCRAccuracy(lambda shown: says, column="writing"), prompts=prompts, completions=x)
    assert quoted('"one" and “two” but it\'s not „three“') == "one two three"
    with pytest.raises(RewardError, match="says 4 texts of 1 pictures"):
        score(reward, prompts=prompts[:1], completions=x[:1])


def trocr_folder(path: Path) -> Path:
    """As microsoft/trocr-base-printed lies on the hub."""
    seeing = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=SIDE, patch_size=14
    )
    writing = TrOCRConfig(vocab_size=11, d_model=16, decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=32, max_position_embeddings=80,
                          pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1, cross_attention_hidden_size=16, is_decoder=True,
                          add_cross_attention=True)  # fmt: skip
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(seeing, writing)
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 1, 0, 2
    shaken(VisionEncoderDecoderModel(config)).save_pretrained(path)
    words_tokenizer("<s>", "</s>", "<pad>").save_pretrained(path)
    ViTImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(path)
    return path


def test_a_reader_reads_what_its_model_writes_by_transformers_alone(tmp_path: Path) -> None:
    where, x = str(trocr_folder(tmp_path)), pictures(3).repeat_interleave(5, -1).repeat_interleave(5, -2)
    model = VisionEncoderDecoderModel.from_pretrained(where).eval()
    pil = [Image.fromarray((p * 255).round().byte().permute(1, 2, 0).numpy()) for p in x]
    seen = ViTImageProcessorPil.from_pretrained(where)(images=pil, return_tensors="pt")["pixel_values"]
    reader = ModelReader(where, max_tokens=6)
    assert torch.allclose(reader.see(x), seen, atol=0.02)
    should = reader.tokenizer.batch_decode(
        model.generate(reader.see(x), max_new_tokens=6, do_sample=False), skip_special_tokens=True
    )
    assert reader([*x]) == should
    assert any(should)
    wanted = [f'a sign "{t}"' for t in should]
    assert score(OCRAccuracy(reader), prompts=wanted, completions=x).values.tolist() == [
        1.0 if t else 0.0 for t in should
    ]
    with pytest.raises(ModelError, match=r"\(clip\) is no model like TrOCR"):
        OCRAccuracy(str(clip_folder(tmp_path / "clip")))


def test_a_server_that_sees_can_read(serve: Any) -> None:
    pytest.importorskip("openai")
    server = serve(lambda body: chat(body, lambda words, shown: "Open" if shown[0].mean() > 0.5 else ""))
    x = torch.stack([torch.full((3, 4, 4), v) for v in (0.1, 0.9)])
    said = score(OCRAccuracy("seer", url=f"{server.url}/v1"), prompts=['a sign "open"'] * 2, completions=x)
    assert said.values.tolist() == [0.0, 1.0]


# Objects


def thing(label: str, left: float = 0, top: float = 0, score: float = 0.95, **more: Any) -> dict[str, Any]:
    return {"label": label, "box": [left, top, left + 10, top + 10], "score": score, **more}


CHECKED: dict[str, tuple[dict[str, Any], list[dict[str, Any]], float, float]] = {
    "there": ({"include": [{"class": "dog", "count": 1}]}, [thing("dog")], 1, 1),
    "not there": ({"include": [{"class": "dog", "count": 1}]}, [thing("cat")], 0, 0),
    "not sure": ({"include": [{"class": "dog", "count": 1}]}, [thing("dog", score=0.2)], 0, 0),
    "one of two": ({"include": [{"class": "dog", "count": 1}, {"class": "cat", "count": 1}]}, [thing("dog")], 0, 0.5),
    "more are fine": ({"include": [{"class": "dog", "count": 1}]}, [thing("dog"), thing("dog", 20)], 1, 1),
    "counted": ({"tag": "counting", "include": [{"class": "dog", "count": 2}], "exclude": [{"class": "dog", "count": 3}]}, [thing("dog"), thing("dog", 20), thing("dog", 40, score=0.8)], 1, 1),
    "too many": ({"tag": "counting", "include": [{"class": "dog", "count": 2}], "exclude": [{"class": "dog", "count": 3}]}, [thing("dog", 20 * i) for i in range(3)], 0, 0.5),
    "its colour": ({"include": [{"class": "dog", "count": 1, "color": "red"}]}, [thing("dog", color="red"), thing("dog", 20, score=0.5, color="blue")], 1, 1),
    "another colour": ({"include": [{"class": "dog", "count": 1, "color": "red"}]}, [thing("dog", color="blue"), thing("dog", 20, score=0.5, color="red")], 0, 0.5),
    "in its place": ({"include": [{"class": "cat", "count": 1}, {"class": "dog", "count": 1, "position": ["left of", 0]}]}, [thing("dog"), thing("cat", 30)], 1, 1),
    "on the other side": ({"include": [{"class": "cat", "count": 1}, {"class": "dog", "count": 1, "position": ["left of", 0]}]}, [thing("dog", 30), thing("cat")], 0, 2 / 3),
}  # fmt: skip
"""What is asked for, what is there, whether it is right, which share of the checks holds."""


@pytest.mark.parametrize("case", CHECKED)
def test_objects_are_checked_as_geneval_does(case: str, serve: Any) -> None:
    asked, there, right, share = CHECKED[case]
    columns = {k: [v] for k, v in asked.items()}
    server = serve(lambda body: {"objects": [there]})
    for detector in (lambda shown, labels: [there], server.url):
        said = [
            score(ObjectChecks(detector, graded=g), prompts=["p"], completions=pictures(1), **columns)
            for g in (False, True)
        ]
        assert [s.values.item() for s in said] == pytest.approx([right, share])
    assert server.bodies[0]["labels"] == [sorted({x["class"] for x in asked["include"]})]
    assert torch.allclose(pixels(server.bodies[0]["images"][0]), pictures(1)[0], atol=1e-6)


def test_places_turn_with_the_picture() -> None:
    """Mirrored, left is right; turned by a quarter, left is above; two that overlap have no place."""
    names = {"left of": "right of", "right of": "left of", "above": "above", "below": "below"}
    g = torch.Generator().manual_seed(0)
    for a, b in torch.rand(200, 2, 2, generator=g).mul(50).tolist():
        one, two = [*a, a[0] + 8, a[1] + 12], [*b, b[0] + 9, b[1] + 5]
        found = relations(one, two)
        mirrored = [[-x[2], x[1], -x[0], x[3]] for x in (one, two)]
        turned = [[x[1], x[0], x[3], x[2]] for x in (one, two)]
        assert relations(*mirrored) == {names[n] for n in found}
        swap = {"left of": "above", "above": "left of", "right of": "below", "below": "right of"}
        assert relations(*turned) == {swap[n] for n in found}
        assert relations(two, one) == {
            {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}[n] for n in found
        }
    assert relations([0, 0, 10, 10], [1, 1, 11, 11]) == set()


def test_records_and_detectors_of_another_kind_are_one_line() -> None:
    one = {"prompts": ["p"], "completions": pictures(1)}
    dog = [{"class": "dog", "count": 1}]
    for columns, objects, says in (
        ({}, [], "read the column 'include'"), ({"include": [[{"name": "dog"}]]}, [], "ask by class, count"),
        ({"include": [[{**dog[0], "position": ["left of", 0]}]]}, [], "number of an earlier entry"),
        ({"include": [[{**dog[0], "position": ["left of", -1]}]]}, [], "number of an earlier entry"),
        ({"include": [dog]}, [{"label": "dog", "box": [1, 2], "score": 1}], "four numbers"),
        ({"include": [[{**dog[0], "color": "red"}]]}, [thing("dog")], "says none of 'dog'"),
    ):  # fmt: skip
        with pytest.raises(RewardError, match=says):
            score(ObjectChecks(lambda shown, labels, o=objects: [o]), **one, **columns)
    said = score(
        ObjectChecks(lambda shown, labels: [[], [thing("dog")]]),
        prompts=["p", "q"],
        completions=pictures(2),
        include=[None, dog],
    )
    assert (said.valid.tolist(), said.values[1].item()) == ([False, True], 1.0)


def test_pictures_on_another_device_are_scored_there(serve: Any, tmp_path: Path) -> None:
    """In single and half precision; what computes elsewhere comes back to them."""
    x = pictures(2)
    server, dog = serve(lambda body: [float(pixels(i).mean()) for i in body["images"]]), [{"class": "dog", "count": 1}]
    columns = {"include": [dog, dog], "text": ["a cat", "red"]}
    rewards = {
        "server": Served(server.url),
        "objects": ObjectChecks(lambda shown, labels: [[thing("dog")], []]),
        "reader": OCRAccuracy(str(trocr_folder(tmp_path))),
        "half": OCRAccuracy(str(tmp_path), dtype="bfloat16"),
    }
    for name, reward in rewards.items():
        here, there = (score(reward, prompts=["p", "q"], completions=c, **columns) for c in (x, x.to(FAR)))
        assert there.values.device == FAR, name
        assert name == "half" or torch.equal(there.values.cpu(), here.values), name


# By the door of all rewards


def test_they_are_named_on_the_command_line(serve: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A sum of a network and a server trains a pipeline; a plain name is a reward without options."""
    server, clip = serve(lambda body: [len(p) / 100 for p in body["prompts"]]), clip_folder(tmp_path / "clip")
    data = tmp_path / "prompts.jsonl"
    data.write_text(
        "".join(json.dumps({"prompt": p}) + "\n" for p in ("a red cat", "a blue hat", "a person", "a cat with a hat"))
    )
    reward = [
        {"CLIPScore": {"source": str(clip)}},
        server.url,
    ]
    pipe = folder("sd", str(tmp_path))
    say = ["--policy", str(pipe), "--data", str(data), "--out", str(tmp_path / "out"), "--test=0.5", "--lora", '{"r": 2}', "--device=cpu",
           "--sampling.steps=2", "--group_size=2", "--training.steps=1", "--training.batch_size=2", "--training.progress=false"]  # fmt: skip
    assert main(["align", "grpo", *say, "--reward", json.dumps(reward)]) == 0, capsys.readouterr().err
    told = json.loads((tmp_path / "out" / "result.json").read_text())
    assert any("CLIPScore" in k for k in told["after"])
    assert server.bodies
    files = [tmp_path / f"{i}.png" for i in range(2)]
    for x, file in zip(pictures(2), files, strict=True):
        Image.fromarray((x * 255).round().byte().permute(1, 2, 0).numpy()).save(file)
    data.write_text("".join(json.dumps({"prompt": "a red cat", "completion": str(f)}) + "\n" for f in files))
    asked = ["--data", str(data), "--out", str(tmp_path / "scores.jsonl"), "--reward", json.dumps(reward[0])]
    assert main(["reward", "score", *asked]) == 0, capsys.readouterr().err
    scores = [json.loads(line)["reward"] for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    should = score(CLIPScore(str(clip)), prompts=["a red cat"] * 2, completions=pictures(2)).values
    assert torch.allclose(torch.tensor(scores), should, atol=1e-4), "files are scored as the pictures in them"
    data.write_text('{"prompt": "a cat"}\n' * 2)
    capsys.readouterr()
    assert main(["align", "grpo", *say, "--reward", '{"PickScore": {"sorce": "x"}}']) == 2
    assert "no option 'sorce'" in capsys.readouterr().err
    assert main(["align", "grpo", *say[:-1], "--training.progress=false", "--reward", "ObjectChecks"]) == 2
    assert "wants the option 'detector'" in capsys.readouterr().err
