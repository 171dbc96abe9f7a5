/**
 * `npm run bench -- [step|gemm|attention|memory|ops|generate …] [--backend wasm|webgpu] [--model NAME,…] [--dawn] [--hardware] [--torch] [--json] [--docs]`:
 * plans the tasks, runs each in a process or page of its own, prints tables or JSON, and with --docs writes the sections of
 * docs/performance.md that it measured. Refuses to compare numbers of different runs: figures are ratios within this one.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { cpus, loadavg } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { format } from 'prettier'
import { ROOT } from '../../scripts/setup.mjs'
import { nodeHost } from './hosts'
import { pageHost } from './page-host'
import { measure, plan } from './plan'
import { withTorch } from './torch'
import { readmeTable, SECTIONS, type Measured } from './report'
import type { Backend } from './tasks'

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    backend: { type: 'string' },
    model: { type: 'string' },
    dawn: { type: 'boolean', default: false },
    torch: { type: 'boolean', default: false },
    hardware: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    docs: { type: 'boolean', default: false },
  },
})

type Section = keyof typeof SECTIONS

function chosen(): Section[] {
  for (const name of positionals) if (!(name in SECTIONS)) throw new Error(`no bench ${name}: there are ${Object.keys(SECTIONS).join(', ')}, import and pack`) // prettier-ignore
  return positionals.length > 0 ? (positionals as Section[]) : (Object.keys(SECTIONS) as Section[])
}

/** What the numbers were made on. */
function circumstances(measured: readonly Measured[], names: readonly Section[]): string {
  const devices = [...new Set(measured.map(({ task, outcome }) => `${task.backend}: ${outcome.device}`))]
  const software = measured.some(({ task, outcome }) => task.backend === 'webgpu' && outcome.software)
  const busy = (loadavg()[2] ?? 0) > 3 ? `; other work kept the machine busy (load ${loadavg()[2]!.toFixed(0)})` : ''
  const given = [...names, ...(flags.backend ? [`--backend ${flags.backend}`] : []), ...(flags.model ? [`--model ${flags.model}`] : []), ...(flags.dawn ? ['--dawn'] : [])] // prettier-ignore
  return `\`npm run bench -- ${given.join(' ')} --docs\` on ${new Date().toISOString().slice(0, 10)}, Node ${process.versions.node}, ${cpus().length} cores of ${cpus()[0]?.model}; ${devices.join('; ')}${software ? ' (software, which says nothing about graphics cards but compares libraries)' : ''}${busy}.`
}

/** Puts `text` between the marks of `name`, or at the end where there are none yet. */
function replaceSection(page: string, name: string, text: string): string {
  const [begin, end] = [`<!-- bench ${name} -->`, `<!-- end of bench ${name} -->`]
  const from = page.indexOf(begin)
  const section = `${begin}\n\n${text}\n${end}\n`
  if (from < 0) return `${page.trimEnd()}\n\n${section}`
  return page.slice(0, from) + section + page.slice(page.indexOf(end) + end.length).replace(/^\n/, '')
}

async function write(path: string, change: (text: string) => string): Promise<void> {
  const file = join(ROOT, path)
  const text = await format(change(readFileSync(file, 'utf8')), { parser: 'markdown', printWidth: 120 })
  writeFileSync(file, text)
}

async function document(measured: readonly Measured[], names: readonly Section[]): Promise<void> {
  const said = circumstances(measured, names)
  for (const name of names) {
    const [title, text] = SECTIONS[name]
    const own = measured.filter(({ task }) => task.bench === name || (name === 'step' && task.bench === 'gemm'))
    await write('docs/performance.md', (page) => replaceSection(page, name, `## ${title}\n\n${text(own)}\n${said}`))
  }
  if (names.includes('step') && (flags.model ?? 'small').split(',').includes('small') && !flags.backend)
    await write('README.md', (page) => replaceSection(page, 'step', `${readmeTable(measured, 'small')}\n\n${said}`))
}

const names = chosen()
const hosts = {
  wasm: nodeHost(['--import', 'tsx', join(ROOT, 'tests/bench/node.ts')]),
  webgpu: flags.dawn ? nodeHost(['--import', 'tsx', join(ROOT, 'tests/bench/node.ts')]) : pageHost(flags.hardware),
}
const backends: Backend[] = flags.backend ? [flags.backend as Backend] : ['wasm', 'webgpu']
const tasks = await plan(names, backends, flags.model, hosts)
const alone = await measure(tasks, hosts, (line) => console.error(line))
for (const host of Object.values(hosts)) await host.close()
const torch = flags.torch ? withTorch(alone, join(ROOT, 'tests/bench/peers/torch_step.py')) : null
const measured = torch?.measured ?? alone
if (flags.docs) await document(measured, names)
if (flags.json) console.log(JSON.stringify(measured))
else if (!flags.docs) {
  for (const name of names) {
    const [title, text] = SECTIONS[name]
    const own = measured.filter(({ task }) => task.bench === name || (name === 'step' && task.bench === 'gemm'))
    console.log(`\n## ${title}\n\n${text(own)}`)
  }
}
process.exit(0)
