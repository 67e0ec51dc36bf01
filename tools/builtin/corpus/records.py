"""JSON for requested things and fields: always valid, with the fields that were asked for."""

import json

from . import noise, tables
from .text import article, expand

CITIES = "Paris London Berlin Oslo Rome Madrid Lisbon Vienna Prague Tokyo Cairo Lima Delhi Boston Toronto Sydney Nairobi Athens".split()
COUNTRIES = [c for c, _ in tables.CAPITALS if not c.startswith("the ")]


def person(rng):
    return f"{rng.pick(tables.NAMES)} {rng.pick(['Miller', 'Garcia', 'Novak', 'Olsen', 'Rossi', 'Tanaka', 'Silva', 'Weber', 'Khan', 'Brown', 'Moreau', 'Lind'])}"


def money(rng):
    return rng.between(1, 200) + rng.pick([0, 0.5, 0.99, 0.25])


def date(rng):
    return f"20{rng.between(20, 27)}-{rng.between(1, 12):02d}-{rng.between(1, 28):02d}"


FIELDS = {
    "name": person, "first_name": lambda r: r.pick(tables.NAMES), "age": lambda r: r.between(18, 80), "email": lambda r: r.pick(tables.NAMES).lower() + "@example.com",
    "city": lambda r: r.pick(CITIES), "country": lambda r: r.pick(COUNTRIES), "id": lambda r: r.between(1, 999), "active": lambda r: r.chance(0.6), "price": money,
    "title": lambda r: f"The {r.pick(tables.ADJECTIVES).title()} {r.pick(tables.THINGS).title()}", "author": person, "year": lambda r: r.between(1950, 2026), "pages": lambda r: r.between(80, 600),
    "color": lambda r: r.pick(tables.LISTS["colors"]), "colour": lambda r: r.pick(tables.LISTS["colors"]), "quantity": lambda r: r.between(1, 50), "in_stock": lambda r: r.chance(0.7),
    "tags": lambda r: r.sample(tables.ADJECTIVES, r.between(2, 3)), "status": lambda r: r.pick(["open", "closed", "pending", "done", "failed"]), "date": date, "created_at": date,
    "rating": lambda r: r.between(10, 50) / 10, "role": lambda r: r.pick(["admin", "user", "guest", "editor"]), "phone": lambda r: f"555-01{r.between(10, 99)}", "weight": lambda r: r.between(1, 90),
    "height": lambda r: r.between(150, 200), "language": lambda r: r.pick(tables.LISTS["programming languages"]), "job": lambda r: r.pick(tables.PEOPLE[:8]), "genre": lambda r: r.pick(["drama", "comedy", "science fiction", "history", "poetry"]),
    "temperature": lambda r: r.between(-10, 35), "port": lambda r: r.pick([8000, 8001, 8080, 9000]), "host": lambda r: r.pick(["127.0.0.1", "0.0.0.0", "localhost"]), "model": lambda r: r.pick(["weir-mini", "llama-8b", "qwen3-4b", "mistral-7b"]),
    "max_tokens": lambda r: r.pick([64, 128, 256, 512]), "stream": lambda r: r.chance(0.5), "species": lambda r: r.pick(tables.ANIMALS), "owner": person, "total": money, "currency": lambda r: r.pick(["EUR", "USD", "GBP"]),
    "threads": lambda r: r.pick([2, 4, 8, 16]), "ctx": lambda r: r.pick([2048, 4096, 8192]), "street": lambda r: f"{r.between(1, 99)} {r.pick(['Mill', 'River', 'Park', 'Hill', 'Lake'])} Street", "zip": lambda r: str(r.between(10000, 99999)),
    "brand": lambda r: r.pick(["Alder", "Norden", "Kite", "Brook", "Fjord"]), "ingredients": lambda r: r.sample(tables.LISTS["vegetables"], 3), "minutes": lambda r: r.between(5, 90), "done": lambda r: r.chance(0.5),
    "task": lambda r: r.pick(["buy milk", "call Anna", "write report", "water plants", "fix the bike"]), "message": lambda r: r.pick(["hello", "done", "please wait", "port in use"]), "code": lambda r: r.pick([200, 400, 404, 429, 500]),
}
THINGS = {
    "user": "id name email age city active role", "person": "name age city country job", "book": "title author year pages genre", "product": "id name price color in_stock quantity brand", "car": "brand model year color price",
    "order": "id quantity total currency status date", "city": "name country temperature", "animal": "species name age weight", "pet": "name species age owner", "movie": "title year genre rating", "address": "street city zip country",
    "employee": "id name role email active", "server": "host port model threads ctx", "config": "host port model ctx threads", "request": "model max_tokens temperature stream", "task": "id task done date", "student": "name age city year",
    "recipe": "title ingredients minutes", "event": "title date city", "customer": "id name email phone country", "error": "code message", "song": "title author year minutes", "laptop": "brand model price weight", "message": "id author message date",
    "profile": "name email city language", "ticket": "id title status owner", "contact": "name phone email", "company": "name city country year", "fruit": "name color weight price", "team": "name city year",
}
PLAIN_NAMES = {"fruit": tables.LISTS["fruits"], "city": CITIES, "company": ["Alder Ltd", "Brook Inc", "Norden AG"], "product": [f"{a} {t}" for a in ("small", "blue", "wooden") for t in ("lamp", "chair", "cup", "bag")], "team": ["Foxes", "Herons", "Otters"]}


def value(rng, thing, key):
    if key == "name" and thing in PLAIN_NAMES:
        return rng.pick(PLAIN_NAMES[thing])
    if key == "name" and thing in ("animal", "pet"):
        return rng.pick(tables.NAMES)
    if key == "model" and thing in ("car", "laptop"):
        return rng.pick(["S1", "X200", "Mini", "Tour"])
    if key == "temperature" and thing == "request":
        return rng.pick([0, 0.2, 0.7, 1.0])
    return FIELDS[key](rng)


def make(rng, thing, keys):
    return {k: value(rng, thing, k) for k in keys}


def write(rng, data):
    return json.dumps(data, indent=2) if rng.chance(0.65) else json.dumps(data)


def wrap(rng, text, lang="json"):
    return f"```{lang}\n{text}\n```" if rng.chance(0.5) else text


FRAME = (
    "{give me|write|make|create|generate|show me|produce|return|output|i need|i want|can you make|could you write|please write|print|build|provide} {a|an example|a sample|some|one|a valid|a small} "
    "{json object|JSON object|json|JSON|json record|JSON document|json example|JSON example} {for|of|describing|that describes|representing|about} "
)


def chat(rng):
    thing = rng.pick(sorted(THINGS))
    usual = THINGS[thing].split()
    if rng.chance(0.12):
        return config_question(rng)
    count = 1
    if rng.chance(0.55):
        keys = rng.sample(usual if rng.chance(0.6) else sorted(FIELDS), rng.between(2, 5))
        listed = ", ".join(keys[:-1]) + rng.pick([" and ", ", ", " and "]) + keys[-1]
        ask = expand(rng, FRAME) + " " + article(thing) + rng.pick([" with ", " with the fields ", " with keys ", " having ", " containing ", " that has "]) + listed
    else:
        keys = usual[: rng.between(3, len(usual))] if rng.chance(0.5) else usual
        ask = expand(rng, FRAME) + " " + article(thing)
        if rng.chance(0.2):
            count = rng.between(2, 3)
            ask = expand(rng, "{give me|write|make|create|generate|show me} a {json|JSON} {array|list} {of|with}") + f" {tables.WORDS[count]} {thing}s"
        elif rng.chance(0.2):
            ask = rng.pick([f"{thing} as json", f"json {thing}", f"example {thing} in JSON", f"{article(thing)} in json please", f"describe {article(thing)} as JSON"])
    data = make(rng, thing, keys) if count == 1 else [make(rng, thing, keys) for _ in range(count)]
    return noise.disturb(rng, ask, plain=0.75), wrap(rng, write(rng, data))


def config_question(rng):
    ask = expand(rng, "{show|give|write} me {a|the|an example} {chat request|chat completion request|request body|OpenAI request|json request} [for weir] [in JSON|as json|]")
    data = {"model": "weir-mini", "messages": [{"role": "user", "content": rng.pick(["Hello!", "Who are you?", "Tell me a story."])}], "stream": True}
    return noise.disturb(rng, ask, plain=0.7), wrap(rng, json.dumps(data, indent=2))


def plain(rng):
    thing = rng.pick(sorted(THINGS))
    keys = THINGS[thing].split()
    if rng.chance(0.5):
        return "\n".join(json.dumps(make(rng, thing, keys)) for _ in range(rng.between(2, 5)))
    return json.dumps({thing + "s": [make(rng, thing, keys) for _ in range(rng.between(1, 3))]}, indent=2)
