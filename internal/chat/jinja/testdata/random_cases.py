"""Random templates for make_goldens.py: nested expressions and statements."""

import random

NAMES = ["s", "u", "e", "n", "neg", "f", "t", "no", "nil", "l", "words", "nested", "d", "deep", "empty", "none_list",
         "quotes", "users", "messages", "mixed", "text", "nope", "x", "y"]
LITERALS = ["0", "1", "-1", "2", "7", "1.5", "-0.5", "''", "'a'", "'Hello'", "' x '", "'é世'", "'a,b'", "true", "false", "none",
            "[]", "[1, 2]", "['b', 'a']", "{}", "{'a': 1}", "(1, 'x')", "()", "range(4)"]
BINARY = ["+", "-", "*", "/", "//", "%", "~", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or"]
FILTERS = ["upper", "lower", "trim", "length", "first", "last", "list", "string", "int", "float", "abs", "round", "sum", "min", "max",
           "join", "join(',')", "join('-')", "reverse", "sort", "unique | list", "default('D')", "default('D', true)", "tojson",
           "tojson(indent=1)", "title", "capitalize", "replace('a', 'b')", "indent(2)", "items | list", "dictsort", "e", "safe",
           "batch(2) | list", "slice(2) | list", "map('upper') | list", "map('length') | list", "map(attribute='name') | list",
           "select | list", "reject('none') | list", "select('string') | list", "selectattr('name', 'defined') | list",
           "map('string') | join('+')", "wordcount", "truncate(5, true, '', 0)", "urlencode", "striptags", "center(9)", "count",
           "sort(reverse=true)", "round(1)", "int(5)", "reverse | list", "groupby(0) | list", "map('int') | sum", "list | first"]
TESTS = ["defined", "undefined", "none", "string", "number", "integer", "float", "boolean", "mapping", "iterable", "sequence",
         "callable", "odd", "even", "true", "false", "upper", "lower", "in [1, 'a', none]", "eq(1)", "gt(1)", "divisibleby(2)", "sameas(none)"]
POSTFIX = ["[0]", "[-1]", "[1]", "[99]", "['a']", "['name']", ".a", ".name", ".x.y", "[1:]", "[::-1]", "[:2]", "[::2]", ".upper()", ".strip()",
           ".split()", ".split(',')", ".items()", ".keys() | list", ".get('a')", ".get('q', 1)", ".count('a')", ".replace('l', '')",
           ".startswith('H')", ".title()", ".join(['p', 'q'])", ".find('l')", ".isdigit()", ".index(1)", ".splitlines()", ".format(1)",
           ".rstrip('d')", ".partition(' ')", ".values() | list", ".capitalize()", ".rsplit(none, 1)", ".center(9, '*')"]


class Maker:
    def __init__(self, seed):
        self.r = random.Random(seed)

    def expr(self, depth):
        r = self.r
        if depth <= 0 or r.random() < 0.15:
            return r.choice(NAMES) if r.random() < 0.6 else r.choice(LITERALS)
        kind = r.randrange(11)
        sub = lambda: self.expr(depth - 1)
        if kind <= 1:
            return f"{sub()} {r.choice(BINARY)} {sub()}"
        if kind == 2:
            return f"({sub()} {r.choice(BINARY)} {sub()})"
        if kind <= 4:
            # Jinja folds constants, and what cannot be sliced is then undefined instead of an error.
            post = [p for p in POSTFIX if ":" not in p]
            return f"({sub()}){r.choice(post)}" if r.random() < 0.5 else f"{r.choice(NAMES)}{r.choice(POSTFIX)}"
        if kind <= 6:
            return f"({sub()} | {r.choice(FILTERS)})"
        if kind == 7:
            return f"({sub()} is {r.choice(['', 'not '])}{r.choice(TESTS)})"
        if kind == 8:
            return f"({sub()} if {sub()} else {sub()})"
        if kind == 9:
            return r.choice([f"[{sub()}, {sub()}]", f"({sub()}, {sub()})", f"{{'k': {sub()}, 'j': {sub()}}}", f"not {sub()}", f"-{sub()}",
                             f"'%s|%s' % ({sub()}, {sub()})", f"'{{}}/{{!r}}'.format({sub()}, {sub()})"])
        return f"{r.choice(NAMES)} | {r.choice(FILTERS)}"

    def space(self):
        return self.r.choice(["", "", " ", "\n", "\n  ", "  \n"])

    def tag(self, text):
        left, right = self.r.choice(["{%", "{%", "{%-", "{%+"]), self.r.choice(["%}", "%}", "-%}", "+%}"])
        return f"{left} {text} {right}"

    def stmt(self, depth):
        r = self.r
        body = lambda: "".join(self.stmt(depth - 1) for _ in range(r.randrange(1, 3)))
        kind = r.randrange(12) if depth > 0 else r.randrange(4)
        name = r.choice(["x", "y", "s", "z"])
        if kind == 0:
            return self.space() + r.choice(["a", "b c", ".", "w\n"]) + self.space()
        if kind == 1:
            return r.choice(["{{ ", "{{- "]) + self.expr(r.randrange(2)) + r.choice([" }}", " -}}"])
        if kind == 2:
            return "{{ " + r.choice(["x", "y", "s", "z", "loop.index", "loop.last", "ns.v"]) + " }}" + self.space()
        if kind == 3:
            return self.space() + self.tag(f"set {name} = {self.expr(r.randrange(2))}") + self.space()
        if kind <= 5:
            other = self.tag("else") + body() if r.random() < 0.5 else ""
            if r.random() < 0.3:
                other = self.tag(f"elif {self.expr(r.randrange(2))}") + body() + other
            return self.tag(f"if {self.expr(r.randrange(2))}") + body() + other + self.tag("endif")
        if kind <= 8:
            test = f" if {self.expr(r.randrange(2))}" if r.random() < 0.3 else ""
            other = self.tag("else") + body() if r.random() < 0.3 else ""
            control = self.tag("if x == 1") + self.tag(r.choice(["break", "continue"])) + self.tag("endif") if r.random() < 0.3 else ""
            over = r.choice(["l", "words", "d", "none_list", "range(3)", "users", "'ab'", "l | map('string')", "nope"])
            return self.tag(f"for {name} in {over}{test}") + body() + control + body() + other + self.tag("endfor")
        if kind == 9:
            m = r.choice("fg")
            return self.tag(f"macro {m}(x, y={self.expr(r.randrange(2))})") + body() + self.tag("endmacro") + "{{ " + f"{m}({self.expr(r.randrange(2))})" + " }}"
        if kind == 10:
            return r.choice([
                self.tag(f"set {name}") + body() + self.tag("endset"),
                self.tag("filter upper") + body() + self.tag("endfilter"),
                self.tag(f"with {name} = {self.expr(r.randrange(2))}") + body() + self.tag("endwith"),
                self.tag("generation") + body() + self.tag("endgeneration"),
                self.tag("raw") + "{{ x }}" + self.tag("endraw"),
            ])
        return self.tag(f"set ns.v = {self.expr(r.randrange(2))}")

    def template(self):
        if self.r.random() < 0.6:
            return "{{ " + self.expr(self.r.randrange(1, 4)) + " }}"
        return "{% set ns = namespace(v=0) %}" + "".join(self.stmt(2) for _ in range(self.r.randrange(1, 3)))


def cases(seed, count):
    maker = Maker(seed)
    for _ in range(count):
        yield maker.template(), {}
