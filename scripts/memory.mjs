/**
 * Writes docs/memory.md: what the memory forecast says of many jobs beside what they really held, on WebAssembly and on WebGPU (Dawn in
 * Node, which needs a driver). `node scripts/memory.mjs`. Refuses to judge: tests/engine/memory.test.ts holds the two within 10 %.
 */
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { format } from 'prettier'
import { ensureModules, ROOT } from './setup.mjs'

ensureModules()
const BACKENDS = { wasm: 'WebAssembly', webgpu: 'WebGPU' }

function figures(backend) {
  const argv = ['--import', 'tsx', 'tests/bench/memory.ts', backend]
  const { status, stdout, stderr } = spawnSync(process.execPath, argv, { cwd: ROOT, encoding: 'utf8' })
  if (status !== 0) throw new Error(`${BACKENDS[backend]}: ${stderr.slice(-800)}`)
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
}

const rows = Object.keys(BACKENDS).map(figures)
const megabytes = (bytes) => (bytes / 1e6).toFixed(1)
const cells = ({ measured, total }) =>
  `${megabytes(total)} | ${megabytes(measured)} | ${((total / measured - 1) * 100).toFixed(1)} %`
const real = rows[1].find(({ name }) => name.startsWith('SmolLM2'))
const largest = Math.max(...rows.flat().map(({ measured, total }) => Math.abs(total / measured - 1)))
const text = `# Memory

Before a run the page and the command line say what it will hold at its peak, against what the device has, and a job that cannot
fit is refused with changes that would make it fit. \`src/engine/memory-parts.ts\` says how the bytes add up. This table, made by
\`node scripts/memory.mjs\`, holds the forecast against what small models of several families really held: on WebGPU every buffer
that was created and not destroyed, on WebAssembly every block of its heap, the copies that its products keep and the packed
weights beside it. On WebGPU programs were bound and encoded but not run, which changes no allocation. In megabytes; the largest difference is ${(largest * 100).toFixed(1)} %, and \`tests/engine/memory.test.ts\` fails beyond 10 %.

| job | WebAssembly: forecast | measured | off by | WebGPU: forecast | measured | off by |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
${rows[0].map((row, i) => `| ${row.name} | ${cells(row)} | ${cells(rows[1][i])} |`).join('\n')}

"4x128" are batches of 4 examples of 128 tokens. Models: 3 or 4 layers, width 256 ("wide": 512), vocabularies of 4,096 to 16,000;
LoRA of rank 16 on all projections with AdamW unless a row says otherwise. "Kept tapes": where memory is to spare, what a layer
computed is kept for its gradient instead of being computed again. Unquantised models of up to 33 million parameters are held four
times over on WebAssembly, for speed.

${real.name} is the row for a real model's shapes on WebGPU: ${megabytes(real.measured)} MB measured, ${megabytes(real.total)} MB forecast, of which base weights
${megabytes(real.weights)}, adapter and gradients ${megabytes(real.adapter)}, optimiser ${megabytes(real.optimiser)}, activations ${megabytes(real.activations)}.
`
writeFileSync(join(ROOT, 'docs/memory.md'), await format(text, { parser: 'markdown', printWidth: 130 }))
