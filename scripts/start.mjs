/** `npm start`: installs what is missing, serves the app, prints the address. */
import { ensureModules, ROOT } from './setup.mjs'

ensureModules()
const { createServer } = await import('vite')
const server = await createServer({ root: ROOT, configFile: `${ROOT}/vite.config.ts` })
await server.listen()
server.printUrls()
