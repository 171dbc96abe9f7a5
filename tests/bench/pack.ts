/**
 * `npm run bench:pack [FOLDER]`: writes one folder (dist/bench where none is named) that runs the benches with any Node from 20 on, on a
 * machine with a graphics driver and nothing else: the bundled script, this platform's Dawn and a script for PyTorch. Refuses more than 60 MB.
 */
import { cpSync, existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { build } from 'vite'
import { ROOT } from '../../scripts/setup.mjs'

const MOST = 60e6

const README = `# Finetab's benches

    node bench.mjs                 everything that suits this machine; writes results.md and results.json here
    node bench.mjs --model small   one model only: tiny, small, smollm2x2 or smollm2

It needs Node 20 or newer and the graphics card's own driver (on Linux Vulkan: libvulkan.so.1 and the vendor's part; VK_DRIVER_FILES picks
one of several). Where \`python3\` (or what PYTHON names) has PyTorch, that is measured too, eager in f32. Nothing is fetched or installed.
`

const platform = `${process.platform}-${process.platform === 'darwin' ? 'universal' : process.arch}`
const dawn = join(ROOT, 'node_modules/webgpu')
const folder = resolve(process.argv[2] ?? join(ROOT, 'dist/bench'))
if (!existsSync(join(dawn, 'dist', platform))) throw new Error(`The npm package webgpu has no Dawn for ${platform}.`)
if (existsSync(folder) && !existsSync(join(folder, 'bench.mjs')) && readdirSync(folder).length > 0)
  throw new Error(`${folder} holds something else: name another folder.`)
rmSync(folder, { recursive: true, force: true })
mkdirSync(folder, { recursive: true })
await build({
  root: ROOT,
  configFile: false,
  logLevel: 'warn',
  build: {
    ssr: join(ROOT, 'tests/bench/packed.ts'),
    outDir: folder,
    emptyOutDir: false,
    target: 'node20',
    copyPublicDir: false,
    rollupOptions: { output: { entryFileNames: 'bench.mjs', codeSplitting: false } },
  },
  ssr: { noExternal: true, external: ['webgpu'] },
})
const packed = join(folder, 'node_modules/webgpu')
for (const part of ['package.json', 'index.js', 'LICENSE.md', join('dist', platform)])
  if (existsSync(join(dawn, part))) cpSync(join(dawn, part), join(packed, part), { recursive: true })
cpSync(join(ROOT, 'tests/bench/peers/torch_step.py'), join(folder, 'torch_step.py'))
cpSync(join(ROOT, 'LICENSE'), join(folder, 'LICENSE'))
writeFileSync(join(folder, 'README.md'), README)
const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
const bytes = files.reduce((sum, file) => sum + statSync(join(folder, file)).size, 0)
if (bytes > MOST) throw new Error(`${folder} takes ${(bytes / 1e6).toFixed(1)} MB, more than ${MOST / 1e6}.`)
console.log(`${folder}: ${files.length} files, ${(bytes / 1e6).toFixed(1)} MB. Run it there: node bench.mjs`)
