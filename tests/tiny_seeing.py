"""A real vision-language architecture, tiny and with random weights, over the tokeniser of letters."""

from pathlib import Path

import torch
import transformers as t

from accord.rewards import VisionLanguageFeatures
from accord.worlds.letters import build_tokenizer


def tiny() -> VisionLanguageFeatures:
    tokenizer = build_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    sight = t.CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=16
    )
    words = t.LlamaConfig(vocab_size=len(tokenizer), hidden_size=24, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
                          num_key_value_heads=2, pad_token_id=0)  # fmt: skip
    config = t.LlavaConfig(
        vision_config=sight,
        text_config=words,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = t.LlavaForConditionalGeneration(config)
    looks = t.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    template = "{% for m in messages %}{% for p in m['content'] %}{% if p['type'] == 'image' %}<image> {% else %}{{ p['text'] }} {% endif %}{% endfor %}{% endfor %}"
    processor = t.LlavaProcessor(
        looks,
        tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        chat_template=template,
        num_additional_image_tokens=1,
    )
    return VisionLanguageFeatures(model, processor)


def tiny_folder(folder: Path) -> str:
    """The same as it lies on the hub."""
    seeing = tiny()
    for part in (seeing.model, seeing.processor):
        part.save_pretrained(folder)
    return str(folder)
