/**
 * `npm run conformance`: trains with the command line, then has real PEFT, transformers, gguf, TRL and Ray check what came out. Refuses to
 * count as passed what it could not run: that is skipped, with the reason. Exits with 1 where a check fails.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findPython } from './conformance/venv.mjs'
import { ensureModules, ROOT } from './setup.mjs'

const STEPS = 60
const GREEDY_TOKENS = 24
const BUNDLED = join(ROOT, 'public/models/stories-3m')
/** Turns for the bundled model's chat template: one answer, several, and a system message. */
const CHATS = [
  [
    ['user', 'How is the engineer?'],
    ['assistant', 'The engineer is well, Captain. All decks are calm.'],
  ],
  [
    ['user', ' Hello! '],
    ['assistant', 'Hello.'],
    ['user', 'Count to three.'],
    ['assistant', '1, 2, 3'],
  ],
  [
    ['system', 'You are a cat.'],
    ['user', 'Who are you?'],
    ['assistant', 'Meow! I am a cat, of course…'],
  ],
]
/** Checks in check.py of a tuned model and of a bundled one: what is skipped where there is no Python. */
const TUNED_CHECKS = 5
const BUNDLED_CHECKS = 3
const TEXTS = [
  'Once upon a time there was a little girl named Lily.',
  'Who are you?  I am  "nobody",\n\tshe said – 12 times!',
  'Ünïcödé, 日本語, emoji 🙂 and a ½',
  '',
  ' leading and trailing ',
]

const results = []
const work = mkdtempSync(join(tmpdir(), 'finetab-conformance-'))
try {
  ensureModules()
  runAll()
} finally {
  rmSync(work, { recursive: true, force: true })
}
const count = (status) => results.filter((result) => result.status === status).length
console.log(`\n${results.length} checks in ${Math.round(process.uptime())} s`)
console.log(`${count('passed')} passed, ${count('failed')} failed, ${count('skipped')} skipped`)
process.exit(count('failed') > 0 ? 1 : 0)

function runAll() {
  const subject = chooseSubject()
  console.log(`Training on ${subject.model} with ${subject.data}\n`)
  const tuned = tune(subject)
  checkDawn()
  const bundled = existsSync(join(BUNDLED, 'config.json')) ? BUNDLED : null
  if (!bundled) record('bundled model', 'skipped', 'it is not there', BUNDLED_CHECKS)
  const found = findPython(ROOT)
  if ('why' in found) {
    record('PEFT and transformers', 'skipped', found.why, (tuned ? TUNED_CHECKS : 0) + (bundled ? BUNDLED_CHECKS : 0))
    record('every export format of every family', 'skipped', found.why)
    return
  }
  const logits = bundled && bundledLogits(bundled)
  const file = join(work, 'work.json')
  writeFileSync(file, JSON.stringify({ tuned, bundled: logits }))
  check(found.python, 'check.py', file)
  checkFormats(found.python)
  checkMethods(found.python)
  checkHandoff(found.python, subject)
}

/** Runs a script of real Python tools; each JSON line it prints is a check. */
function check(python, script, ...args) {
  const run = spawnSync(python, [join(ROOT, 'tests/conformance', script), ...args], {
    encoding: 'utf8',
    env: { ...process.env, HF_HUB_OFFLINE: '1', TOKENIZERS_PARALLELISM: 'false' },
    maxBuffer: 1 << 28,
  })
  const found = jsonLines(run.stdout)
  for (const { name, status, detail } of found) record(name, status, detail)
  if (run.status !== 0 || found.length === 0)
    record(script, 'failed', run.stderr.trim().split('\n').slice(-5).join('\n') || 'it checked nothing')
}

/** The same job for other trainers, plain and with as much switched on as they know, built and trained for two steps by TRL and PEFT. */
function checkHandoff(python, { model, data }) {
  const chats = join(work, 'handoff.jsonl')
  writeRows(
    chats,
    CHATS.map((turns) => ({ messages: turns.map(([role, content]) => ({ role, content })) })),
  )
  const pairs = join(work, 'preferences.jsonl')
  writeRows(
    pairs,
    [1, 2, 3, 4].map((n) => ({ prompt: `Say ${n}. `, chosen: `${n}`, rejected: `${n + 1}` })),
  )
  const turn = (role, content) => ({ role, content })
  const rated = join(work, 'rated.jsonl')
  writeRows(
    rated,
    [1, 2, 3, 4].map((n) => ({ messages: [turn('user', `Say ${n}.`), turn('assistant', '2')], label: n === 2 })),
  )
  const small = '--max-length 64 --batch-size 2'
  const jobs = {
    plain: ['--data', data],
    full: `--data ${chats} --eval-data ${chats} --schedule wsd --final-rate 0.1 --warmup-ratio 0.1 --optimizer sgd --ema 0.9 --neftune 5 --packing --train-on all --no-shuffle --rslora --dora --rank-pattern q_proj=4 --alpha-pattern q_proj=8 --lora-plus 16`.split(
      ' ',
    ),
    chats: ['--data', chats],
    loraplus: `--data ${data} --lora-plus 16 --lora-init pissa --rank 4 --group-by-length --schedule linear --final-rate 0.2`.split(' '), // prettier-ignore
    dpo: `--data ${pairs} --objective dpo --beta 0.3 --wrong-pairs 0.1 --sft-weight 0.5 --dropout 0.1 --schedule polynomial`.split(' '), // prettier-ignore
    orpo: `--data ${pairs} --objective orpo --schedule cosine-restarts`.split(' '),
    ia3: ['--data', chats, '--method', 'ia3'],
    prompt: ['--data', data, '--method', 'prompt', '--virtual-tokens', '5', '--virtual-text', 'Answer in one word.'],
    prefix: ['--data', data, '--method', 'prefix', '--virtual-tokens', '5'],
    kto: `--data ${rated} --objective kto --eval-fraction 0`.split(' '),
  }
  try {
    const folders = Object.entries(jobs).map(([name, flags]) => {
      const out = join(work, `handoff-${name}`)
      finetab('handoff', '--model', model, '--out', out, '--steps', 2, ...small.split(' '), ...flags)
      return out
    })
    const quantised = join(work, 'handoff-nf4')
    finetab('handoff', '--model', model, '--data', data, '--quantization', 'nf4', '--out', quantised)
    check(python, 'handoff_check.py', ...folders, quantised)
  } catch (error) {
    record('handoff', 'failed', error.message)
  }
}

function writeRows(file, rows) {
  writeFileSync(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
}

/** What PEFT has beside LoRA, and a classification head, trained for a few steps on a tiny model; PEFT and transformers compute the same. */
function checkMethods(python) {
  const name = 'methods beside LoRA'
  const model = join(ROOT, 'tests/golden/llama-gqa-tied')
  const texts = ['up we go', 'down they fell', 'up and up', 'it went down', 'so far up', 'all the way down']
  const answers = join(work, 'answers.jsonl')
  const labels = join(work, 'labels.jsonl')
  writeRows(answers, texts.map((text) => ({ prompt: text, completion: text.includes('up') ? ' high' : ' low' }))) // prettier-ignore
  writeRows(labels, texts.map((text) => ({ text, label: text.includes('up') ? 'high' : 'low' }))) // prettier-ignore
  const flags = ['--steps', 6, '--lr', 0.05, '--batch-size', 3, '--eval-fraction', 0, '--backend', 'wasm']
  const train = (data, ...more) => {
    const out = join(work, `method-${more[1]}`)
    finetab('train', '--model', model, '--data', data, '--out', out, ...flags, ...more)
    return out
  }
  const places = (adapter) => ['--model', model, '--adapter', adapter, '--backend', 'wasm']
  try {
    const methods = ['ia3', 'prompt', 'prefix'].map((method) => {
      const adapter = train(answers, '--method', method, '--virtual-tokens', 5)
      const rows = finetab('evaluate', ...places(adapter), '--data', answers, '--answers', 0, '--no-probe')
      return { method, adapter, rows: rows.filter(({ event }) => event === 'row') }
    })
    const adapter = train(labels, '--objective', 'classification')
    const asked = texts.map((text) => finetab('generate', ...places(adapter), '--prompt', text)[0])
    const file = join(work, 'methods.json')
    writeFileSync(file, JSON.stringify({ model, data: answers, methods, head: { adapter, texts, asked } }))
    check(python, 'methods_check.py', file)
  } catch (error) {
    record(name, 'failed', error.message)
  }
}

/** Every export format of every tiny model of the golden numbers, written here and read by PEFT, transformers and gguf. */
function checkFormats(python) {
  const folder = join(work, 'formats')
  const written = node(['--import', import.meta.resolve('tsx'), join(ROOT, 'tests/conformance/formats.ts'), folder])
  if (written.status !== 0) record('formats.ts', 'failed', written.stderr.trim())
  else check(python, 'formats_check.py', folder)
}

/** The real model and dataset where they are at hand, else the bundled model, else the tiny one of the golden numbers. */
function chooseSubject() {
  const real = join(ROOT, '../shared/data/models/tinystories-656K')
  const identity = join(ROOT, '../shared/data/datasets/llamafactory-demo/identity.json')
  if (existsSync(real) && existsSync(identity)) {
    return { model: real, data: identity, prompts: ['Who are you?', 'hello', 'What is your name?'] }
  }
  const data = join(work, 'colours.jsonl')
  const things = ['sky', 'grass', 'snow', 'coal', 'sun', 'sea', 'rose', 'leaf', 'night', 'milk', 'blood', 'corn']
  const colours = [
    'blue',
    'green',
    'white',
    'black',
    'yellow',
    'blue',
    'red',
    'green',
    'black',
    'white',
    'red',
    'yellow',
  ]
  const rows = things.map((thing, i) => ({
    prompt: `What colour is the ${thing}?`,
    completion: ` It is ${colours[i]}.`,
  }))
  writeFileSync(data, rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
  const model = existsSync(join(BUNDLED, 'config.json')) ? BUNDLED : join(ROOT, 'tests/golden/llama-gqa-tied')
  return { model, data, prompts: rows.slice(0, 3).map(({ prompt }) => prompt) }
}

/** Trains, evaluates, generates and exports; null where training failed. */
function tune({ model, data, prompts }) {
  const adapter = join(work, 'adapter')
  const exported = join(work, 'exported')
  try {
    const events = finetab(
      'train',
      '--model',
      model,
      '--data',
      data,
      '--out',
      adapter,
      '--steps',
      STEPS,
      '--backend',
      'wasm',
    )
    const losses = events.filter(({ event }) => event === 'step').map(({ loss }) => loss)
    const last = losses.slice(-5).reduce((sum, loss) => sum + loss, 0) / 5
    const words = `${losses[0].toFixed(3)} at the first step, ${last.toFixed(3)} over the last five of ${losses.length}`
    record('train: 60 steps more than halve the loss', last < losses[0] / 2 ? 'passed' : 'failed', words)
    const rows = (...more) =>
      finetab('evaluate', '--model', model, '--data', data, '--backend', 'wasm', ...more).filter(
        ({ event }) => event === 'row',
      )
    const generations = prompts.map((prompt) => ({ prompt, count: GREEDY_TOKENS, ...answer(model, adapter, prompt) }))
    finetab('export', '--model', model, '--adapter', adapter, '--format', 'peft', '--out', exported)
    for (const { prompt, text } of generations) console.log(`  ${prompt} → ${text}`)
    return { model, data, adapter, exported, rows_base: rows(), rows_adapter: rows('--adapter', adapter), generations }
  } catch (error) {
    record('train, evaluate, generate and export', 'failed', error.message)
    return null
  }
}

/** Twenty steps on WebGPU in Node against the losses that PyTorch recorded; skipped where there is no adapter. */
function checkDawn() {
  const name = 'train --backend webgpu: 20 steps equal the recorded ones of PyTorch'
  const model = join(ROOT, 'tests/golden/llama-gqa-tied')
  const golden = JSON.parse(readFileSync(join(model, 'golden.json'), 'utf8'))
  const data = join(work, 'golden.jsonl')
  writeFileSync(data, golden.rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
  const { batch_size, grad_accum, lr, warmup_steps, steps } = golden.settings
  const settings = ['--batch-size', batch_size, '--grad-accum', grad_accum, '--lr', lr, '--warmup-steps', warmup_steps]
  const rest = [
    '--steps',
    steps,
    '--no-shuffle',
    '--eval-fraction',
    0,
    '--dropout',
    0,
    '--init-adapter',
    join(model, 'adapter_init'),
  ]
  const places = ['--model', model, '--data', data, '--out', join(work, 'dawn')]
  try {
    const events = finetab('train', ...places, ...settings, ...rest, '--backend', 'webgpu').filter(
      ({ event }) => event === 'step',
    )
    const differences = golden.runs[0].steps.map(({ loss }, i) => Math.abs(events[i].loss - loss) / loss)
    const good = differences[0] < 1e-4 && differences.every((difference) => difference < 1e-3)
    record(name, good ? 'passed' : 'failed', `largest relative difference ${Math.max(...differences).toExponential(1)}`)
  } catch (error) {
    const missing = error.message.includes('device.none')
    record(name, missing ? 'skipped' : 'failed', missing ? 'there is no WebGPU adapter here' : error.message)
  }
}

function answer(model, adapter, prompt) {
  const flags = ['--raw', '--temperature', 0, '--max-new-tokens', GREEDY_TOKENS, '--backend', 'wasm']
  const { ids, text } = finetab('generate', '--model', model, '--adapter', adapter, '--prompt', prompt, ...flags)[0]
  return { ids, text }
}

function bundledLogits(model) {
  const input = join(work, 'ids.json')
  const output = join(work, 'logits.json')
  const rows = [
    [1, 300, 1000, 7, 42, 2048, 4000, 5, 99, 512],
    Array.from({ length: 70 }, (_, i) => (i * 131 + 17) % 4096),
  ]
  writeFileSync(input, JSON.stringify({ rows, texts: TEXTS }))
  const script = join(ROOT, 'tests/conformance/logits.ts')
  const run = node(['--import', import.meta.resolve('tsx'), script, model, input, output])
  if (run.status !== 0) {
    record('logits of the bundled model', 'failed', run.stderr.trim())
    return null
  }
  const chat = join(work, 'chat.jsonl')
  const messages = CHATS.map((turns) => turns.map(([role, content]) => ({ role, content })))
  writeFileSync(chat, messages.map((turns) => `${JSON.stringify({ messages: turns })}\n`).join(''))
  const chatRows = finetab('evaluate', '--model', model, '--data', chat, '--backend', 'wasm')
  const measured = { chat, chat_rows: chatRows.filter(({ event }) => event === 'row') }
  return { model, rows, texts: TEXTS, ...measured, ...JSON.parse(readFileSync(output, 'utf8')) }
}

/** Runs a command with --json; its events. */
function finetab(command, ...args) {
  const run = node([join(ROOT, 'scripts/finetab.mjs'), command, ...args.map(String), '--json'])
  if (run.status !== 0) throw new Error(`finetab ${command} ended with ${run.status}: ${run.stderr.trim()}`)
  return jsonLines(run.stdout)
}

function node(args) {
  return spawnSync(process.execPath, args, { encoding: 'utf8', maxBuffer: 1 << 28 })
}

function jsonLines(text) {
  return text
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line))
}

function record(name, status, detail, times = 1) {
  for (let i = 0; i < times; i++) results.push({ name, status, detail })
  const mark = { passed: '✓', failed: '✗', skipped: '–' }[status]
  console.log(`${mark} ${name}${times > 1 ? ` (${times} checks)` : ''}: ${detail}`)
}
