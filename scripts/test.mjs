/** `npm test`: every gate in order, each timed; exits non-zero on the first that fails. Refuses to hide a skip. */
import { ensureChromium, ensureModules, run, sharedData } from './setup.mjs'

ensureModules()
const env = { ...process.env, CHROMIUM: ensureChromium() }
const bin = (name) => `node_modules/.bin/${name}`

const GATES = [
  ['format', bin('prettier'), ['--check', '--log-level', 'warn', '.']],
  ['lint', bin('eslint'), ['.', '--max-warnings', '0']],
  ['types', bin('tsc'), ['--noEmit']],
  ['svelte', bin('svelte-check'), ['--fail-on-warnings', '--output', 'human']],
  ['docs', 'node', ['scripts/docs.mjs', '--check']],
  ['unit', bin('vitest'), ['run', '--project', 'unit']],
  ['engine on wasm', bin('vitest'), ['run', '--project', 'wasm']],
  ['browser', bin('vitest'), ['run', '--project', 'browser']],
  ['build', bin('vite'), ['build', '--logLevel', 'warn']],
  ['end to end', bin('playwright'), ['test']],
]

const wanted = process.argv.slice(2)
const times = []
if (!sharedData()) console.log('The shared test data is not here: tests that need it are counted as skipped.')
for (const [name, command, args] of GATES) {
  if (wanted.length > 0 && !wanted.includes(name)) continue
  console.log(`\n— ${name}`)
  const start = Date.now()
  const status = run(command, args, { env })
  times.push(`${name} ${((Date.now() - start) / 1000).toFixed(0)} s`)
  if (status !== 0) {
    console.error(`\nFailed: ${name} (${command} ${args.join(' ')})`)
    process.exit(1)
  }
}
console.log(`\nAll gates passed: ${times.join(', ')}.`)
