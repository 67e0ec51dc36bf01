"""What people do to a question before a model sees it."""

from .text import expand

# Names of machines, tools and things that come up beside a question without changing it.
SETTINGS = (
    "a DGX Spark|a MacBook|an old laptop|a desktop with 16 GB|an RTX 4090|an H100|a Raspberry Pi|a cloud VM|Ubuntu|Debian|"
    "Windows|WSL|macOS|docker|a container|kubernetes|an RTX 3060|two GPUs|no GPU|32 GB of RAM|8 GB of RAM|a Xeon server|"
    "a small office server|my work computer|a friend's PC|Fedora|Arch|a headless box|an ARM board|a gaming PC|a rented server"
)
BEFORE = (
    "hi|hello|hey|hey there|hi there|good morning|good evening|hello weir|hey weir|hi weir|hello friend|excuse me|sorry|ok|okay|so|well|"
    "please|quick question|question|one question|one more thing|another question|next question|a question for you|help|help me|help please|"
    "i'm new to this|i am new here|newbie here|beginner here|first time user|i'm a beginner|i'm confused|i am stuck|i'm stuck|i am curious|"
    "just curious|i was wondering|wondering|i wonder|my boss asks|a colleague asked me|my friend wants to know|my team wants to know|"
    "for a school project|for my homework|for a demo tomorrow|for work|for a side project|out of curiosity|seriously|honestly|by the way|btw|"
    "also|and|now|then|alright|right|listen|look|um|hmm|uh|yo|sup|dear assistant|could you help|can you help me|can you help me with something|"
    "i have a question|i've got a question|i need help|need some help|need your advice|urgent|asap|not sure if you know this|you may know this|"
    "tell me|do you know|remind me|i forgot|i keep forgetting|let me ask|let me ask you something|maybe a silly question|stupid question maybe|"
    "i read about this yesterday|i saw this in a blog post|i heard this in a talk|someone mentioned this|a customer wants to know"
)
AFTER = (
    "please|thanks|thank you|thanks in advance|pls|many thanks|cheers|ty|asap|it's urgent|i'm lost|i have no idea|any idea|any ideas|any help|"
    "help|i'm new to this|sorry if that is obvious|if you know|if possible|in short|briefly|in a few words|in simple terms|simply|for a beginner|"
    "in plain english|i don't get it|i can't work it out|no clue|exactly|really|actually|right now|today|these days|in practice|in general|"
    "and why|step by step|on my machine|on this machine|at home|at work|for us|for my team|for our users|please explain|tell me|"
    "would be great|i appreciate it|what do you think|do you know|can you help|could you help me|been at it for hours|i tried everything"
)
CONTEXT = (
    f"i have {{{SETTINGS}}}|i'm on {{{SETTINGS}}}|i use {{{SETTINGS}}}|i am using {{{SETTINGS}}}|we have {{{SETTINGS}}}|"
    f"this is on {{{SETTINGS}}}|it's {{{SETTINGS}}}|my setup is {{{SETTINGS}}}|running on {{{SETTINGS}}}|i work with {{{SETTINGS}}}|i just bought {{{SETTINGS}}}"
)
# Words put in or over others at random, so that the few that matter carry the meaning.
STRAY = (
    "just really actually maybe basically simply quickly properly exactly currently usually often still already even only "
    "today tonight yesterday tomorrow here there now then later again once somehow somewhere probably perhaps possibly "
    "thing stuff thingy bit part piece way case kind sort type place point moment time day week side end "
    "nice big small new old great little certain specific given whole entire main usual normal typical particular "
    "guys folks friend mate people someone anybody everyone team company project work office school home lab client "
    "my your our this that these those some any each every which such both all other another same own "
    "want like think know guess suppose believe mean feel hope try look find see say tell ask wonder get go come "
    "about around with without for from into onto over under between before after during since until because though "
    "very quite rather pretty too so much more less most least enough almost nearly hardly"
).split()
KEYS = {
    "a": "sq", "b": "vn", "c": "xv", "d": "sf", "e": "wr", "f": "dg", "g": "fh", "h": "gj", "i": "uo", "j": "hk", "k": "jl",
    "l": "k", "m": "n", "n": "bm", "o": "ip", "p": "o", "q": "w", "r": "et", "s": "ad", "t": "ry", "u": "yi", "v": "cb",
    "w": "qe", "x": "zc", "y": "tu", "z": "x",
}
SHORT = {
    "you": "u", "are": "r", "please": "pls", "what is": "whats", "how do i": "how do i", "because": "cuz", "do not": "dont",
    "don't": "dont", "can't": "cant", "won't": "wont", "doesn't": "doesnt", "isn't": "isnt", "i'm": "im", "what's": "whats",
    "it's": "its", "and": "&", "with": "w/", "without": "w/o",
}


# Words that may stand for each other in a question.
SYNONYMS = [
    g.split()
    for g in (
        "server service endpoint backend instance deployment|model llm network checkpoint|error problem issue failure fault|memory ram vram|gpu card accelerator|"
        "start launch boot begin|stop kill end terminate quit halt|fix solve resolve repair remedy cure|use employ utilise apply|make create build produce|show display print reveal|"
        "change alter modify adjust|choose pick select|big large huge sizeable|small tiny little compact|fast quick speedy rapid|slow sluggish laggy|answer reply response output|answers replies responses outputs|"
        "explain describe clarify elucidate|difference distinction contrast|need require|get obtain receive|reduce lower decrease cut shrink|increase raise boost improve|check verify inspect examine|"
        "several multiple many numerous|user client customer person|users clients customers people|request call query|requests calls queries|option flag switch setting parameter|machine computer box pc host|"
        "help assist support aid|fails breaks dies crashes|works functions operates|best ideal optimal|way method approach means|good decent sensible proper|wrong incorrect off|free release clear|occupied taken busy|"
        "story tale|write compose|long lengthy|speed performance pace velocity|guess predict propose|purpose point reason goal|meaning definition sense|supports handles accepts|download fetch pull grab|terminal shell console|"
        "quality accuracy|happens occurs|keep retain hold|permit allow let|wait pause|tell inform|important essential crucial|find locate discover|send submit post|reads loads opens|suddenly unexpectedly|grows increases rises expands|"
        "limit restrict cap constrain|remember recall|talk speak chat converse|shut close|understand grasp comprehend|tokens words|text passage|prompt input|first initial|rejected refused denied|program software application tool|beginner newcomer novice"
    ).split("|")
]
ALIKE = {w: g for g in SYNONYMS for w in g}


def reword(rng, text, rate):
    """Puts words of like sense in place of others; not after "weir", where they name a command."""
    words = text.split(" ")
    for i, w in enumerate(words):
        bare = w.rstrip("?.!,")
        if bare in ALIKE and rng.chance(rate) and not (i and words[i - 1].lower() == "weir"):
            words[i] = rng.pick(ALIKE[bare]) + w[len(bare) :]
    return " ".join(words)


def typo(rng, word):
    """One slip of the fingers in a word of four letters or more."""
    if len(word) < 4 or not word.isalpha():
        return word
    i = rng.between(1, len(word) - 2)
    how = rng.below(4)
    if how == 0:
        return word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    if how == 1:
        return word[:i] + word[i + 1 :]
    if how == 2:
        return word[:i] + word[i] + word[i:]
    near = KEYS.get(word[i].lower())
    return word[:i] + rng.pick(near) + word[i + 1 :] if near else word


def slip(rng, text, rate):
    return " ".join(typo(rng, w) if rng.chance(rate) else w for w in text.split(" "))


def scatter(rng, text, rate):
    """Drops short words, puts stray ones in."""
    out = []
    for w in text.split(" "):
        if len(w) <= 4 and w.isalpha() and rng.chance(rate):
            if rng.chance(0.5):
                continue
            w = rng.pick(STRAY)
        out.append(w)
        if rng.chance(rate * 0.6):
            out.append(rng.pick(STRAY))
    return " ".join(out)


def surround(rng, text):
    """A greeting, a setting, a plea."""
    if rng.chance(0.30):
        text = expand(rng, BEFORE) + rng.pick([", ", ": ", ". ", " - ", " ", "! ", ", "]) + text
    if rng.chance(0.15):
        setting = expand(rng, CONTEXT)
        if rng.chance(0.6):
            text = setting + rng.pick([". ", " and ", ", ", "; ", ". "]) + text
        else:
            text = text.rstrip("?.! ") + rng.pick(["? ", ". ", ", "]) + setting
    if rng.chance(0.20):
        text = text.rstrip("?.! ") + rng.pick([" ", ", ", "? ", ". ", " - ", "? "]) + expand(rng, AFTER)
    return text


def dress(rng, text):
    """Capital letter, closing mark; or neither."""
    style = rng.below(10)
    if style < 3:
        return text.lower().rstrip("?.!")
    if style < 4:
        return text.lower()
    if style == 4:
        return text.upper() if rng.chance(0.15) else text
    text = text[:1].upper() + text[1:]
    text = text.replace(" i ", " I ").replace(" i'm ", " I'm ")
    if text[-1:] not in "?.!":
        asks = text.split(" ")[0].lower() in ASKING
        text += "?" if asks or rng.chance(0.4) else rng.pick([".", "", "!", "?"])
    return text


ASKING = set("what how why which who when where is are can could do does did should would will may has have whats".split())


def disturb(rng, text, plain=0.35):
    """A question as somebody might type it."""
    if rng.chance(0.35):
        text = reword(rng, text, 0.2 + 0.5 * rng.random())
    if rng.chance(plain):
        return dress(rng, text)
    text = surround(rng, text)
    if rng.chance(0.18):
        text = scatter(rng, text, 0.04 + 0.25 * rng.random())
    if rng.chance(0.15):
        for long, short in SHORT.items():
            text = text.replace(f" {long} ", f" {short} ")
    if rng.chance(0.20):
        text = slip(rng, text, 0.04 + 0.16 * rng.random())
    return dress(rng, text or "help")
