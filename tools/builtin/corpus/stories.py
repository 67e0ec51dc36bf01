"""Short stories from a grammar: a hero in a place wants something, meets trouble and a helper, and learns."""

from . import noise, tables
from .talk import made_up, name
from .text import article, expand, sentence

WANTS = [
    ("find the way to the sea", "reached the sea and listened to the waves"), ("build a small boat", "pushed the little boat into the water, and it floated"),
    ("learn to play the flute", "played a whole song without a mistake"), ("mend the old bridge", "set the last plank, and the bridge was whole again"),
    ("bake the best bread in the land", "took a golden loaf out of the oven"), ("see the stars from the highest hill", "stood on the hill and saw more stars than anyone could count"),
    ("bring a letter to a far-away friend", "put the letter into the friend's hands"), ("plant a garden", "saw the first green leaves come out of the earth"),
    ("repair the broken clock", "heard the clock tick again"), ("make the river flow evenly", "opened the gate of the new weir, and the water ran down in a steady stream"),
    ("find a lost key", "found the key under a flat stone"), ("fly a kite over the rooftops", "let the kite climb until it was a small dot"),
    ("paint the door of the school", "stepped back and looked at a bright blue door"), ("carry a lamp to the top of the tower", "lit the lamp, and its light was seen for miles"),
    ("hear the song of the night bird", "heard the song, soft and clear"), ("catch the wind in a basket", "laughed, because the basket was empty and the walk had been wonderful"),
    ("make a cake for everyone", "cut the cake into many pieces, and there was one left over"), ("win the great race", "crossed the line, not first, but happy"),
]
TROUBLES = [
    ("a storm came up and bent the trees", "the storm"), ("thick fog hid the path", "the fog"), ("the road was blocked by a fallen tree", "the fallen tree"), ("night fell early, and it was very dark", "the dark"),
    ("a wide river lay in the way", "the river"), ("the tools broke one after another", "the broken tools"), ("snow covered everything", "the snow"), ("a grumpy goose would let nobody pass", "the goose"),
    ("the map turned out to be wrong", "the wrong map"), ("nobody believed that it could be done", "the doubts"), ("a deep hole opened in the ground", "the hole"), ("the rain did not stop for three days", "the rain"),
]
HELP = [
    ("showed a hidden path", "knew every path"), ("lent a strong rope", "always carried a rope"), ("shared some bread and good advice", "was never in a hurry"), ("held up a lantern", "could see in the dark"),
    ("sang a song that gave new courage", "had a song for every day"), ("dug and pushed until the way was free", "was stronger than it seemed"), ("told an old trick", "had seen many winters"), ("stayed until the morning", "did not like to leave a friend alone"),
]
LESSONS = [
    "small steps carry you far", "help is nearer than you think", "patience is stronger than a storm", "a friend makes every road shorter", "it is no shame to ask", "things worth doing take time",
    "a quiet mind finds the way", "sharing makes joy bigger", "even the smallest can do great things", "a mistake is only the first try",
]
WEATHER = ["One bright morning", "One windy day", "On the first day of spring", "Late in autumn", "One evening in summer", "On a cold winter day", "Early one morning", "When the moon was full"]
OPENINGS = ["Once upon a time", "Long ago", "Many years ago", "Not so long ago"]
AT = ("harbour", "lighthouse", "house at the end of the road")


def her(hero):
    """Pronouns for people of whom the word says it; animals and the rest are "it", others "they"."""
    if hero in ("girl", "queen", "princess", "witch", "old woman", "grandmother"):
        return "she", "her"
    if hero in ("boy", "king", "prince", "old man", "fisherman", "knight", "wizard", "postman"):
        return "he", "his"
    if hero in tables.PEOPLE and hero != "robot":
        return "they", "their"
    return "it", "its"


def subject(rng):
    """What a story may be asked to be about: (hero as a noun, its name)."""
    hero = rng.pick(tables.ANIMALS) if rng.chance(0.5) else rng.pick(tables.PEOPLE)
    if rng.chance(0.35):
        hero = made_up(rng) if rng.chance(0.6) else rng.pick(tables.THINGS)
    return hero, name(rng)


def tell(rng, hero, called, trait=None, place=None, short=False):
    he, his = her(hero)
    trait = trait or rng.pick(tables.ADJECTIVES[8:])
    place = place or rng.pick(tables.PLACES)
    want, reached = rng.pick(WANTS)
    trouble, the_trouble = rng.pick(TROUBLES)
    friend = rng.pick([a for a in tables.ANIMALS if a != hero])
    helped, known = rng.pick(HELP)
    lesson = rng.pick(LESSONS)
    lived = "on" if place in ("small island", "farm", "beach", "frozen lake", "quiet street") else "at" if place in AT else "in"
    noun = article(f"{trait} {hero}")
    parts = [
        f"{rng.pick(OPENINGS)}, {noun} named {called} lived {lived} {article(place)}. More than anything, {called} wanted to {want}.",
        f"{rng.pick(WEATHER)} {called} set out. But soon {trouble}. {called} {rng.pick(['sat down and sighed', 'almost turned back', 'did not know what to do', 'stopped and looked around'])}.",
        f'Then {article(friend)} came by. "{rng.pick(["Why so sad", "What is the matter", "Can I help", "Where are you going"])}?" asked the {friend}. {called} told the whole story. The {friend}, who {known}, {helped}.',
        f"Together they got past {the_trouble}. In the end {called} {reached}.",
        rng.pick([f'"Thank you," said {called}. From that day on the two were friends, and {called} never forgot that {lesson}.', f"{called} went home with a light heart and told everybody that {lesson}.", f"And so {called} learned that {lesson}. The end."]),
    ]
    if short:
        parts = [parts[0], parts[2].split(". ")[0] + f". The {friend} {helped}.", parts[3].split(". ")[1] if ". " in parts[3] else parts[3], parts[4]]
        return " ".join(parts)
    return ("\n\n" if rng.chance(0.5) else " ").join(parts)


ASK = (
    "{tell|write|give|read|invent|create|make up|compose|make|narrate|share} [me|us|for me] {a|a short|a little|another|one more|a nice|a bedtime|a new|a brief|a funny|a good|a tiny|a quick|a cute} {story|tale|bedtime story|fairy tale|fable|short story|story for children}"
)
OF = (
    "{tell|write|give|read} {me|us|} the {story|tale|adventures} of a X",
    "i {want|would like|'d love|wish} to {hear|read} {about|a story about|something about} a X [who {lives far away|travels|has a dream|makes a friend}]",
    "{a|one|short|bedtime} {story|tale} {about|of|with} a X",
    "{there was once|imagine|once there was} a X, {go on|tell me more|what happened|continue the story}",
    "{can|could} {you|i} {tell|hear|get|make up|write} {a story|a tale|something} {about|with|of} a X",
)
ABOUT = "{about|with|of|featuring|on|starring|that is about|where the hero is|in which the hero is}"


def chat(rng):
    hero, called = subject(rng)
    request, kind = expand(rng, rng.pick([ASK, ASK, "{can you|could you|would you|will you|please} tell [me] a [short] story", "{i want|i'd like|i would like|i need|we want} {to hear|} a [short|bedtime] story", "{story|a story|short story|fairy tale|story time|once upon a time} [please]"])), rng.below(10)
    trait = None
    if kind < 6:
        if rng.chance(0.3):
            trait = rng.pick(tables.ADJECTIVES[8:])
        request += f" {expand(rng, ABOUT)} {article((trait + ' ' if trait else '') + hero)}"
        if rng.chance(0.25):
            request += rng.pick([f" named {called}", f" called {called}", f" whose name is {called}"])
    if rng.chance(0.2):
        kind, request = 0, expand(rng, rng.pick(OF)).replace("a X", article((trait + " " if trait else "") + hero))
    place = None
    if rng.chance(0.15):
        place = rng.pick(tables.PLACES)
        request += rng.pick([f" in {article(place)}", f", it should happen in {article(place)}", f" set in {article(place)}", f" who lives in {article(place)}"])
    short = "short" in request or "brief" in request or "tiny" in request or "quick" in request or rng.chance(0.2)
    return noise.disturb(rng, request, plain=0.6), tell(rng, hero, called, trait, place, short)


def plain(rng):
    hero, called = subject(rng)
    title = "" if rng.chance(0.6) else f"{rng.pick([f'The {hero.title()} and the {rng.pick(tables.THINGS).title()}', f'{called} the {hero.title()}', f'A Story about {article(hero)}'])}\n\n"
    return title + tell(rng, hero, called, short=rng.chance(0.3))
