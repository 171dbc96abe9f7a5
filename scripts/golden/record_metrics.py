"""Records what sacrebleu, torchmetrics (ROUGE-L after Google's rouge-score) and scikit-learn make of pairs of texts and of labels, for
tests/golden/metrics.json. Refuses to hold any formula of its own.

    .venv/bin/pip install sacrebleu scikit-learn scipy torchmetrics && .venv/bin/python scripts/golden/record_metrics.py
"""

import json
import random
from pathlib import Path

import sacrebleu
import sklearn
import torchmetrics
from sacrebleu.metrics import BLEU, CHRF
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support
from torchmetrics.functional.text import rouge_score

ROOT = Path(__file__).resolve().parents[2]

PAIRS = [
    ("The cat sat on the mat.", "The cat sat on the mat."),
    ("The cat sat on the mat.", "A cat was sitting on the mat."),
    ("", "Something was wanted."),
    ("Yes.", "Yes."),
    ("Yes", "No"),
    ("It costs 1,234.50 dollars, i.e. a lot!", "It costs 1,234.50 dollars (that is a lot)."),
    ("well-known 3-fold &quot;quoted&quot; &amp; more", "well-known 3-fold \"quoted\" & more"),
    ("{\"item\": \"pie\", \"count\": 5}", "{\"item\": \"pie\", \"count\": 6, \"to_go\": true}"),
    ("Aye, Captain. The engine hums.", "Aye aye, Captain. The engine is humming quietly."),
    ("one two three four five six seven", "seven six five four three two one"),
    ("Die Katze saß auf der Straße.", "Die Katze saß auf der Matte."),
    ("café naïve Ångström", "cafe naïve Ångström"),
    ("我喜欢吃苹果", "我喜欢吃香蕉"),
    ("line one\nline two\n", "line one\nline three"),
    ("a b", "a b c d e f g h i j"),
    ("the the the the the the the", "the cat the mat"),
]


def overlap() -> dict:
    answers = [a for a, _ in PAIRS]
    wanted = [w for _, w in PAIRS]
    ascii_only = [i for i, (a, w) in enumerate(PAIRS) if (a + w).isascii()]
    bleu = BLEU(effective_order=True)
    return {
        "pairs": PAIRS,
        "sentenceBleu": [bleu.sentence_score(a, [w]).score for a, w in PAIRS],
        "corpusBleu": BLEU(effective_order=True).corpus_score(answers, [wanted]).score,
        "sentenceChrf": [CHRF().sentence_score(a, [w]).score for a, w in PAIRS],
        "corpusChrf": CHRF().corpus_score(answers, [wanted]).score,
        "rougeL": {
            i: float(rouge_score(PAIRS[i][0], PAIRS[i][1], rouge_keys="rougeL")["rougeL_fmeasure"]) for i in ascii_only
        },
    }


def labels() -> list:
    random.seed(7)
    cases = []
    for classes, rows, noise in [(["a", "b"], 40, 0.3), (["x", "y", "z", "w"], 97, 0.5), (["p", "q", "never", "r"], 30, 0.9)]:
        used = [c for c in classes if c != "never"]
        truth = [random.choice(used) for _ in range(rows)]
        guess = [random.choice([*classes, "none of them"]) if random.random() < noise else t for t in truth]
        guess = ["q" if g == "p" and len(classes) == 4 and "p" in classes else g for g in guess]
        precision, recall, f1, support = precision_recall_fscore_support(truth, guess, labels=classes, zero_division=0)
        macro = precision_recall_fscore_support(truth, guess, labels=classes, average="macro", zero_division=0)
        cases.append({
            "classes": classes,
            "truth": truth,
            "guess": guess,
            "accuracy": accuracy_score(truth, guess),
            "precision": precision.tolist(),
            "recall": recall.tolist(),
            "f1": f1.tolist(),
            "support": support.tolist(),
            "macro": [float(value) for value in macro[:3]],
            "confusion": confusion_matrix(truth, guess, labels=[*classes, "none of them"])[: len(classes)].tolist(),
        })
    return cases


def wilson() -> list:
    cases = [(0, 1), (1, 1), (0, 10), (3, 10), (10, 10), (7, 12), (55, 100), (999, 1000)]
    result = []
    for hits, trials in cases:
        interval = binomtest(hits, trials).proportion_ci(method="wilson")
        result.append({"hits": hits, "trials": trials, "low": interval.low, "high": interval.high})
    return result


golden = {
    "made with": {
        "sacrebleu": sacrebleu.__version__,
        "scikit-learn": sklearn.__version__,
        "torchmetrics": torchmetrics.__version__,
    },
    "overlap": overlap(),
    "labels": labels(),
    "wilson": wilson(),
}
(ROOT / "tests" / "golden" / "metrics.json").write_text(json.dumps(golden, indent=1) + "\n")
