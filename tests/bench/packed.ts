/**
 * Entry of the folder that `npm run bench:pack` writes: `node bench.mjs [--model NAME] [--json]` runs the benches of webgpu on the
 * graphics card of this machine, and PyTorch's where a Python has it, and writes results.md and results.json beside itself. Refuses wasm.
 */
import { writeFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { nodeHost } from './hosts'
import { runInNode } from './run-in-node'
import { measure, plan } from './plan'
import { SECTIONS, type Measured } from './report'
import { withTorch } from './torch'

const self = fileURLToPath(import.meta.url)
const BENCHES = ['gemm', 'step', 'attention', 'ops', 'memory', 'generate'] as const

async function main(): Promise<void> {
  const { values: flags } = parseArgs({ options: { model: { type: 'string' }, json: { type: 'boolean' } } })
  const webgpu = nodeHost([self])
  const hosts = { webgpu, wasm: webgpu }
  const tasks = await plan(BENCHES, ['webgpu'], flags.model, hosts)
  const alone = await measure(tasks, hosts, (line) => console.error(line))
  const torch = withTorch(alone, join(dirname(self), 'torch_step.py'))
  const measured = torch?.measured ?? alone
  const text = report(
    measured,
    torch?.device ?? 'No Python with PyTorch was found: set PYTHON to one to compare with it.',
  )
  writeFileSync(join(dirname(self), 'results.md'), text)
  writeFileSync(join(dirname(self), 'results.json'), JSON.stringify(measured))
  console.log(flags.json ? JSON.stringify(measured) : text)
}

function report(measured: readonly Measured[], torch: string): string {
  const device = measured[0]?.outcome.device ?? 'no device'
  const memory = `${Math.round(totalmem() / 2 ** 30)} GiB of memory`
  const head = `# Finetab's benches on ${device}\n\nMade on ${new Date().toISOString().slice(0, 10)} with Node ${process.versions.node}, ${cpus().length} cores of ${cpus()[0]?.model}, ${memory}. ${torch}\n`
  const parts = BENCHES.map((name) => {
    const [title, text] = SECTIONS[name]
    const own = measured.filter(({ task }) => task.bench === name || (name === 'step' && task.bench === 'gemm'))
    return `## ${title}\n\n${own.length > 0 ? text(own) : 'Nothing was measured.\n'}`
  })
  return [head, ...parts].join('\n')
}

await (process.argv[2]?.startsWith('{') ? runInNode(process.argv[2]) : main())
process.exit(0)
