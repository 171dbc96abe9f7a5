#!/bin/sh
# From the corpora to public/models/stories-3m in one command; refuses to start without a corpora folder.
#   CORPORA=DIR [REFERENCE=DIR] [PYTHON=python3] [WORK=.pretrain] [CYCLES="2314:700 4360:3490:2623 3800:2350"] scripts/pretrain/run.sh
# A cycle is STEPS:DECAY[:STOP] as train.py has them. The first one ends at rate zero; the second one starts again at 59 % and
# is left at step 2,623 for a shorter one.
# Every stage that is already there is kept, so that a stopped run goes on from its last checkpoint.
set -eu
: "${CORPORA:?set CORPORA to the folder that holds tinystories-samples, ccby-storybooks, gutenberg-childrens, classic-childrens}"
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
python=${PYTHON:-python3}
work=${WORK:-$root/.pretrain}
out=${OUT:-$root/public/models/stories-3m}
cycles=${CYCLES:-2314:700 4360:3490:2623 3800:2350}
valid=$CORPORA/tinystories-samples/tinystories-794k.txt
export OMP_WAIT_POLICY=PASSIVE
cd "$here"
[ -f "$work/corpus/train.jsonl" ] || "$python" corpus.py --corpora "$CORPORA" --out "$work/corpus"
[ -f "$work/turns.jsonl" ] || "$python" turns.py --corpus "$work/corpus" --out "$work/turns.jsonl"
[ -f "$work/tokenizer/tokenizer.json" ] || "$python" tokenizer.py --corpus "$work/corpus" --turns "$work/turns.jsonl" --out "$work/tokenizer"
[ -f "$work/data/valid.pt" ] || "$python" encode.py --corpus "$work/corpus" --turns "$work/turns.jsonl" --tokenizer "$work/tokenizer" --validation "$valid" --out "$work/data"
for cycle in $cycles; do
  set -- $(echo "$cycle" | tr : ' ')
  "$python" train.py --data "$work/data" --out "$work/run" --steps "$1" --decay "$2" ${3:+--stop-at "$3"} --compile
done
"$python" publish.py --run "$work/run" --tokenizer "$work/tokenizer" --out "$out"
[ -z "${REFERENCE:-}" ] || "$python" compare.py --text "$valid" --out "$work/compare.json" "$out" "$REFERENCE"
"$python" samples.py --model "$out" --out "$work/samples.json"
"$python" card.py --work "$work" --model "$out"
