"""Chat templates as public models have them, by their logic, in short words."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Template:
    """A template with the tokens that it wants.

    Attributes:
        special: tokens of its own. eos: what ends a turn. bos: what begins a text.
        system: whether it takes a system message. tools: whether it writes tool calls.
        thinks: what it does with reasoning: nothing ("no"), "writes", "strips"; "opens" if its generation prompt begins it.
        trims: whether it strips white space around an answer.
    """

    text: str
    special: tuple[str, ...] = ()
    eos: str = "</s>"
    bos: str | None = "<s>"
    system: bool = True
    tools: bool = False
    thinks: str = "no"
    trims: bool = False


PLAIN = "{% for m in messages %}{{ m.role + ': ' + m.content + (eos_token if m.role == 'assistant' else '') + '\n' }}{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"  # fmt: skip
CHATML = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"  # fmt: skip
DEFAULT = "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
IM = ("<|im_start|>", "<|im_end|>")

CALLS = """{%- for call in m.tool_calls or [] %}{% set f = call.function or call %}
{{- ('\n' if not loop.first or m.content else '') + '<tool_call>\n{"name": "' + f.name + '", "arguments": ' + (f.arguments if f.arguments is string else f.arguments | tojson) + '}\n</tool_call>' }}
{%- endfor %}"""  # fmt: skip
TOOLS = """{%- if tools %}{{ '<|im_start|>system\n# Tools\n<tools>' }}{% for t in tools %}{{ '\n' + (t | tojson) }}{% endfor %}{{ '\n</tools><|im_end|>\n' }}{% endif %}"""

HERMES = TOOLS + """{%- for m in messages %}
{%- if m.role == 'tool' %}{{ '<|im_start|>user\n<tool_response>\n' + m.content + '\n</tool_response><|im_end|>\n' }}
{%- else %}{{ '<|im_start|>' + m.role + '\n' + (m.content or '') }}""" + CALLS + """{{- '<|im_end|>\n' }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""  # fmt: skip

QWEN3 = TOOLS + """{%- set at = namespace(last=messages | length - 1, found=false) %}
{%- for m in messages[::-1] %}{% if not at.found and m.role == 'user' %}{% set at.last = messages | length - loop.index %}{% set at.found = true %}{% endif %}{% endfor %}
{%- for m in messages %}
{%- if m.role in ('user', 'system') %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}
{%- elif m.role == 'tool' %}{{ '<|im_start|>user\n<tool_response>\n' + m.content + '\n</tool_response><|im_end|>\n' }}
{%- else %}
{%- set content = m.content or '' %}{% set thought = '' %}
{%- if m.reasoning_content is string %}{% set thought = m.reasoning_content %}
{%- elif '</think>' in content %}{% set thought = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}{% set content = content.split('</think>')[-1].lstrip('\n') %}
{%- endif %}
{{- '<|im_start|>assistant\n' }}
{%- if loop.index0 > at.last and (loop.last or thought) %}{{ '<think>\n' + thought.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }}
{%- else %}{{ content }}{% endif %}""" + CALLS + """{{- '<|im_end|>\n' }}
{%- endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"""  # fmt: skip

R1 = """{{- bos_token }}{% for m in messages if m.role == 'system' %}{{ m.content }}{% endfor %}
{%- for m in messages %}
{%- if m.role == 'user' %}{{ '<|User|>' + m.content }}
{%- elif m.role == 'assistant' %}{{ '<|Assistant|>' + (m.content or '').split('</think>')[-1] + eos_token }}
{%- endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '<|Assistant|><think>\n' }}{% endif %}"""  # fmt: skip

LLAMA3 = """{{- bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + (m.content | trim) + '<|eot_id|>' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"""  # fmt: skip

LLAMA2 = """{%- set system = messages[0].content if messages[0].role == 'system' else '' %}{% set rest = messages[1:] if system else messages %}
{%- for m in rest %}
{%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}
{%- set content = '<<SYS>>\n' + system + '\n<</SYS>>\n\n' + m.content if loop.first and system else m.content %}
{%- if m.role == 'user' %}{{ bos_token }}{{ '[INST] ' + content.strip() + ' [/INST]' }}{% else %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"""  # fmt: skip

MISTRAL = """{{- bos_token }}{% for m in messages %}
{%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('After the optional system message, conversation roles must alternate user/assistant/...') }}{% endif %}
{%- if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}"""  # fmt: skip

GEMMA = """{{- bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{%- for m in messages %}
{%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}
{{- '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' + (m.content | trim) + '<end_of_turn>\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"""  # fmt: skip

TEMPLATES = {
    "plain": Template(PLAIN),
    "ChatML": Template(CHATML, IM, "<|im_end|>", None),
    "ChatML, default system": Template(DEFAULT + CHATML, IM, "<|im_end|>", None),
    "SmolLM2": Template(DEFAULT + CHATML, IM, "<|im_end|>", "<|im_start|>"),
    "Llama 2": Template(LLAMA2, trims=True),
    "Llama 3": Template(LLAMA3, ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"), "<|eot_id|>", "<|begin_of_text|>", trims=True),
    "Mistral": Template(MISTRAL, ("[INST]", "[/INST]"), system=False),
    "Gemma": Template(GEMMA, ("<start_of_turn>", "<end_of_turn>"), "<end_of_turn>", "<bos>", system=False, trims=True),
    "Hermes tools": Template(HERMES, IM, "<|im_end|>", None, tools=True),
    "Qwen3": Template(QWEN3, IM, "<|im_end|>", None, tools=True, thinks="writes"),
    "DeepSeek-R1": Template(R1, ("<|User|>", "<|Assistant|>"), "<|end|>", "<|begin|>", thinks="opens"),
    "R1, closed": Template(R1.replace("<think>\n", ""), ("<|User|>", "<|Assistant|>"), "<|end|>", "<|begin|>", thinks="strips"),
}  # fmt: skip
TEMPLATES["Gemma, eos apart"] = replace(TEMPLATES["Gemma"], eos="<eos>")
"""As published: a turn ends with <end_of_turn>, a text with <eos>; the generation config names both."""
