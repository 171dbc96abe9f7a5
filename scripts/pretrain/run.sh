#!/bin/sh
# From the corpora to public/models/stories-3m in one command; refuses to start without a corpora folder.
#   CORPORA=DIR [REFERENCE=DIR] [PYTHON=python3] [WORK=.pretrain] [CYCLES="2314:700 4360:3490:2623 3800:2350"] scripts/pretrain/run.sh
# A cycle is STEPS:DECAY[:STOP] as train.py has them. The first one ends at rate zero; the second one starts again at 59 % and
# is left at step 2,623 for a shorter one. By then every story was read five times, and plain training makes the held-out loss
# rise. So two branches go on from there: one as before, one with dropout, more weight decay and a running average of the
# weights. What is published is the mean of five sets of weights along these branches.
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
cp -n "$work/run/checkpoint.pt" "$work/cycled.pt"
"$python" train.py --data "$work/data" --out "$work/branch" --from-checkpoint "$work/cycled.pt" --steps 7000 --decay 5600 --stop-at 6000 --compile
average="--weight-decay 0.3 --dropout 0.1 --compile"
if [ ! -f "$work/half.pt" ]; then
  "$python" train.py --data "$work/data" --out "$work/run" --steps 43800 --decay 80000 --stop-at 4558 --average 0.998 $average
  cp "$work/run/checkpoint.pt" "$work/half.pt"
fi
"$python" train.py --data "$work/data" --out "$work/run" --steps 4858 --decay 610 --average 0.995 $average
"$python" publish.py --run "$work/run" --tokenizer "$work/tokenizer" --out "$out" --data "$work/data" \
  --with "$work/half.pt" "$work/cycled.pt" "$work/branch/weights-5000.pt" "$work/branch/weights-6000.pt"
[ -z "${REFERENCE:-}" ] || "$python" compare.py --text "$valid" --out "$work/compare.json" "$out" "$REFERENCE"
"$python" samples.py --model "$out" --out "$work/samples.json"
"$python" card.py --work "$work" --model "$out"
