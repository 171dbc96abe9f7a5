#!/bin/sh
# From the corpora to public/models/stories-3m in one command; refuses to start without a corpora folder.
#   CORPORA=DIR [REFERENCE=DIR] [PYTHON=python3] [WORK=.pretrain] [STEPS=2314] [DECAY=700] scripts/pretrain/run.sh
# Every stage that is already there is kept, so that a stopped run goes on from its last checkpoint.
set -eu
: "${CORPORA:?set CORPORA to the folder that holds tinystories-samples, ccby-storybooks, gutenberg-childrens, classic-childrens}"
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
python=${PYTHON:-python3}
work=${WORK:-$root/.pretrain}
out=${OUT:-$root/public/models/stories-3m}
steps=${STEPS:-2314}
decay=${DECAY:-700}
valid=$CORPORA/tinystories-samples/tinystories-794k.txt
export OMP_WAIT_POLICY=PASSIVE
cd "$here"
[ -f "$work/corpus/train.jsonl" ] || "$python" corpus.py --corpora "$CORPORA" --out "$work/corpus"
[ -f "$work/turns.jsonl" ] || "$python" turns.py --corpus "$work/corpus" --out "$work/turns.jsonl"
[ -f "$work/tokenizer/tokenizer.json" ] || "$python" tokenizer.py --corpus "$work/corpus" --turns "$work/turns.jsonl" --out "$work/tokenizer"
[ -f "$work/data/valid.pt" ] || "$python" encode.py --corpus "$work/corpus" --turns "$work/turns.jsonl" --tokenizer "$work/tokenizer" --validation "$valid" --out "$work/data"
"$python" train.py --data "$work/data" --out "$work/run" --steps "$steps" --decay "$decay" --compile
"$python" publish.py --run "$work/run" --tokenizer "$work/tokenizer" --out "$out"
[ -z "${REFERENCE:-}" ] || "$python" compare.py --text "$valid" --out "$work/compare.json" "$out" "$REFERENCE"
"$python" samples.py --model "$out" --out "$work/samples.json"
"$python" card.py --work "$work" --model "$out"
