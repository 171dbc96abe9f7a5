/**
 * What quantised base weights cost in quality: held-out loss before and after tuning, for each precision, through the command line;
 * writes the table into docs/quantization.md. Refuses to score rows that were trained on.
 *
 *   node scripts/quantization.mjs [--steps 60] [--models DIR,DIR] [--keep DIR]
 */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../', import.meta.url))
const page = join(root, 'docs', 'quantization.md')
const data = 'public/datasets/night-train.jsonl'
const modes = ['none', 'f16', 'int8', 'nf4']
const { values: options } = parseArgs({
  options: {
    steps: { type: 'string', default: '60' },
    models: { type: 'string', default: 'public/models/stories-3m,../shared/data/models/tinystories-656K' },
    keep: { type: 'string' },
  },
})

/** Runs the command line and returns its JSON events. */
async function finetab(...flags) {
  const program = ['scripts/finetab.mjs', ...flags, '--backend', 'wasm', '--json']
  const { stdout } = await run(process.execPath, program, { cwd: root, maxBuffer: 1 << 28 })
  return stdout
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line))
}

const mean = (rows, key) =>
  rows.reduce((sum, row) => sum + row[key] * row.tokens, 0) / rows.reduce((sum, row) => sum + row.tokens, 0)

const folder = options.keep ?? (await mkdtemp(join(tmpdir(), 'finetab-quantization-')))
const lines = []
for (const model of options.models.split(',').filter((path) => existsSync(join(root, path)))) {
  let plain
  for (const mode of modes) {
    const out = join(folder, `${basename(model)}-${mode}`)
    const length = ['--max-length', '128', '--seed', '42']
    const common = ['--model', model, '--data', data, ...length]
    const settings = ['--batch-size', '4', '--lr', '5e-3', '--warmup-steps', '5', '--eval-every', '100000']
    const train = ['--steps', options.steps, '--quantization', mode, '--sample-tokens', '0', '--out', out]
    await finetab('train', ...common, ...settings, ...train)
    const judged = await finetab('evaluate', ...common, '--adapter', out, '--held-back', '--answers', '0', '--no-probe')
    const rows = judged.filter(({ event }) => event === 'row')
    const found = { before: mean(rows, 'base_loss'), after: mean(rows, 'loss') }
    plain ??= found
    const against = (key) => `${found[key].toFixed(4)} (${(100 * (found[key] / plain[key] - 1)).toFixed(2)} %)`
    const name = mode === 'none' ? `**${basename(model)}**` : ''
    lines.push(`| ${name} | ${mode} | ${against('before')} | ${against('after')} |`)
    console.log(lines.at(-1))
  }
}
if (!options.keep) await rm(folder, { recursive: true, force: true })
const heads = ['| model | base weights | held-out loss before | after |', '| --- | --- | --- | --- |']
const table = [...heads, ...lines].join('\n')
const text = await readFile(page, 'utf8')
const [start, end] = ['<!-- quality -->', '<!-- /quality -->']
const at = text.indexOf(start) + start.length
await writeFile(page, `${text.slice(0, at)}\n\n${table}\n\n${text.slice(text.indexOf(end))}`)
