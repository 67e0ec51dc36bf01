"""Makes the goldens of internal/token: tiny tokenisers, texts, and the ids that
Hugging Face tokenizers and SentencePiece give for them.

    python3 tools/tokengold/make.py OUT_DIR

Needs the Python packages tokenizers and sentencepiece (made with 0.23.2 and
0.2.2). All text, training text included, comes from this script. The output,
to be copied to internal/token/testdata, is gzipped JSON, one file for each
tokeniser, and the SentencePiece models.
"""

import base64
import gzip
import io
import json
import random
import sys
from pathlib import Path

import sentencepiece as spm
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers,
                        pre_tokenizers, processors, trainers)

SEED = 20240611
random.seed(SEED)

WORDS = """the a of and to in is was for on with as by at from that this it he she they we you river weir
water stone mill wheel gate stream bank bridge boat fish heron willow morning evening night winter spring
light shadow wind rain cloud small great old new quiet quick slow deep shallow bright cold warm green
opened closed carried turned watched counted measured waited moved rested answered asked found kept
model token server engine memory page batch prompt answer request queue answering counting measuring
quickly slowly carefully again never always often behind before after under over between unhappiness
reconsideration internationalisation couldn't we'll they've I'm you'd it's don't""".split()

FOREIGN = """größer Straße façade naïve señor København Ελλάδα ποτάμι река вода шлюз мост 水 河 我想在 上海 東京都
カタカナ ひらがな 한국어 강물 नदी पानी שלום سلام ไทย ½ ² Ⅷ ﬁsh ｆｕｌｌ e\u0301te\u0301 🦙 👍🏽 👩‍👩‍👧 🇫🇷""".split()


def sentence(r):
    n = r.randint(3, 14)
    words = [r.choice(WORDS) for _ in range(n)]
    if r.random() < 0.35:
        words.insert(r.randrange(n), r.choice(FOREIGN))
    if r.random() < 0.3:
        words.insert(r.randrange(n), str(r.randint(0, 10 ** r.randint(1, 6))))
    text = " ".join(words)
    if r.random() < 0.7:
        text = text[0].upper() + text[1:]
    return text + r.choice([".", "!", "?", ",", ";", ":", "...", ""])


def code(r):
    a, b, c = (r.choice(WORDS).replace("'", "_") for _ in range(3))
    return r.choice([
        f"func {a}({b} int) error {{\n\tif {b} > {r.randint(0, 999)} {{\n\t\treturn {c}\n\t}}\n}}\n",
        f"for {a} in range({r.randint(1, 99)}):\n    {b} += {c}[{a}]  # {a}\n",
        f'{{"{a}": {r.randint(0, 9999)}, "{b}": [true, null, "{c}"]}}\n',
        f"<div class=\"{a}\">{b} &amp; {c}</div>\r\n",
    ])


def corpus():
    r = random.Random(SEED)
    return [sentence(r) if r.random() < 0.8 else code(r) for _ in range(3000)]


def texts():
    """The texts to encode: edges by hand, then samples, then noise."""
    fixed = [
        "", " ", "  ", "   ", "\t", "\n", "\n\n", "\n\n\n", "\t\n", "\r\n", "\r\n\r\n x", " \n ", "\n \n\t \n", "a", " a", "a ", "  a  ",
        "Hello world", " Hello  world ", "Hello, y'all! How are you 😁 ?我想在apple工作1314151天～",
        "I'M HERE, WE'LL SEE; they've don't DON'T I'd I'D it'ſ 'tis 'S 'RE 're're 'x '", "3", "33", "333", "3333", "33333", "1234567890",
        "3.14159 1,000,000 2²³ ½¾ Ⅷ ٣٤٥ १२३", "snake_case camelCase PascalCase HTTPServer kebab-case x86_64 v1.2.3-rc4",
        "if (a && b || !c) { return x->y[0] + *p; } // ok\n\t/* no */\n", "https://example.org/a/b?c=d&e=f#g", "a/b/c\n/d //\n\n/",
        "größer Straße façade naïve", "e\u0301te\u0301 vs été", "\u1e9b\u0323 \u1100\u1161\u11a8 각", "ﬁsh ｆｕｌｌ ﷺ ㍿ ①②", "İstanbul ISTANBUL ıstanbul ΣΊΣΥΦΟΣ ẞ Ǆ ǅ ǆ",
        "我想在上海工作", "東京都のカタカナ", "한국어 강물", "नदी पानी क्षि", "שלום سلام", "ไทยภาษา", "🦙🦙 👍🏽 👩‍👩‍👧 🇫🇷🇩🇪 1️⃣",
        "zero\u200bwidth\u200djoin \u2060 \ufeff bom", "nbsp\u00a0here\u2003em\u3000ideographic\u2028line\u2029para\u0085nel", "soft\u00adhyphen", "\u0000\u0001\u0007\u001f\u007f\u0080\u009f",
        "tab\tsep\tvalues\n1\t2\t3", "trailing spaces   ", "   leading", "a    b     c      d", " a\n  b\n   c\n", "\u2581", "\u2581\u2581 \u2581a b\u2581c", "Ġ Ċ Ġa õ ÷ À",
        "!!!!!!", "...", "?!?!", "----", "—–-", "“quoted” ‘single’ «guillemets»", "$5 + €6 = £7 < ¥8 > ^9~ `x` |y|", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "abababababababababababababababab", "internationalisationinternationalisation", "the the the river river",
        "<s>", "</s>", "<s>hello</s>", "<unk>", "<|begin|>hi<|end|>", "x <|end|> y", "x<|end|>y", "  <|end|>  ", "<|endoftext|><|end|><|end", "<0x41>", "<0x0A><0xFF>",
        "a<tool>b</tool>c", "[L] left", "x  [L]  y", "x  [R]  y", "x\n[LR]\ny", "word WORD swords word", "the [N] The [N]", "<Éa> <éa>",
        "<tool><tool>", "[R] [R] [L][L]", "word,word word_word", "\U0010fffd \ue000 \u0378",
    ]
    r = random.Random(SEED + 1)
    sampled = [" ".join([sentence(r) for _ in range(2)]) for _ in range(15)] + [code(r) for _ in range(8)]
    alphabet = list("aAbBzZéßиж我の한נ0 7²  \n\t\r'’.,-_!?/") + ["'s", "'LL", " the", "▁", "\u0301", "🦙", "\u200d", "\u00a0", "<s>", "<|end|>", "ǅ", "ʰ", "\u0488"]
    noise = ["".join(r.choice(alphabet) for _ in range(r.randint(1, 40))) for _ in range(60)]
    return fixed + sampled + noise


GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
SMALL = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
LARGE = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SUFFIX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
GPT4O = SMALL + SUFFIX + "|" + LARGE + SUFFIX + r"|\p{N}{1,3}" + REST
TEKKEN = SMALL + "|" + LARGE + r"|\p{N}" + REST
V3 = (r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
      r"""| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+""")
BAILING = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+")


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


def byte_level(pre, vocab=420, normalizer=None, **model):
    """A byte-level BPE tokeniser with the usual parts around it."""
    t = Tokenizer(models.BPE(**model))
    t.pre_tokenizer = pre
    if normalizer is not None:
        t.normalizer = normalizer
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(corpus(), trainers.BpeTrainer(
        vocab_size=vocab, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    return t


def raw_bytes():
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def add_flagged(t, normalized=False):
    """Added tokens with each of the flags."""
    t.add_tokens([
        AddedToken("<tool>", normalized=normalized), AddedToken("</tool>", normalized=normalized),
        AddedToken("[L]", lstrip=True, normalized=normalized), AddedToken("[R]", rstrip=True, normalized=normalized),
        AddedToken("[LR]", lstrip=True, rstrip=True, normalized=normalized), AddedToken("word", single_word=True, normalized=normalized),
        AddedToken("[N]", normalized=True), AddedToken("<Éa>", normalized=True),
    ])
    t.add_special_tokens(["<|begin|>", "<|end|>", "<|endoftext|>"])


def begin_template(t, token):
    t.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single=f"{token} $A", pair=f"{token} $A {token} $B", special_tokens=[(token, t.token_to_id(token))])])


def with_bytes(make_model, tokens_of_model):
    """Puts <unk> <s> </s> and the 256 byte tokens before a trained model's."""
    head = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    return make_model(head, [x for x in tokens_of_model if x not in head])


def metaspace_bpe(prepend_scheme=None):
    """Llama 2's arrangement: no words, spaces as marks, byte fallback."""
    t = Tokenizer(models.BPE(unk_token="<unk>"))
    t.normalizer = normalizers.Replace(" ", "▁")
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    ascii_only = ["".join(c for c in s if ord(c) < 0x250) for s in corpus()]
    t.train_from_iterator(ascii_only, trainers.BpeTrainer(vocab_size=450, special_tokens=["<unk>"], show_progress=False))
    state = json.loads(t.to_str())["model"]
    by_id = sorted(state["vocab"], key=state["vocab"].get)
    vocab = with_bytes(lambda head, rest: {x: i for i, x in enumerate(head + rest)}, by_id)
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in state["merges"]]
    t = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    common = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if prepend_scheme is None:
        t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend_scheme, split=False)
    t.decoder = decoders.Sequence(common + [decoders.Strip(" ", 1, 0)])
    t.add_special_tokens(["<unk>", "<s>", "</s>"])
    t.add_tokens([AddedToken("<tool>", normalized=False), AddedToken("word", single_word=True, normalized=False), AddedToken("[R]", rstrip=True, normalized=False)])
    t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    return t


def sentencepiece_model(**options):
    out = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(s.replace("\n", " ") for s in corpus()), model_writer=out, character_coverage=0.98,
        minloglevel=2, num_threads=1, hard_vocab_limit=False, **options)
    return out.getvalue()


def fields(message):
    """The length-delimited fields of a protobuf message, as (number, bytes)."""
    def varint(at):
        value = shift = 0
        while True:
            value |= (message[at] & 127) << shift
            shift, at = shift + 7, at + 1
            if message[at - 1] < 128:
                return value, at
    at = 0
    while at < len(message):
        key, at = varint(at)
        if key & 7 == 0:
            _, at = varint(at)
        elif key & 7 == 2:
            size, at = varint(at)
            yield key >> 3, message[at:at + size]
            at += size
        else:
            at += {1: 8, 5: 4}[key & 7]


def charsmap_of(model):
    """normalizer_spec.precompiled_charsmap of a SentencePiece model."""
    spec = next(b for n, b in fields(model) if n == 3)
    return next(b for n, b in fields(spec) if n == 2)


def unigram(model, pre, normalizer, byte_fallback, decoder):
    """A Unigram tokeniser over the pieces of a SentencePiece model."""
    p = spm.SentencePieceProcessor(model_proto=model)
    vocab = [(p.id_to_piece(i), p.get_score(i)) for i in range(p.vocab_size())]
    t = Tokenizer(models.Unigram(vocab, unk_id=p.unk_id(), byte_fallback=byte_fallback))
    t.normalizer, t.pre_tokenizer, t.decoder = normalizer, pre, decoder
    t.add_special_tokens(["<unk>", "<s>", "</s>"])
    t.add_tokens([AddedToken("<tool>", normalized=False), AddedToken("[L]", lstrip=True, normalized=False), AddedToken("[N]", normalized=True)])
    t.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", p.eos_id())])
    return t


def hf_golden(t, config, all_texts, charsmap):
    """What the tokeniser makes of the texts, and of random ids."""
    text = json.dumps(json.loads(t.to_str()), ensure_ascii=False, separators=(",", ":"))
    if charsmap:
        text = text.replace(base64.b64encode(charsmap).decode(), "@charsmap")
    t = Tokenizer.from_str(t.to_str())
    plain = [t.encode(x, add_special_tokens=False).ids for x in all_texts]
    special = t.encode("the river", add_special_tokens=True).ids
    t.encode_special_tokens = True
    unparsed = [t.encode(x, add_special_tokens=False).ids for x in all_texts]
    t.encode_special_tokens = False
    r = random.Random(SEED + 2)
    size = t.get_vocab_size()
    # Runs of byte tokens that are not UTF-8 are where weir differs on purpose.
    usable = [i for i in range(size) if t.id_to_token(i) and not t.id_to_token(i).startswith("<0x")]
    sequences = [[r.choice(usable) for _ in range(r.randint(1, 20))] for _ in range(40)]
    return {
        "tokenizer": text, "config": config, "ids": plain, "special": special,
        "unparsed": {str(i): u for i, (u, p) in enumerate(zip(unparsed, plain)) if u != p},
        "decoded": [t.decode(x, skip_special_tokens=False) for x in plain],
        "sequences": sequences,
        "texts": [t.decode(x, skip_special_tokens=False) for x in sequences],
        "skipped": [t.decode(x, skip_special_tokens=True) for x in sequences],
    }


def sp_golden(model, all_texts):
    p = spm.SentencePieceProcessor(model_proto=model)
    kinds = [2 if p.is_unknown(i) else 3 if p.is_control(i) else 6 if p.is_byte(i) else 5 if p.is_unused(i) else 1 for i in range(p.vocab_size())]
    ids = [p.encode(x) for x in all_texts]
    return {
        "ids": ids, "decoded": [p.decode(x) for x in ids],
        "pieces": [p.id_to_piece(i) for i in range(p.vocab_size())],
        "scores": [p.get_score(i) for i in range(p.vocab_size())], "types": kinds,
    }


def write(out, name, value):
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    (out / f"{name}.json.gz").write_bytes(gzip.compress(data, 9, mtime=0))


def main():
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    all_texts = texts()
    write(out, "texts", all_texts)

    nmt = sentencepiece_model(model_type="unigram", vocab_size=700, byte_fallback=True, normalization_rule_name="nmt_nfkc")
    charsmap = charsmap_of(nmt)
    identity = sentencepiece_model(model_type="unigram", vocab_size=380, normalization_rule_name="identity", remove_extra_whitespaces=False)
    bpe = sentencepiece_model(model_type="bpe", vocab_size=700, byte_fallback=True, normalization_rule_name="identity",
                              remove_extra_whitespaces=False, split_digits=True, allow_whitespace_only_pieces=True)
    for name, model in {"sp-unigram-nmt": nmt, "sp-unigram-identity": identity, "sp-bpe": bpe}.items():
        write(out, name, sp_golden(model, all_texts))
        (out / f"{name}.model.gz").write_bytes(gzip.compress(model, 9, mtime=0))

    made = {}
    made["gpt2"] = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False))
    add_flagged(made["gpt2"])
    made["gpt2-prefix"] = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True))
    t = made["llama3"] = byte_level(pre_tokenizers.Sequence([split(LLAMA3), raw_bytes()]))
    t = made["llama3"] = Tokenizer.from_str(t.to_str().replace('"ignore_merges": false', '"ignore_merges": true').replace('"ignore_merges":false', '"ignore_merges":true'))
    add_flagged(t)
    begin_template(t, "<|begin|>")
    t = made["qwen2"] = byte_level(pre_tokenizers.Sequence([split(QWEN2), raw_bytes()]), normalizer=normalizers.NFC())
    add_flagged(t, normalized=True)
    made["gpt4o"] = byte_level(pre_tokenizers.Sequence([split(GPT4O, "removed", True), raw_bytes()]))
    made["tekken"] = byte_level(pre_tokenizers.Sequence([split(TEKKEN), raw_bytes()]))
    made["deepseek-v3"] = byte_level(pre_tokenizers.Sequence([split(r"\p{N}{1,3}"), split("[一-龥぀-ゟ゠-ヿ]+"), split(V3), raw_bytes()]))
    made["falcon"] = byte_level(pre_tokenizers.Sequence([
        pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.ByteLevel(add_prefix_space=False),
        pre_tokenizers.Digits(individual_digits=False), split("[0-9][0-9][0-9]")]))
    made["starcoder"] = byte_level(pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]))
    made["bailing"] = byte_level(pre_tokenizers.Sequence([split(BAILING), raw_bytes()]))
    made["merged"] = byte_level(pre_tokenizers.Sequence([
        split(r"[aeiou]", "merged_with_previous"), split(r"[0-9]", "merged_with_next"), split(r"\s+", "contiguous"),
        pre_tokenizers.Split("th", "isolated"), pre_tokenizers.Punctuation("merged_with_previous"), raw_bytes()]),
        normalizer=normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Strip(),
                                         normalizers.Replace(Regex(r"\s{2,}"), " "), normalizers.Replace("river", "stream")]))
    made["llama2"] = metaspace_bpe()
    made["llama2-first"] = metaspace_bpe("first")
    made["llama2-never"] = metaspace_bpe("never")
    t = Tokenizer(models.BPE(unk_token="[UNK]"))  # characters, unknown ones one by one
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.CharDelimiterSplit("_")])
    t.decoder = decoders.Fuse()
    t.train_from_iterator(["".join(c for c in s if ord(c) < 0x80) for s in corpus()], trainers.BpeTrainer(vocab_size=250, special_tokens=["[UNK]"], show_progress=False))
    t.post_processor = processors.RobertaProcessing(("the", t.token_to_id("the")), ("[UNK]", 0))
    made["whitespace"] = t
    meta = pre_tokenizers.Metaspace(prepend_scheme="always")
    pre = normalizers.Precompiled(charsmap)
    made["unigram-t5"] = unigram(nmt, meta, normalizers.Sequence([pre, normalizers.Replace(Regex(" {2,}"), " ")]), False, decoders.Metaspace())
    made["unigram-bytes"] = unigram(nmt, meta, pre, True, decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()]))
    made["unigram-xlnet"] = unigram(identity, pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), meta]), normalizers.Sequence([
        normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace("``", '"'), normalizers.Strip(left=True, right=False)]), False, decoders.Metaspace())
    for name, t in made.items():
        begins = "<|begin|>" if t.token_to_id("<|begin|>") is not None else "<s>"
        ends = "<|end|>" if t.token_to_id("<|end|>") is not None else "</s>"
        config = {"bos_token": {"content": begins, "lstrip": False}, "eos_token": ends} if t.token_to_id(ends) is not None else None
        write(out, "hf-" + name, hf_golden(t, config, all_texts, charsmap))
    print({f.name: f.stat().st_size for f in sorted(out.iterdir())}, sum(f.stat().st_size for f in out.iterdir()))


main()
