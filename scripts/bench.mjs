/**
 * `npm run bench`: Finetab's LoRA step against plain TensorFlow.js and jax-js on the same model, batch and maths, each in a
 * process or page of its own, losses compared. `--json` prints JSON, `--docs` writes docs/performance.md. `npm run bench -- import`
 * measures reading datasets. Refuses to compare numbers of different runs: figures are ratios within this one.
 */
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { format } from 'prettier'
import { ensureChromium, ensureModules, ROOT } from './setup.mjs'

ensureModules()
if (process.argv[2] === 'import') {
  // Reading datasets: another bench, with its own page in docs.
  const argv = ['--import', 'tsx', 'tests/bench/import.ts', ...process.argv.slice(3)]
  process.exit(spawnSync(process.execPath, argv, { cwd: ROOT, stdio: 'inherit' }).status ?? 1)
}
const flags = new Set(process.argv.slice(2).filter((arg) => arg.startsWith('--')))
const only = process.argv.slice(2).filter((arg) => !arg.startsWith('--'))
const PEERS = ['finetab', 'tape', 'jax']
const NAMES = { finetab: 'Finetab', tape: 'TensorFlow.js tape', jax: 'jax-js' }
const PLAN = [
  { backend: 'wasm', shape: 'tiny', steps: 12, tokens: 256 },
  { backend: 'wasm', shape: 'small', steps: 8, tokens: 512 },
  { backend: 'webgpu', shape: 'tiny', steps: 7, tokens: 256 },
  { backend: 'webgpu', shape: 'small', steps: 5, tokens: 512 },
].filter((row) => only.length === 0 || only.includes(row.backend) || only.includes(row.shape))

function inNode(peer, { shape, steps }) {
  const result = spawnSync(process.execPath, ['--import', 'tsx', 'tests/bench/node.ts', peer, shape, String(steps)], {
    cwd: ROOT,
    encoding: 'utf8',
  })
  const line = result.stdout.trim().split('\n').pop()
  if (result.status !== 0 || !line) throw new Error(`${peer} failed: ${result.stderr.slice(-600)}`)
  return JSON.parse(line)
}

async function inPage(browser, port, peer, { shape, steps }) {
  const page = await browser.newPage()
  await page.goto(`http://127.0.0.1:${port}/tests/bench/page.html?peer=${peer}&shape=${shape}&steps=${steps}`)
  await page.waitForFunction(() => window.benchResult, undefined, { timeout: 600_000 })
  const result = await page.evaluate(() => window.benchResult)
  await page.close()
  if (result.error) throw new Error(`${peer}: ${result.error}`)
  return result
}

async function openBrowser() {
  const { chromium } = await import('@playwright/test')
  const { createServer } = await import('vite')
  const server = await createServer({
    root: ROOT,
    configFile: join(ROOT, 'vite.config.ts'),
    server: { port: 5198, host: '127.0.0.1', hmr: false },
  })
  await server.listen()
  const browser = await chromium.launch({
    executablePath: ensureChromium(),
    args: [
      '--no-sandbox',
      '--enable-unsafe-webgpu',
      ...(flags.has('--hardware') ? [] : ['--use-webgpu-adapter=swiftshader']),
    ],
  })
  return { server, browser, port: server.config.server.port }
}

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]
const rows = []
const page = PLAN.some((row) => row.backend === 'webgpu') ? await openBrowser() : null
for (const plan of PLAN) {
  for (const peer of PEERS) {
    const result = plan.backend === 'wasm' ? inNode(peer, plan) : await inPage(page.browser, page.port, peer, plan)
    const stepMs = median(result.times.slice(2))
    rows.push({
      ...plan,
      peer,
      stepMs,
      tokensPerSecond: (plan.tokens / stepMs) * 1000,
      firstMs: result.times[0],
      losses: result.losses,
      peakBytes: result.peakBytes,
    })
    if (!flags.has('--json'))
      console.log(`${plan.backend} ${plan.shape} ${NAMES[peer]}: ${stepMs.toFixed(0)} ms a step`)
  }
}
await page?.browser.close()
await page?.server.close()

for (const row of rows) {
  const own = rows.find(
    (other) => other.peer === 'finetab' && other.backend === row.backend && other.shape === row.shape,
  )
  row.finetabIsFasterBy = row.stepMs / own.stepMs
  row.lossDifference = Math.max(...row.losses.map((loss, i) => Math.abs(loss - own.losses[i]) / own.losses[i]))
}
if (flags.has('--json')) console.log(JSON.stringify(rows))

const megabytes = (bytes) => (bytes === null ? '–' : `${(bytes / 1e6).toPrecision(3)} MB`)
let text = `# Performance

Made by \`npm run bench -- --docs\` on ${new Date().toISOString().slice(0, 10)} with Node ${process.versions.node} on ${cpus().length} cores of ${cpus()[0].model}${
  flags.has('--hardware')
    ? ''
    : '; WebGPU is SwiftShader (software) in headless Chromium, which says nothing about graphics cards but compares libraries'
}. LoRA of rank 16 on all seven projections, f32, Adam, the same weights and batch; a step ends when the device has done its work; medians after two steps of warm-up. Bytes: on webgpu the most that was allocated, on wasm the tensors held after a step.

| backend | model | library | tokens/s | Finetab is faster by | first step | bytes | losses differ by |
| --- | --- | --- | --- | --- | --- | --- | --- |
`
for (const row of rows) {
  text += `| ${row.backend} | ${row.shape} | ${NAMES[row.peer]} | ${Math.round(row.tokensPerSecond)} | ${row.peer === 'finetab' ? '' : `${row.finetabIsFasterBy.toFixed(1)}x`} | ${(row.firstMs / 1000).toFixed(1)} s | ${megabytes(row.peakBytes)} | ${row.peer === 'finetab' ? '' : row.lossDifference.toExponential(0)} |\n`
}
text += `
tiny: 2 layers, width 128, vocabulary 512, batch 4 x 64 tokens. small: 6 layers, width 192, vocabulary 4,096, batch 4 x 128 tokens.
`
if (flags.has('--docs'))
  writeFileSync(join(ROOT, 'docs/performance.md'), await format(text, { parser: 'markdown', printWidth: 120 }))
else if (!flags.has('--json')) console.log(`\n${text}`)
process.exit(0)
