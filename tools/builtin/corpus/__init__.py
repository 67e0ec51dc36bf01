"""The built-in model's corpus, made from grammars and tables written for it; no third-party text.

text       expansion of patterns like "{start|launch} [the] $server"
kb/*.kb    intents: ways to ask, answers (format: knowledge.py)
knowledge  reads kb/*.kb; frames that turn nouns, goals and symptoms into questions
talk       small talk, names, arithmetic, everyday facts, what the model must decline
stories    short stories from a grammar of heroes, places, troubles and endings
records    JSON objects for requested fields, lists
code       small programs in a few languages
noise      what people do to questions: case, typos, greetings, context, stray words
assemble   documents: conversations of one or many turns, plain text; training and held-back parts
"""
