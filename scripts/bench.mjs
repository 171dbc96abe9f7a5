/**
 * `npm run bench`: Finetab's step, products, attention and memory against its peers; see tests/bench/main.ts for names and flags.
 * `npm run bench -- import` measures reading datasets, `npm run bench -- methods` every method of docs/methods.md, `npm run bench:pack` writes a folder that runs without this repository.
 */
import { spawnSync } from 'node:child_process'
import { ensureModules, ROOT } from './setup.mjs'

ensureModules()
const [name, ...rest] = process.argv.slice(2)
const apart = { import: 'tests/bench/import.ts', methods: 'tests/bench/methods.ts', pack: 'tests/bench/pack.ts' }[name]
const argv = apart ? [apart, ...rest] : ['tests/bench/main.ts', ...process.argv.slice(2)]
const result = spawnSync(process.execPath, ['--import', 'tsx', ...argv], { cwd: ROOT, stdio: 'inherit' })
process.exit(result.status ?? 1)
