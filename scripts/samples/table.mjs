/**
 * Measures samples on the bundled model with the command line, base and tuned, and writes the table into docs/samples.md.
 * Refuses to score rows that were trained on.
 *
 *   node scripts/samples/table.mjs [--model stories-3m] [--only a,b] [--backend wasm] [--keep DIR]
 */
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { parseArgs, promisify } from 'node:util'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../../', import.meta.url))
const samples = join(root, 'public', 'datasets')
const results = join(root, 'scripts', 'samples', 'results', 'table.json')
const page = join(root, 'docs', 'samples.md')
const { values: options } = parseArgs({
  options: {
    model: { type: 'string', default: 'stories-3m' },
    only: { type: 'string' },
    backend: { type: 'string', default: 'auto' },
    keep: { type: 'string' },
  },
})

/** Runs the command line and returns its JSON events. */
async function finetab(...flags) {
  const program = ['scripts/finetab.mjs', ...flags, '--backend', options.backend, '--json']
  const { stdout } = await run(process.execPath, program, { cwd: root, maxBuffer: 1 << 28 })
  return stdout
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line))
}

/** A seeded order of 0…n-1 (mulberry32 and Fisher-Yates). */
function shuffled(n, seed) {
  let state = seed
  const next = () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
  const order = Array.from({ length: n }, (_, i) => i)
  for (let i = n - 1; i > 0; i--) {
    const j = Math.floor(next() * (i + 1))
    ;[order[i], order[j]] = [order[j], order[i]]
  }
  return order
}

const side = (row, name) => ({ messages: [...row.prompt, ...row[name]] })
const writeRows = (path, rows) => writeFile(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''))

/** Loss and per-row results of a file of rows, with the base model or an adapter. */
async function evaluate(file, adapter) {
  const events = await finetab(
    'evaluate',
    '--model',
    options.model,
    '--data',
    file,
    ...(adapter ? ['--adapter', adapter] : []),
  )
  const rows = events.filter((e) => e.event === 'row')
  const total = events.find((e) => e.event === 'total')
  return { loss: total.loss, rows, exact: rows.filter((r) => r.correct === r.tokens).length / rows.length }
}

/** How many of the prompts are answered in the ship's voice, and the answers. */
async function voice(prompts, adapter) {
  const answers = []
  for (const prompt of prompts) {
    const flags = ['--model', options.model, '--prompt', prompt, '--temperature', '0', '--max-new-tokens', '60']
    const events = await finetab('generate', ...flags, ...(adapter ? ['--adapter', adapter] : []))
    answers.push(events.find((e) => e.event === 'generation').text)
  }
  return { share: answers.filter((a) => /Captain|Vesper|Marigold/.test(a)).length / answers.length, answers }
}

async function measure(card, folder) {
  const all = (await readFile(join(samples, card.file), 'utf8'))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  const order = shuffled(all.length, 42)
  const count = Math.max(20, Math.round(all.length / 10))
  const isPair = card.format === 'preference'
  const pick = (from, to) => order.slice(from, to).map((i) => all[i])
  const [held, train] = [pick(0, count), pick(count)]
  const path = (name) => join(folder, `${card.id}-${name}.jsonl`)
  await writeRows(path('train'), train)
  await writeRows(path('held'), held)
  if (isPair) {
    for (const name of ['chosen', 'rejected'])
      await writeRows(
        path(name),
        held.map((row) => side(row, name)),
      )
  }
  await writeFile(join(folder, `${card.id}.json`), JSON.stringify(card.suggested))

  const score = async (adapter) => {
    const found = await evaluate(path(isPair ? 'chosen' : 'held'), adapter)
    if (card.format === 'text') return { loss: found.loss, score: null }
    if (isPair) {
      const rejected = await evaluate(path('rejected'), adapter)
      return {
        loss: found.loss,
        score: found.rows.filter((row, i) => row.loss < rejected.rows[i].loss).length / found.rows.length,
      }
    }
    if (card.id === 'ships-computer') {
      const spoken = await voice(
        held.slice(0, 20).map((row) => row.messages[0].content),
        adapter,
      )
      return { loss: found.loss, score: spoken.share }
    }
    return { loss: found.loss, score: found.exact }
  }
  const base = await score()
  const out = join(folder, card.id)
  const began = performance.now()
  const flags = [
    '--data',
    path('train'),
    '--eval-data',
    path('held'),
    '--job',
    join(folder, `${card.id}.json`),
    '--out',
    out,
  ]
  const events = await finetab('train', '--model', options.model, ...flags)
  const seconds = (performance.now() - began) / 1000
  const done = events.find((e) => e.event === 'done')
  const tuned = await score(out)
  return {
    id: card.id,
    name: card.name,
    metric: card.metric,
    suggested: card.suggested,
    trainRows: train.length,
    heldOutRows: held.length,
    base,
    tuned,
    steps: done.step,
    seconds: Math.round((done.ms ?? seconds * 1000) / 100) / 10,
  }
}

const percent = (x) => (x === null ? '' : `${(100 * x).toFixed(0)} %`)

function table(rows) {
  const head = [
    'sample',
    'held-out loss, base → tuned',
    'its measure, base → tuned',
    'steps',
    'seconds',
    'what is measured',
  ]
  const lines = rows.map((r) => [
    r.name,
    `${r.base.loss.toFixed(2)} → ${r.tuned.loss.toFixed(2)}`,
    r.base.score === null ? '' : `${percent(r.base.score)} → ${percent(r.tuned.score)}`,
    r.steps,
    r.seconds,
    r.metric,
  ])
  return [head, head.map(() => '---'), ...lines].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}

/** Replaces what stands between two marks of the page. */
async function replaceBlock(name, text) {
  const old = await readFile(page, 'utf8')
  const found = new RegExp(`(<!-- ${name} -->\n)[^]*?(<!-- /${name} -->)`)
  if (!found.test(old)) throw new Error(`docs/samples.md has no block "${name}"`)
  await writeFile(
    page,
    old.replace(found, (_, open, close) => `${open}\n${text}\n\n${close}`),
  )
}

async function main() {
  const cards = JSON.parse(await readFile(join(samples, 'index.json'), 'utf8'))
  const wanted = options.only?.split(',')
  const folder = options.keep ?? (await mkdtemp(join(tmpdir(), 'finetab-samples-')))
  await mkdir(folder, { recursive: true })
  for (const card of cards.filter(({ id }) => !wanted || wanted.includes(id))) {
    const found = await measure(card, folder)
    console.log(table([found]).split('\n').at(-1))
    // Read again each time: samples may be measured side by side.
    const old = JSON.parse(await readFile(results, 'utf8').catch(() => '{}'))
    await writeFile(results, `${JSON.stringify({ ...old, [card.id]: found }, null, 1)}\n`)
  }
  if (!options.keep) await rm(folder, { recursive: true })
  const all = JSON.parse(await readFile(results, 'utf8'))
  const done = cards.map(({ id }) => all[id]).filter(Boolean)
  const note =
    'Measured by `node scripts/samples/table.mjs` through the command line, with the settings of `public/datasets/index.json`.'
  await replaceBlock('table', `${note}\n\n${table(done)}`)
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) await main()
