import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { bundledSource, fetchSample, listBundled, listSamples, type BundledModel } from '../../../src/hub'

const model: BundledModel = {
  id: 'tiny',
  name: 'Tiny',
  path: 'models/tiny',
  parameters: 1,
  bytes: 12,
  licence: 'MIT',
  description: '',
  files: [
    { name: 'config.json', bytes: 2 },
    { name: 'model.safetensors', bytes: 10 },
    { name: 'short.json', bytes: 5 },
    { name: 'page.json', bytes: 6 },
    { name: 'large.safetensors', bytes: 600_000 },
  ],
}

const large = new Uint8Array(600_000).map((_, index) => index % 251)
const sample = { id: 'pirate', name: 'Pirate', file: 'pirate.jsonl', rows: 1, bytes: 8, description: '' }

let server: Server
let base: string
const asked: string[] = []
let compresses = false

beforeAll(async () => {
  const files: Record<string, string | Uint8Array> = {
    '/sub/app/datasets/index.json': JSON.stringify([sample]),
    '/sub/app/datasets/pirate.jsonl': '{"a":1}\n',
    '/sub/app/models/tiny/large.safetensors': large,
    '/sub/app/models/index.json': JSON.stringify([model]),
    '/sub/app/models/tiny/config.json': '{}',
    '/sub/app/models/tiny/model.safetensors': '0123456789',
    '/sub/app/models/tiny/short.json': 'abc',
  }
  server = createServer((request, response) => {
    const path = request.url ?? ''
    asked.push(path + (request.headers.range ?? ''))
    const body = files[path]
    // As a development server does: the page for everything unknown.
    response.setHeader('content-type', body === undefined ? 'text/html; charset=utf-8' : 'application/octet-stream')
    if (compresses) response.setHeader('content-encoding', 'gzip')
    response.end(compresses ? gzipSync(body ?? '<html>') : (body ?? '<html>'))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}/sub/app/`
})
afterAll(() => server.close())

describe('bundled models', () => {
  it('are listed and read under any base path, each file once', async () => {
    expect(await listBundled(base)).toEqual([model])
    const source = bundledSource(base, model)
    expect(await source.list()).toContainEqual({ name: 'config.json', size: 2 })
    asked.length = 0
    expect(new TextDecoder().decode(await source.read('model.safetensors', 3, 6))).toBe('345')
    expect(new TextDecoder().decode(await source.read('model.safetensors', 8))).toBe('89')
    expect(asked).toEqual(['/sub/app/models/tiny/model.safetensors'])
  })

  it('give the head of a large file without the rest, whether or not the server compresses it', async () => {
    const file = '/sub/app/models/tiny/large.safetensors'
    for (compresses of [true, false]) {
      asked.length = 0
      const source = bundledSource(base, model)
      expect(await source.read('large.safetensors', 0, 8)).toEqual(large.slice(0, 8))
      expect(await source.read('large.safetensors', 8, 1000)).toEqual(large.slice(8, 1000))
      // No Range header: servers that compress count its bytes in the compressed file.
      expect(asked).toEqual([file])
      expect(await source.read('large.safetensors', 500_000, 500_010)).toEqual(large.slice(500_000, 500_010))
      expect(asked).toEqual([file, file])
    }
  })

  it('come with samples', async () => {
    expect(await listSamples(base)).toEqual([sample])
    expect(await (await fetchSample(base, sample)).text()).toBe('{"a":1}\n')
    await expect(fetchSample(base, { ...sample, file: 'gone.jsonl' })).rejects.toMatchObject({ code: 'file.missing' })
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
