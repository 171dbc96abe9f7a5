/**
 * docs/methods.md from scripts/docs/methods.json, written by hand, and the numbers that `npm run bench -- methods` measured. Refuses a
 * choice of the settings table without a row, and a row whose test is not there.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** Settings whose every choice is a method of training, and so has a row. */
const COVERED = ['method', 'objective', 'quantization', 'optimizer', 'schedule', 'loraInit', 'trainOn']
const TITLES = {
  methods: 'Other methods',
  adapters: 'LoRA and its variants',
  'base weights': 'Base weights in fewer bits',
  objectives: 'Objectives',
  optimisers: 'Optimisers',
  schedules: 'Schedules',
  regularisers: 'Against learning by heart',
  'continual learning': 'Continual learning',
}

/** The page's text. @param settings the table and its helper of src/shared/job.ts */
export function methodsPage(root, settings) {
  const read = (path) => JSON.parse(readFileSync(join(root, path), 'utf8'))
  const rows = read('scripts/docs/methods.json')
  const measuredFile = 'scripts/docs/methods-measured.json'
  const measured = existsSync(join(root, measuredFile)) ? read(measuredFile) : { about: '', rows: {} }
  check(rows, root, settings)
  const groups = [...new Set(rows.map(({ group }) => group))]
  const head = ['method', 'setting', 'numbers from', 'test', 'memory', 'tokens/s', 'result']
  const sections = groups.map((group) => {
    const own = rows.filter((row) => row.group === group)
    const lines = own.map((row) => tableRow(row, measured.rows[row.id], settings))
    return [`## ${TITLES[group] ?? group}`, '', line(head), line(head.map(() => '---')), ...lines, ''].join('\n')
  })
  return `${INTRODUCTION}\n\n${measured.about}\n\n${sections.join('\n')}\n${NOTES}\n`
}

function check(rows, root, { SETTINGS }) {
  for (const key of COVERED) {
    const { choices, default: usual } = SETTINGS[key] ?? {}
    for (const choice of Object.keys(choices ?? {})) {
      if (rows.some(({ job }) => (job[key] ?? usual) === choice)) continue
      throw new Error(
        `scripts/docs/methods.json has no row with ${key} = ${choice}: every choice needs one, with its test.`,
      )
    }
  }
  for (const { id, test, job } of rows) {
    const [file, name] = test
    if (!existsSync(join(root, file)) || !readFileSync(join(root, file), 'utf8').includes(name))
      throw new Error(`scripts/docs/methods.json, ${id}: there is no “${name}” in ${file}.`)
    for (const key of Object.keys(job))
      if (!(key in SETTINGS)) throw new Error(`scripts/docs/methods.json, ${id}: no setting ${key}.`)
  }
}

function tableRow({ name, job, golden, test }, found, { flagOf }) {
  const flags = Object.entries(job).filter(([key]) => key !== 'learningRate')
  const setting = flags
    .map(([key, value]) => `\`--${flagOf(key)}${value === true ? '' : ` ${quoted(value)}`}\``)
    .join(' ')
  const numbers = found ? [times(found.memory), times(found.speed), found.result] : ['', '', '']
  return line([name, setting, golden, `\`${test[0].replace(/^tests\//, '')}\`: ${test[1]}`, ...numbers])
}

const quoted = (value) => (String(value).includes(' ') ? `"${value}"` : String(value))
const times = (value) => `× ${value.toFixed(2)}`
const line = (cells) => `| ${cells.join(' | ')} |`

const INTRODUCTION = `# Training methods

Made by \`npm run docs\` from \`scripts/docs/methods.json\` and from what \`npm run bench -- methods\` measured. What a run can train and
towards what, the setting that chooses it (see [settings.md](settings.md)), where its golden numbers come from, and the test that holds it
to them. Engine tests run on WebAssembly in Node and on WebGPU in Chromium, and every method's run goes on from a checkpoint with the
numbers of an uninterrupted one.

Memory is the peak of a run with the base model in it, and tokens/s are those of its steps by processor time, both against LoRA on the
same rows and the default model. The result is the validation loss of a short run, or for preferences the share of validation pairs whose better answer has
the higher reward: enough to see that a method learns, not enough to choose one by.`

const NOTES = `(IA)³, prompts and prefixes are exported as PEFT has them and read back; (IA)³ also merges into the model. PEFT has no bottleneck adapters:
their folder is named in PEFT's way (\`peft_type\` FINETAB_BOTTLENECK, \`<layer>.adapter_down\` and \`.adapter_up\` with weight and bias), and each
layer named gives \`y + up(gelu(down(y)))\`, before the residual is added. What cannot be written as weights of the model (prompts, prefixes,
bottlenecks) is not merged, and no GGUF is made of it.

A fresh prompt starts as the embeddings of real tokens, a fresh prefix as the keys and values that the model computes for them: those of
\`--virtual-text\`, or any by the seed. Both stand before every example as positions of their own, so that packing, windows and learnt
positions hold as ever; they cost what as many tokens cost. With preferences, the reference is the model with the fresh prompt.

The reference of DPO and KTO is the model as it stands at the start of the run: a fresh adapter changes nothing, so that is the base
model; a run that goes on from an adapter is held to that adapter, as in TRL. It is read once, before the first step, and travels with
every checkpoint. Mean margin and the share of rows on the right side are columns of the run, and curves on its chart.

On Kinder answers with the bundled model (DPO with an answer weight of 1 at a rate of 2e-3, batches of 8), the share of the 48 held-out
pairs whose kind answer has the higher reward goes 0.63 after 4 steps, 0.81 after 8, 0.98 after 12 and 1.00 after 20.`
