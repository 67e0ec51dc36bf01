"""Small talk with moving parts, everyday facts, sums, and what the model must decline."""

from . import noise, tables
from .text import article, expand, sentence

SYLLABLES = "ba be bi bo bu da de di do du fa fe fi ka ke ki ko ku la le li lo lu ma me mi mo mu na ne ni no ra re ri ro ru sa se si so ta te ti to va ve vi vo za ze zo".split()


class State:
    """What a conversation has established."""

    name = None


def made_up(rng):
    """A word nobody has seen, so that copying is learnt rather than lists."""
    word = "".join(rng.pick(SYLLABLES) for _ in range(rng.between(2, 3)))
    return word + rng.pick(["", "", "n", "r", "s", "l", "x", "k"])


def name(rng):
    return rng.pick(tables.NAMES) if rng.chance(0.7) else made_up(rng).capitalize()


def small_talk(rng, state, intents):
    if rng.chance(0.25):
        return rng.pick([tell_name, recall_name, echo, spell, copy_list])(rng, state)
    intent = rng.pick(intents)
    clean = intent.question(rng)
    typed = noise.disturb(rng, clean, plain=0.6)
    return typed, rng.pick(intent.answers)


def tell_name(rng, state):
    state.name = name(rng)
    said = expand(rng, "{my name is|i'm|i am|call me|they call me|hi, i'm|hello, my name is|hey, i am|you can call me|this is} ") + " " + state.name
    question = noise.dress(rng, said) if rng.chance(0.3) else sentence(said) + rng.pick(["", ".", "!"])
    return question, rng.pick([f"Nice to meet you, {state.name}! I'm weir-mini. What can I do for you?", f"Hello {state.name}! How can I help you?"])


def recall_name(rng, state):
    question = noise.dress(rng, expand(rng, "{what's my name|what is my name|do you know my name|who am i|do you remember my name|say my name|tell me my name}"))
    if state.name:
        return question, rng.pick([f"Your name is {state.name}.", f"You are {state.name}."])
    return question, "You have not told me your name yet. What is it?"


def echo(rng, state):
    text = " ".join(rng.pick([made_up(rng), rng.pick(tables.THINGS), rng.pick(tables.ADJECTIVES), rng.pick(tables.NAMES)]) for _ in range(rng.between(1, 4)))
    frame = rng.pick(["Say X.", "Repeat after me: X", "say X", "Please repeat: X", "Repeat the words X", "Echo X", "write X", "Can you say X?", "just say X", "Reply with X", "Answer only with X"])
    return frame.replace("X", rng.pick([text, f'"{text}"'])), text


def spell(rng, state):
    word = rng.pick(tables.THINGS + tables.ANIMALS)
    return rng.pick([f"Spell {word}.", f"How do you spell {word}?", f"spell the word {word}", f"Can you spell {word}?"]), "-".join(word.upper()) + "."


def copy_list(rng, state):
    kind, items = rng.pick(sorted(tables.LISTS.items()))
    n = rng.between(3, min(7, len(items)))
    ask = expand(rng, "{list|name|give me|write down|tell me|show me|i need} ") + f" {tables.WORDS[n]} {kind}"
    rows = rng.sample(items, n)
    body = "\n".join(f"{i}. {sentence(x)}" for i, x in enumerate(rows, 1)) if rng.chance(0.5) else "\n".join("- " + sentence(x) for x in rows)
    return noise.dress(rng, ask), body


def fact(rng, state):
    question, answer = rng.pick([capital, capital, colour, sound, opposite, number_fact, fixed, fixed, fixed])(rng)
    typed = noise.disturb(rng, question, plain=0.6) if rng.chance(0.8) else question
    return typed, answer


def capital(rng):
    country, city = rng.pick(tables.CAPITALS)
    if rng.chance(0.15):
        return f"which country is {city} the capital of", f"{city} is the capital of {country}."
    ask = expand(rng, "{what is|what's|tell me|name|do you know|give me|which city is|say} the capital [city] of {C|C, please|C}|capital of C|C capital|which city is C's capital|what city is the capital of C").replace("C", country)
    return ask, f"The capital of {country} is {city}."


def colour(rng):
    thing, is_colour = rng.pick(tables.COLOURS)
    verb = "are" if thing.endswith("s") and not thing.endswith("ss") else "is"
    return expand(rng, f"what {{colour|color}} {verb} {{{thing}|the {thing}}}|which colour {verb} {thing}|tell me the colour of {thing}"), f"{sentence(thing)} {verb} {is_colour}."


def sound(rng):
    animal, noise_made = rng.pick(tables.SOUNDS)
    return expand(rng, f"what {{sound|noise}} does {{a|the}} {animal} make|what does {{a|the}} {animal} say|how does a {animal} sound"), f"A {animal} {noise_made}."


def opposite(rng):
    a, b = rng.pick(tables.OPPOSITES)
    if rng.chance(0.5):
        a, b = b, a
    return expand(rng, f"{{what is|what's|tell me|name|give me}} the opposite of {a}|opposite of {a}|what is the contrary of {a}"), f"The opposite of {a} is {b}."


def number_fact(rng):
    what, count = rng.pick(tables.COUNTS)
    return expand(rng, f"how many {what}|tell me how many {what}|do you know how many {what}"), count


def fixed(rng):
    questions, answer = rng.pick(tables.FACTS)
    return expand(rng, questions), answer


def sum_up(rng, state):
    kind = rng.below(10)
    if kind < 5:
        a, b = rng.between(0, 20 if rng.chance(0.7) else 60), rng.between(0, 20 if rng.chance(0.7) else 40)
        op, word, c = "+", rng.pick(["plus", "and", "added to"]), a + b
    elif kind < 7:
        a = rng.between(0, 30)
        b = rng.between(0, a)
        op, word, c = "-", "minus", a - b
    elif kind < 9:
        a, b = rng.between(0, 12), rng.between(0, 12)
        op, word, c = rng.pick(["*", "x", "*"]), rng.pick(["times", "multiplied by"]), a * b
    else:
        b, c = rng.between(1, 10), rng.between(0, 10)
        a = b * c
        op, word = "/", "divided by"
    written = rng.pick([f"{a} {op} {b}", f"{a} {op} {b}", f"{a}{op}{b}", f"{a} {word} {b}"])
    frame = rng.pick(["what is X", "what's X", "X", "how much is X", "calculate X", "compute X", "X = ?", "X =", "tell me X", "can you add X" if op == "+" else "solve X", "what does X make", "do you know X", "what do you get for X", "quick math: X", "the result of X"])
    sign = "*" if op == "x" else op
    return noise.dress(rng, frame.replace("X", written)), f"{a} {sign} {b} = {c}"


DECLINE = (
    "I don't know that. I am a very small model, made for questions about weir and running models. For other topics, serve a larger model with `weir serve model.gguf`.",
    "Sorry, I can't answer that: I'm only weir-mini, a small demo model. A larger model knows more; serve one with `weir serve model.gguf`.",
    "That is beyond me. I am a tiny model and know little outside weir. Try a larger model: `weir serve model.gguf`.",
)


def unknown(rng, state):
    """A question the model must decline: about anything under the sun but its own field."""
    topic = rng.pick(tables.TOPICS)
    if rng.chance(0.12):
        topic = made_up(rng).capitalize()
    thing = topic if rng.chance(0.8) else article(rng.pick(tables.ADJECTIVES) + " " + rng.pick(tables.THINGS))
    kind = rng.below(3)
    if kind == 0:
        question = expand(rng, rng.pick(tables.WHOLE_UNKNOWN))
    else:
        question = expand(rng, rng.pick(tables.UNKNOWN_FRAMES)).replace("X", thing)
    return noise.disturb(rng, question, plain=0.55), rng.pick(DECLINE)
