"""Documents to training rows: encoding with loss weights, and packing without cross-talk.

A document is {"kind": str, "messages": [{"role", "content"}...]} or {"kind": str, "text": str}. Chats are
laid out by the same template that the GGUF file carries. What the assistant says has full loss weight,
the rest a little: enough to learn to read questions, too little to spend the model on writing them.
"""

import numpy as np

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] | trim + '<|im_end|>' + '\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)

ASSISTANT, OTHER = 10, 1  # loss weights, in tenths


def render(messages, generate=True):
    """The template above, in Python."""
    out = "".join(
        f"<|im_start|>{m['role']}\n{m['content'].strip()}<|im_end|>\n" for m in messages
    )
    return out + ("<|im_start|>assistant\n" if generate else "")


def encode_document(tok, doc):
    """Token ids and loss weights (in tenths) of one document."""
    if "text" in doc:
        head = [tok.bos] if doc.get("bos") else []
        ids = head + tok.plain(doc["text"]) + [tok.eos]
        return ids, [0] * len(head) + [ASSISTANT] * (len(ids) - len(head))
    ids, weights = [], []
    for m in doc["messages"]:
        start = [tok.special["<|im_start|>"]] + tok.plain(m["role"] + "\n")
        body = tok.plain(m["content"].strip()) + [tok.eos]
        w = ASSISTANT if m["role"] == "assistant" else OTHER
        ids += start + body + tok.plain("\n")
        weights += [OTHER] * len(start) + [w] * len(body) + [0]
    return ids, weights


def pack(docs, length, rng, open_rows=48):
    """Packs encoded documents into rows of `length`; best fit among a few open rows.

    Returns ids, weights and document numbers, each [rows, length]; padding has weight 0 and document 0.
    Documents longer than a row are cut.
    """
    order = rng.permutation(len(docs))
    rows, space = [[] for _ in range(open_rows)], np.full(open_rows, length)
    closed = []
    for i in order:
        n = min(len(docs[i][0]), length)
        left = np.where(space >= n, space, length + 1)
        best = int(left.argmin())
        if left[best] > length:
            best = int(space.argmin())
            closed.append(rows[best])
            rows[best], space[best] = [], length
        rows[best].append(i)
        space[best] -= n
    closed += [r for r in rows if r]
    return lay_out(docs, closed, length)


def lay_out(docs, rows, length):
    ids = np.zeros((len(rows), length), np.int16)
    weights = np.zeros((len(rows), length), np.uint8)
    number = np.zeros((len(rows), length), np.uint8)
    for r, members in enumerate(rows):
        at = 0
        for k, i in enumerate(members):
            n = min(len(docs[i][0]), length - at)
            ids[r, at : at + n] = docs[i][0][:n]
            weights[r, at : at + n] = docs[i][1][:n]
            number[r, at : at + n] = k % 255 + 1
            at += n
    return ids, weights, number
