"""Records what transformers makes of chat templates, for tests/golden/chat-templates.json. The templates are written here, in the manner
of the families that Finetab knows; refuses to copy anyone's.

    .venv/bin/python scripts/golden/record_templates.py
"""

import json
from pathlib import Path

from transformers.utils.chat_template_utils import render_jinja_template

ROOT = Path(__file__).resolve().parents[2]

TEMPLATES = {
    "chatml, one line": "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "default system, indented": """{% for message in messages %}
    {% if loop.first and messages[0]['role'] != 'system' %}
        {{- '<|im_start|>system\\nYou are kind.<|im_end|>\\n' }}
    {% endif %}
    {{- '<|im_start|>' ~ message.role ~ '\\n' ~ message.content | trim ~ '<|im_end|>' }}
    {# a comment with {{ braces }} #}
{% endfor %}
{%- if add_generation_prompt -%}
    <|im_start|>assistant
{% endif %}
""",
    "headers and bos": """{{- bos_token }}
{%- set loop_messages = messages %}
{%- for message in loop_messages %}
    {%- set content = '<|start|>' + message['role'] + '<|end|>\\n\\n' + message['content'] | trim + '<|eot|>' %}
    {%- if loop.index0 == 0 %}
        {%- set content = '[' + content + ']' %}
    {%- endif %}
    {{- content }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start|>assistant<|end|>\\n\\n' }}
{%- endif %}""",
    "strict turns": """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate user/model') }}{% endif %}{% if message['role'] == 'assistant' %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<turn>' + role + '\\n' + message['content'] | trim + '</turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{'<turn>model\\n'}}{% endif %}""",
    "instruct brackets, namespace": """{%- if messages[0].role == "system" %}
    {%- set system_message = messages[0].content %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set ns = namespace(index=0, last=-1) %}
{%- for m in loop_messages %}
    {%- if m.role == 'user' %}{%- set ns.last = loop.index0 %}{%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message.role == "user" %}
        {%- if system_message is defined and loop.index0 == ns.last %}
            {{- "[INST] " + system_message + "\\n\\n" + message.content + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message.content + "[/INST]" }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- elif message.role in ["assistant", "tool"] %}
        {{- " " + message.content + eos_token }}
    {%- endif %}
{%- endfor %}
{{- ns.index }}""",
    "tools as json": """{%- if tools %}
    {{- '<tools>' }}
    {%- for tool in tools %}
        {{- "\\n" }}{{ tool | tojson }}
        {{- "\\n" }}{{ tool | tojson(indent=4) }}
    {%- endfor %}
    {{- '</tools>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.tool_calls %}
        {%- for call in message.tool_calls %}
            {%- if call.function is defined %}{% set call = call.function %}{% endif %}
            {{- '<call>{"name": "' ~ call.name ~ '", "arguments": ' ~ (call.arguments | tojson) ~ '}</call>\\n' }}
        {%- endfor %}
    {%- elif message.role == 'tool' %}
        {{- '<result>' + message.content + '</result>\\n' }}
    {%- else %}
        {{- message.role | upper }}: {{ message['content'] }}
        {{- '\\n' }}
    {%- endif %}
{%- endfor %}""",
    "macros, filters, tests": """{% macro turn(role, text, open=false) %}<{{ role | title }}>{{ text | replace('\\n', ' / ') }}{% if not open %}</{{ role | title }}>{% endif %}{% endmacro %}
{%- for m in messages if m.role != 'tool' %}
{{ turn(m.role, m.content | default('-', true), open=loop.last) }}{{ ', ' if not loop.last else '.' }}
{%- if m.content is string and m.content | length > 20 %} ({{ m.content | length }}){% endif %}
{%- else %}nothing{% endfor %}
{{ messages | map(attribute='role') | join('+') }}
{{ messages | selectattr('role', 'equalto', 'user') | list | length }} of {{ messages | length }}
{{ (messages | last)['role'] }} {{ messages[-1]['content'][:5] }} {{ messages[0].content.split(' ')[0] }} {{ 'x'.upper() }} {{ '  a '.strip() }}
{%- if not ('admin' in messages | map(attribute='role')) %} none{% endif %}""",
    "thinking, loop control": """{%- for m in messages %}
{%- if m.role == 'assistant' and '</think>' in m.content %}{{ m.role + ': ' + m.content.split('</think>')[-1].lstrip('\\n') }}
{% continue %}
{%- endif %}
{%- if loop.index > 6 %}{% break %}{% endif %}
{{- m.role }}: {{ m.content }}
{% endfor %}
{%- if add_generation_prompt %}assistant:{% if enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}{% endif %}""",
    "generation spans": """{% for m in messages %}
{% if m.role == 'assistant' %}
{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}

{%- else %}
[{{ m.role }}] {{ m.content }}
{% endif %}
{% endfor %}""",
    "loops that are left": "{% for m in messages %}<{% if loop.index == 2 %}2{% continue %}{% endif %}{{ m.role }}{% for c in [1, 2, 3, 4] %}{{ c }}{% if c == 3 %}!{% break %}{% endif %},{% endfor %}>{% if loop.index == 3 %}end{% break %}{% endif %}{% else %}none{% endfor %}",
    "values as text": "{{ messages }}|{{ messages[0] }}|{{ ('a', 1) }}|{{ [true, none, 1.5, \"it's\", 'say \"x\"', 'a\\nb\\t'] }}|{{ {'k': {'n': false}} }}|{{ 'x' ~ true ~ none ~ 1 ~ 2.0 ~ [1] }}|{{ messages[0] | string | length }}|{{ messages[0].content | length }}|{{ 1.0 }}|{{ 1 == 1 }}|{{ true | tojson }}|{{ tools }}",
    "undefined things": "{{ nothing }}|{{ messages[0].nothing }}|{{ pad_token is defined }}|{{ tools is none }}|{{ tools is defined }}|{{ 'a' if nothing else 'b' }}|{{ nothing | default('d') }}|{{ messages[99] is defined }}|{{ none }}|{{ true and 'x' }}|{{ 7 // 2 }} {{ 7 % 4 }} {{ 1 + 2 * 3 }} {{ 3 / 2 }}|{{ range(3) | list }}|{{ [1, 'a', none, true] | tojson }}",
}

CHATS = {
    "one": [{"role": "user", "content": "Hi there"}],
    "two": [{"role": "user", "content": "Hi there"}, {"role": "assistant", "content": "Hello! How are you?"}],
    "system": [
        {"role": "system", "content": "  Be brief. "},
        {"role": "user", "content": "What's 2+2?\nThink."},
        {"role": "assistant", "content": "\n4\n"},
        {"role": "user", "content": "And <b>\"3+3\"</b> & é你😀?"},
    ],
    "think": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "<think>hm\n</think>\n\nBecause."}, {"role": "user", "content": "Oh"}],
    "long": [{"role": ["user", "assistant"][i % 2], "content": f"turn {i}"} for i in range(9)],
    "wrong order": [{"role": "assistant", "content": "Me first"}, {"role": "user", "content": "No"}],
    "calls": [
        {"role": "user", "content": "Weather in Köln?"},
        {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "weather", "arguments": {"city": "Köln", "days": [1, 2], "deep": {"a": None, "b": True, "c": 1.5}}}}]},
        {"role": "tool", "content": "{\"t\": 21}"},
        {"role": "assistant", "content": "21 degrees."},
    ],
}
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "Says <how> it's \"outside\" — ü", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "none": {}, "empty": []}}}]
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


def main():
    cases = []
    for name, template in TEMPLATES.items():
        for chat, messages in CHATS.items():
            for prompt in (False, True):
                for tools in (None, TOOLS) if name == "tools as json" else (None,):
                    case = {"template": name, "chat": chat, "prompt": prompt, "tools": tools is not None}
                    try:
                        rendered, _ = render_jinja_template([messages], tools=tools, chat_template=template, add_generation_prompt=prompt, **TOKENS)
                        case["text"] = rendered[0]
                    except Exception as error:
                        case["error"] = str(error)
                    cases.append(case)
    out = {"templates": TEMPLATES, "chats": CHATS, "tools": TOOLS, "tokens": TOKENS, "cases": cases}
    (ROOT / "tests" / "golden" / "chat-templates.json").write_text(json.dumps(out, ensure_ascii=True, indent=1) + "\n")
    print(len(cases), "cases,", sum("error" in case for case in cases), "refused")


main()
