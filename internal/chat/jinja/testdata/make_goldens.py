"""Writes goldens.json and random.json: what Jinja gives for many small templates.

The environment is set up as Transformers sets it up for chat templates. Run
it with Jinja 3.1.6 on Python 3.11:

    python3 make_goldens.py

or, for as many other random templates as wanted,

    python3 make_goldens.py COUNT SEED FILE
    WEIR_JINJA_CASES=FILE go test ./internal/chat/jinja -run TestGoldens

Each case is a template, rendered with VARS, and the text or the error: the exception's class, its message, and for syntax
errors the line. Where "loose" is set, the text of the message depends
on Python's version or names Python's own functions, so the class is compared
alone.
"""

import copy
import datetime
import json
import os
import sys
import warnings

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = os.path.dirname(os.path.abspath(__file__))
NOW = datetime.datetime(2024, 7, 6, 9, 5, 3, 1234)

VARS = {
    "s": "Hello World",
    "u": "Grüße, 世界! 🦙",
    "e": "",
    "n": 42,
    "neg": -7,
    "f": 3.75,
    "big": 12345678901234567890,
    "t": True,
    "no": False,
    "nil": None,
    "l": [3, 1, 2],
    "words": ["banana", "Apple", "cherry", "apple"],
    "nested": [[1, [2, 3]], [4]],
    "d": {"b": 1, "a": 2, "C": 3},
    "deep": {"x": {"y": [10, {"z": "found"}]}},
    "empty": {},
    "none_list": [],
    "quotes": "it's \"quoted\" \\ back\nline\ttab",
    "html": "<a href='x'>T & \"q\"</a>",
    "users": [
        {"name": "Ann", "age": 31, "city": "Oslo", "tags": ["a", "b"]},
        {"name": "bob", "age": 25, "city": "oslo", "tags": []},
        {"name": "Cyd", "age": 31, "city": "Bern"},
    ],
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello.", "tool_calls": None},
        {"role": "user", "content": "  Bye \n"},
    ],
    "tree": [{"v": 1, "kids": [{"v": 2, "kids": []}, {"v": 3, "kids": [{"v": 4}]}]}, {"v": 5}],
    "mixed": [1, "1", 1.5, None, True, [1], {"k": 1}],
    "chat": [
        {"role": "system", "content": "You are terse.\n"},
        {"role": "user", "content": [{"type": "text", "text": "Weather in Zürich?"}, {"type": "image"}]},
        {"role": "assistant", "content": None, "reasoning_content": "\nLook it up.\n", "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": {"city": "Zürich", "days": 2, "opts": {"unit": "C", "x": [1.0, None]}}}},
            {"id": "call_2", "type": "function", "function": {"name": "clock", "arguments": "{\"zone\": \"CET\"}"}}]},
        {"role": "tool", "tool_call_id": "call_1", "name": "weather", "content": "{\"temp\": 7}"},
        {"role": "tool", "tool_call_id": "call_2", "name": "clock", "content": "09:05"},
        {"role": "assistant", "content": "<think>\nSeven.\n</think>\n\n7 degrees."},
        {"role": "user", "content": "Thanks!  "},
    ],
    "offered": [
        {"type": "function", "function": {"name": "weather", "description": "Weather \"now\" <in> a city.", "parameters": {
            "type": "object", "required": ["city"], "properties": {
                "city": {"type": "string", "description": "Name"},
                "days": {"type": "integer", "default": 1, "minimum": 1},
                "opts": {"type": "object", "properties": {"unit": {"type": ["string", "null"], "enum": ["C", "F"]}}},
                "list": {"type": "array", "items": {"type": "number"}}}}}},
        {"type": "function", "function": {"name": "clock", "description": "Time", "parameters": {"type": "object", "properties": {}}}},
    ],
    "text": "one two  three\nfour\r\n\nfive  ",
}


class Generation(jinja2.ext.Extension):
    """The tag that marks what the assistant wrote; here it only renders."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        call = self.call_method("_render")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _render(self, caller):
        return caller()


def environment():
    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda fmt: NOW.strftime(fmt)
    return env


def render(env, template, variables):
    try:
        text = env.from_string(template).render(**copy.deepcopy(variables))  # the filter indent changes lists
        text.encode()
        return {"output": text}
    except jinja2.exceptions.TemplateSyntaxError as err:
        return {"error": type(err).__name__, "message": err.message, "line": err.lineno}
    except Exception as err:
        return {"error": type(err).__name__, "message": str(err)}


def write(path, cases):
    env = environment()
    out = []
    for template, options in cases:
        case = {"template": template}
        case.update(render(env, template, VARS))
        if " at 0x" in case.get("output", "") + case.get("message", ""):
            continue  # an object's address
        if options.get("loose"):
            case["loose"] = True
        out.append(case)
    with open(path, "w") as file:
        lines = ",\n".join("  " + json.dumps(c, ensure_ascii=False) for c in out)
        file.write('{\n "vars": ' + json.dumps(VARS, ensure_ascii=False) + ',\n "cases": [\n' + lines + "\n ]\n}\n")
    errors = sum("error" in c for c in out)
    print(f"{path}: {len(out)} cases, {errors} of them errors")


def main():
    sys.path.insert(0, HERE)
    sys.dont_write_bytecode = True
    warnings.simplefilter("ignore")  # of Python about the code that Jinja makes
    import golden_cases
    import random_cases

    if len(sys.argv) == 4:
        write(sys.argv[3], random_cases.cases(int(sys.argv[2]), int(sys.argv[1])))
        return
    write(os.path.join(HERE, "goldens.json"), golden_cases.cases())
    write(os.path.join(HERE, "random.json"), random_cases.cases(1, 1000))


if __name__ == "__main__":
    main()
