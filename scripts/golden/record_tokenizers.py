"""Records what the Rust tokenizers library makes of tricky strings, for tests/golden/tokenizers.json. Refuses to invent vocabularies for
real models: folders under ../shared/data are read where they are there, small tokenizers of every kind are built here.

    .venv/bin/python scripts/golden/record_tokenizers.py
"""

import json
import random
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast
from transformers.models.qwen2 import Qwen2Tokenizer

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
FOLDERS = [
    "tokenizers/gpt2",
    "tokenizers/smollm-135m",
    "tokenizers/pythia",
    "tokenizers/maykeye-tinyllama-v0",
    "tokenizers/qwen2.5",
    "models/tinystories-656K",
]

STRINGS = [
    "", " ", "  ", "   a", "a   ", "\n", "\n\n", "\r\n", "\t", " \n ", "\n \n  \n", "a\n\nb", "a\r\nb\r\n", "\t\tif x:\n\t\t\treturn 1\n",
    "Hello", "Hello, world!", " Hello", "hello world", "Hello  world", "Hello   world   ", "HELLO WORLD", "HeLLo", "a b c d e f g",
    "Once upon a time, there was a little girl named Lily.", "She said, \"I don't know!\"", "It's we're they've I'm he'll she'd",
    "IT'S WE'RE I'M", "it’s ‘quoted’ “double”", "don't can't won't", "''''", "\"\"\"", "'s", " 's", "'S", "x's", "o'clock",
    "1", "12", "123", "1234567890", "3.14159", "1,000,000", "10:30am", "2024-01-31", "0x1F600", "1e-5", " 1 22 333 4444", "½", "1½ cups",
    "Ⅷ", "x²+y³", "①②③", "٣٤٥", "१२३", "一二三", "〇", "𝟘𝟙𝟚", "½½", "a½b", "Ⅷ.Ⅳ", "m²", "50%", "$100", "€20", "£5.50", "¥1000",
    "café", "cafe\u0301", "naïve", "Ångström", "A\u030angstro\u0308m", "ÀÉÎÕÜ", "straße", "Ünïcödé", "\u1e9b\u0323", "e\u0301\u0327", "ﬁ ligature",
    "你好，世界！", "你好 世界", "我喜欢吃苹果。", "こんにちは世界", "カタカナ", "안녕하세요 세계", "ㅎㅎㅎ", "한글 조합", "Привет, мир!", "Γειά σου Κόσμε", "ΑΣ",
    "שלום עולם", "مرحبا بالعالم", "नमस्ते दुनिया", "สวัสดีชาวโลก", "ภาษาไทย", "བོད་ཡིག", "ქართული", "Հայերեն", "አማርኛ", "Tiếng Việt", "Ελληνικά",
    "😀", "😀😀", "👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪🇫🇷", "a😀b", "✨ sparkle ✨", "❤️", "☃", "♥♦♣♠", "→←↑↓", "∑∏∫√∞", "≤≥≠≈", "𝕳𝖊𝖑𝖑𝖔", "𠮷野家", "🦙🦙🦙",
    "\u00a0", "a\u00a0b", "\u2003x\u2003", "\u200b", "a\u200bb", "\u200d", "\ufeff", "\ufeffHello", "\ufeff{", "a\ufeffb", "\u2028line\u2029para",
    "\u0085", "a\u0085b", "\u3000全角\u3000", "\u00ad", "soft\u00adhyphen", "\u202eabc", "\ufffd", "a\ufffdb", "\x00", "a\x00b", "\x07\x1b[0m", "\x7f", "\x0b\x0c",
    "def f(x):\n    return x ** 2  # square\n", "for (let i = 0; i < 10; i++) { a[i] += 1; }", "<html><body>&nbsp;</body></html>", "SELECT * FROM t WHERE a='b';",
    "{\"key\": [1, 2.5, null, true]}", "https://example.com/a?b=c&d=e#f", "user@example.com", "C:\\Users\\me\\file.txt", "~/.config/*.json", "a_b_c snake_case camelCase PascalCase",
    "# Title\n\n- item 1\n- item 2\n\n```py\nprint('x')\n```", "| a | b |\n|---|---|\n| 1 | 2 |", "\\frac{a}{b} = \\sum_{i=0}^{n} x_i", "a=b;c=d", "...", "…", "!!!???", "?!", "--", "—", "–", "---", "===", "***", "___", "~~~",
    "()[]{}<>", "((()))", "@#$%^&*", "a.b.c", "a,b,c", "a;b;c", "a/b/c", "a|b|c", "a+b-c*d/e", "`code`", "\\n", "\\\\", "\\u0041",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "abababababababab", "zzzzzzzz qqqq xxxx", "the the the the", "supercalifragilisticexpialidocious", "pneumonoultramicroscopicsilicovolcanoconiosis",
    "                        24 spaces", "a                 17", "  two", "   three", "    four", "\n\n\n\n\n", "\n    indented", "tab\tseparated\tvalues", "trailing space ", "trailing newline\n",
    "<s>", "</s>", "<unk>", "<s>Hello</s>", "a<s>b", "a </s> b", "<|endoftext|>", "Hello<|endoftext|>World", "<|endoftext|><|endoftext|>", " <|endoftext|> ", "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    "<|start_story|>Once<|end_story|>", "[PAD]", "x[PAD]y", "<|padding|>", "<|endoftext", "|endoftext|>", "<0x0A>", "<0xE4>", "▁", "▁▁a", "a▁b", "Ġ", "Ċ", "Ġhello", "<tool_call>{}</tool_call>", "<|vision_pad|>", "< s >", "<S>",
    "[tok]", "x[tok]y", " [tok] ", "[tok][tok]", "[left]", "a  [left]b", "[right]", "a[right]  b", "[both]", "a \n[both]\t b", "  [both]  [both]  ", "word", "a word here", "sword words word's word_", "éword", "word.", "Ünit", "the ünit",
    "The quick brown fox jumps over the lazy dog.", "THE QUICK BROWN FOX", "Mr. Smith went to Washington, D.C., on Jan. 5th.", "Lily and Tom were playing in the park. They saw a big dog.\n\"Look!\" said Tom.",
    "Tim had 3 apples, 12 pears and 144 plums.", "###\nInstruction:\nWrite a poem.\n\n### Response:\n", "Q: What is 2+2?\nA: 4", "<b>bold</b> & <i>it</i>", "x" * 300, "word " * 60, "日本" * 40, "é" * 65,
    "a\u0300\u0301\u0302\u0303", "\u0300abc", "I\u0307stanbul", "İstanbul ıssız", "ǅ ǆ", "ﷺ", "Å vs Å", "K vs K", "\u1100\u1161\u11a8", "각", "\U0001f468\u200d", "\u200d\U0001f469", "\ud7ff\ue000", "\U0010ffff", "\U000e0041",
    "\n a", " \n", "a \nb", "a\n b", "a  \n  b", "\r", "\r\r\n", "a\rb", " \t \n", "x\n\n\ny", "¿Qué?", "¡Hola!", "«bonjour»", "„Hallo“", "‹›", "「日本」", "《书》", "（括号）", "１２３ＡＢＣ", "ｶﾀｶﾅ",
]

TEXT = (
    "Once upon a time there was a little girl named Lily. She liked to play in the park with her friend Tom and her dog Max. "
    "One day Lily found a word in the old book, and the word was very strange. \"Look!\" said Tom, \"I don't know this word.\" "
    "They ran home to ask their mother, who smiled and said: it's 12 or 144, never 3.14. "
    "Das ist schön, très café, 你好 世界. The quick brown fox jumps over the lazy dog."
)

ADDED = [
    AddedToken("[tok]", special=True),
    AddedToken("[left]", lstrip=True, normalized=False),
    AddedToken("[right]", rstrip=True, normalized=False),
    AddedToken("[both]", lstrip=True, rstrip=True, normalized=True),
    AddedToken("word", single_word=True, normalized=False),
    AddedToken("Ünit", single_word=True, normalized=True),
]

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def train(tokenizer, trainer):
    tokenizer.train_from_iterator([TEXT] * 3, trainer)
    tokenizer.add_tokens(ADDED)
    return tokenizer


def small():
    """Tokenizers of every kind that the six real ones leave out."""
    quiet = {"show_progress": False, "vocab_size": 330}
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made = {}

    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(LLAMA3), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    t.decoder = decoders.ByteLevel()
    train(t, trainers.BpeTrainer(initial_alphabet=alphabet, special_tokens=["<|begin|>", "<|end|>"], **quiet))
    t.post_processor = processors.Sequence(
        [processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(single="<|begin|> $A <|end|>", special_tokens=[("<|begin|>", 0), ("<|end|>", 1)])]
    )
    made["byte-level, Llama 3 pattern, template"] = t

    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=False), pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.ByteLevel(add_prefix_space=True)]
    )
    t.decoder = decoders.ByteLevel()
    made["byte-level, grouped digits, prefix space"] = train(t, trainers.BpeTrainer(initial_alphabet=alphabet, special_tokens=["</s>"], **quiet))

    bytes_ = [f"<0x{b:02X}>" for b in range(256)]
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    made["metaspace first, byte fallback"] = train(t, trainers.BpeTrainer(special_tokens=["<unk>", "<s>", "</s>", *bytes_], show_progress=False, vocab_size=450))

    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    t.normalizer = normalizers.Replace(" ", "▁")
    t.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    made["Gemma's pipeline, no byte tokens"] = train(t, trainers.BpeTrainer(special_tokens=["<unk>", "<bos>"], **quiet))

    t = Tokenizer(models.Unigram())
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    t.decoder = decoders.Metaspace()
    made["unigram, metaspace"] = train(t, trainers.UnigramTrainer(special_tokens=["<unk>", "</s>"], unk_token="<unk>", **quiet))

    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer(lowercase=False)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.decoder = decoders.WordPiece()
    train(t, trainers.WordPieceTrainer(special_tokens=["[UNK]", "[CLS]", "[SEP]"], **quiet))
    t.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    made["word pieces"] = t

    t = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    t.pre_tokenizer = pre_tokenizers.Whitespace()
    t.decoder = decoders.BPEDecoder()
    made["word ends, white space"] = train(t, trainers.BpeTrainer(special_tokens=["<unk>"], end_of_word_suffix="</w>", **quiet))

    for behaviour in ["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"]:
        t = Tokenizer(models.BPE(unk_token="<unk>"))
        t.pre_tokenizer = pre_tokenizers.Split(Regex("[a-m ]"), behaviour, invert=behaviour == "merged_with_next")
        made[f"split {behaviour}"] = train(t, trainers.BpeTrainer(special_tokens=["<unk>"], **quiet))
    return made


def plain_added(tokenizer):
    """A copy for decoding. Library 0.23 keeps normalised added tokens in their normalised spelling, and so neither skips them as special
    nor writes them as they are ("▁<s>"); earlier ones do both, and so do we. How tokens are looked for plays no part in decoding."""
    parts = json.loads(tokenizer.to_str())
    for token in parts["added_tokens"]:
        token["normalized"] = False
    return Tokenizer.from_str(json.dumps(parts))


def record(name, encode, encode_plain, decode, vocabulary, strings):
    random.seed(name)
    rows = []
    for text in strings:
        ids = encode(text)
        plain = encode_plain(text)
        rows.append({"ids": ids, "plain": None if plain == ids else plain, "text": decode(plain, False), "shown": decode(ids, True)})
        row = rows[-1]
        # null: the same as what stands before it.
        if row["shown"] == row["text"]:
            row["shown"] = None
        if row["text"] == text:
            row["text"] = None
    loose = []
    for _ in range(60):
        ids = [random.randrange(vocabulary) for _ in range(random.randrange(1, 12))]
        text, shown = decode(ids, False), decode(ids, True)
        loose.append({"ids": ids, "text": text, "shown": None if shown == text else shown})
    return {"rows": rows, "loose": loose}


def main():
    out = {"strings": STRINGS, "folders": {}, "small": {}}
    for folder in FOLDERS:
        path = DATA / folder
        if not path.exists():
            print("skipped, not there:", folder)
            continue
        cls = PreTrainedTokenizerFast if (path / "tokenizer.json").exists() else Qwen2Tokenizer
        fast = cls.from_pretrained(path)
        reader = plain_added(fast._tokenizer)
        decode = lambda ids, skip: reader.decode(ids, skip_special_tokens=skip)
        entry = record(
            folder,
            lambda s: fast(s)["input_ids"],
            lambda s: fast(s, add_special_tokens=False)["input_ids"],
            decode,
            len(fast),
            STRINGS,
        )
        entry |= {"vocabulary": len(fast), "bos": fast.bos_token_id, "eos": fast.eos_token_id, "pad": fast.pad_token_id}
        out["folders"][folder] = entry
    for name, t in small().items():
        entry = record(
            name,
            lambda s: t.encode(s).ids,
            lambda s: t.encode(s, add_special_tokens=False).ids,
            lambda ids, skip: t.decode(ids, skip_special_tokens=skip),
            t.get_vocab_size(),
            STRINGS,
        )
        out["small"][name] = entry | {"vocabulary": t.get_vocab_size(), "tokenizer": json.loads(t.to_str())}
    target = ROOT / "tests" / "golden" / "tokenizers.json"
    target.write_text(json.dumps(out, ensure_ascii=True, separators=(",", ":")) + "\n")
    print(len(STRINGS), "strings;", len(out["folders"]), "folders;", len(out["small"]), "small ones;", target.stat().st_size, "bytes")


main()
