import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { bundledSource, listBundled, type BundledModel } from '../../../src/hub'

const model: BundledModel = {
  id: 'bundled:tiny',
  name: 'Tiny',
  path: 'tiny',
  parameters: 1,
  bytes: 12,
  licence: 'MIT',
  description: '',
  files: [
    { name: 'config.json', size: 2 },
    { name: 'model.safetensors', size: 10 },
    { name: 'short.json', size: 5 },
    { name: 'page.json', size: 6 },
  ],
}

let server: Server
let base: string
const asked: string[] = []

beforeAll(async () => {
  const files: Record<string, string> = {
    '/sub/app/models/index.json': JSON.stringify([model]),
    '/sub/app/models/tiny/config.json': '{}',
    '/sub/app/models/tiny/model.safetensors': '0123456789',
    '/sub/app/models/tiny/short.json': 'abc',
  }
  server = createServer((request, response) => {
    const path = request.url ?? ''
    asked.push(path)
    const body = files[path]
    // As a development server does: the page for everything unknown.
    response.setHeader('content-type', body === undefined ? 'text/html; charset=utf-8' : 'application/octet-stream')
    response.end(body ?? '<html>')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}/sub/app/`
})
afterAll(() => server.close())

describe('bundled models', () => {
  it('are listed and read under any base path, each file once', async () => {
    expect(await listBundled(base)).toEqual([model])
    const source = bundledSource(base, model)
    expect(await source.list()).toBe(model.files)
    asked.length = 0
    expect(new TextDecoder().decode(await source.read('model.safetensors', 3, 6))).toBe('345')
    expect(new TextDecoder().decode(await source.read('model.safetensors', 8))).toBe('89')
    expect(asked).toEqual(['/sub/app/models/tiny/model.safetensors'])
  })

  it('are none where the page has none', async () => {
    expect(await listBundled(new URL('elsewhere/', base).href)).toEqual([])
  })

  it('are refused where a file is short, missing or another page', async () => {
    const source = bundledSource(base, model)
    await expect(source.read('short.json')).rejects.toMatchObject({ code: 'model.truncated' })
    await expect(source.read('page.json')).rejects.toMatchObject({ code: 'file.missing' })
    await expect(source.read('unlisted')).rejects.toMatchObject({ code: 'file.missing' })
  })

  it('say so where the server is gone', async () => {
    await expect(listBundled('http://127.0.0.1:1/')).rejects.toMatchObject({ code: 'hub.request' })
  })
})
