/** Starts the command line (`npm run -s finetab -- …`) from its TypeScript sources. Refuses to install anything. */
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const [major, minor] = process.versions.node.split('.').map(Number)

if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`Finetab needs Node 20.19 or newer; this is ${process.versions.node}.`)
  process.exit(2)
}
if (!existsSync(`${root}node_modules/tsx/package.json`)) {
  console.error(`The packages are not installed yet. Run this first:  npm install  (in ${root})`)
  process.exit(2)
}
// npm runs scripts in the folder of the package: paths that a person types are meant from where they stand.
if (process.env.npm_lifecycle_event === 'finetab' && process.env.INIT_CWD) process.chdir(process.env.INIT_CWD)

const { register } = await import('tsx/esm/api')
register({ tsconfig: `${root}tsconfig.json` })
const { main } = await import('../src/cli/main.ts')
await main(process.argv.slice(2))
