/** Starts the local hub for suites in the browser, with the tiny checkpoint of tests/golden on it. */
import { readdir, readFile } from 'node:fs/promises'
import type { TestProject } from 'vitest/node'
import { startHub } from './hub-server'

declare module 'vitest' {
  interface ProvidedContext {
    hub: string
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const folder = new URL('../golden/llama-gqa-tied/', import.meta.url)
  const names = (await readdir(folder)).filter((name) =>
    /^(config|tokenizer|tokenizer_config)\.json$|^model\./.test(name),
  )
  const files = await Promise.all(names.map(async (name) => [name, await readFile(new URL(name, folder))] as const))
  const server = await startHub(Object.fromEntries(files))
  project.provide('hub', server.endpoint)
  return () => server.close()
}
