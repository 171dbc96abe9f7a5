/** The Hub by ranges, against a local server that behaves like it. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Hub, parseHubName, verifyFiles, type HubOptions } from '../../../src/hub'
import { COMMIT, startHub, TOKEN, type HubServer, type Trouble } from '../../support/hub-server'

const text = (value: string) => new TextEncoder().encode(value)
const weights = new Uint8Array(100_000).map((_, index) => index % 251)

let server: HubServer
beforeEach(async () => {
  server = await startHub({
    'config.json': text('{"model_type":"llama"}'),
    'tokenizer.json': text('{}'),
    'model.safetensors': weights,
    'pytorch_model.bin': text('pickle'),
    'README.md': text('# Tiny'),
    'onnx/model.json': text('{}'),
  })
})
afterEach(() => server.close())

const hub = (options: HubOptions = {}) => new Hub({ endpoint: server.endpoint, delay: 1, stall: 1000, ...options })
const open = async (options: HubOptions = {}) => {
  const opened = hub(options)
  const model = await opened.find('me/tiny')
  return { model, source: opened.source(model) }
}
const askedFiles = () => server.asked.filter(({ host }) => host === 'store')

describe('a name', () => {
  const parse = (given: string) => parseHubName(given, 'https://huggingface.co')

  it.each([
    ['me/tiny', 'main'],
    ['  me/tiny ', 'main'],
    ['me/tiny@v1.0', 'v1.0'],
    ['me/tiny@refs/pr/3', 'refs/pr/3'],
    ['https://huggingface.co/me/tiny', 'main'],
    ['https://huggingface.co/me/tiny/', 'main'],
    ['https://huggingface.co/me/tiny/tree/feature/x', 'feature/x'],
    ['https://huggingface.co/me/tiny/tree/main?show=all', 'main'],
    ['https://huggingface.co/me/tiny/blob/abc123/config.json', 'abc123'],
    ['https://huggingface.co/me/tiny/resolve/abc123/config.json', 'abc123'],
  ])('may be written %s', (given, revision) => {
    expect(parse(given)).toEqual({ owner: 'me', name: 'tiny', revision })
  })

  it.each([
    '',
    'tiny',
    'me/',
    '/tiny',
    'me/tiny/more',
    'me/ti ny',
    '../../etc',
    'me/tiny@',
    'me/tiny@a b',
    'https://evil.example/me/tiny',
    'me/..',
  ])('is refused as %j', (given) => {
    expect(() => parse(given)).toThrow(
      expect.objectContaining({ code: 'hub.request', fix: expect.stringContaining('owner/name') }),
    )
  })
})

describe('a model', () => {
  it('is found at its commit, with the files that loading needs', async () => {
    const { model, source } = await open()
    expect(model).toMatchObject({
      id: `hub:me/tiny@${COMMIT}`,
      commit: COMMIT,
      licence: 'mit',
      gated: false,
      revision: 'main',
    })
    expect((await source.list()).map(({ name, size }) => [name, size])).toEqual([
      ['config.json', 22],
      ['tokenizer.json', 2],
      ['model.safetensors', 100_000],
    ])
    expect(model.bytes).toBe(100_024)
  })

  it('is read by ranges, over redirects, from a fixed commit', async () => {
    const { source } = await open()
    expect(await source.read('model.safetensors', 1000, 2000)).toEqual(weights.slice(1000, 2000))
    expect(await source.read('model.safetensors', 99_000)).toEqual(weights.slice(99_000))
    expect(await source.read('model.safetensors', 5, 5)).toEqual(new Uint8Array())
    expect(new TextDecoder().decode(await source.read('config.json'))).toBe('{"model_type":"llama"}')
    expect(askedFiles().map(({ range }) => range)).toEqual(['bytes=1000-1999', 'bytes=99000-99999'])
    expect(server.asked.every(({ path }) => !path.includes('main') || path.startsWith('/api/'))).toBe(true)
    await expect(source.read('pytorch_model.bin')).rejects.toMatchObject({ code: 'file.missing' })
  })

  it.each([
    ['someone/else', /no such model/i],
    ['me/tiny@gone', /no such revision/i],
  ])('that is not there (%s) says so', async (name, what) => {
    await expect(hub().find(name)).rejects.toMatchObject({ code: 'hub.request', what: expect.stringMatching(what) })
  })

  it('that is none, or that could run code, is refused', async () => {
    const { 'model.safetensors': _, ...rest } = server.files
    server.files = rest
    await expect(hub().find('me/tiny')).rejects.toMatchObject({
      code: 'model.pickle',
      where: 'me/tiny/pytorch_model.bin',
    })
    delete server.files['pytorch_model.bin']
    await expect(hub().find('me/tiny')).rejects.toMatchObject({
      code: 'model.config',
      what: expect.stringContaining('safetensors'),
    })
    delete server.files['config.json']
    await expect(hub().find('me/tiny')).rejects.toMatchObject({
      code: 'model.config',
      what: expect.stringContaining('config.json'),
    })
  })

  it('is compared with the hashes that the hub names', async () => {
    const { model, source } = await open()
    let seen = 0
    await verifyFiles(source, model, (done) => (seen = done), 30_000)
    expect(seen).toBe(100_000)
    const tampered = {
      ...source,
      read: async (...args: Parameters<typeof source.read>) => (await source.read(...args)).map((byte) => byte ^ 1),
    }
    await expect(verifyFiles(tampered, model)).rejects.toMatchObject({
      code: 'model.truncated',
      where: 'model.safetensors',
    })
  })
})

describe('a token', () => {
  it('goes to the hub and to no other host', async () => {
    server.gated = true
    const { model, source } = await open({ token: TOKEN })
    expect(model.gated).toBe(true)
    expect(await source.read('model.safetensors', 0, 10)).toEqual(weights.slice(0, 10))
    const sent = (host: 'hub' | 'store') =>
      server.asked.filter((one) => one.host === host).map((one) => one.authorization)
    expect(new Set(sent('hub'))).toEqual(new Set([`Bearer ${TOKEN}`]))
    expect(sent('store')).toEqual([''])
  })

  it('is asked for where a model is gated, and never told in an error', async () => {
    server.gated = true
    for (const token of ['', 'hf_wrong']) {
      const { source } = await open({ token })
      const error = (await source.read('model.safetensors', 0, 10).catch((thrown: unknown) => thrown)) as Error
      expect(error).toMatchObject({
        code: 'hub.access',
        what: expect.stringContaining('gated'),
        fix: expect.stringContaining('token'),
      })
      expect(JSON.stringify(error)).not.toContain('hf_wrong')
    }
  })

  it('is not sent in the open, except to this machine itself', () => {
    const endpoint = 'http://mirror.example'
    expect(() => new Hub({ endpoint, token: TOKEN })).toThrow(expect.objectContaining({ code: 'usage' }))
    expect(() => new Hub({ endpoint })).not.toThrow()
    for (const own of ['http://localhost:8080', 'http://127.0.0.1', 'http://[::1]:1', 'https://mirror.example']) {
      expect(() => new Hub({ endpoint: own, token: TOKEN })).not.toThrow()
    }
  })

  it('needs an endpoint that is a web address', () => {
    for (const endpoint of ['hub', 'ftp://hub.example', 'file:///hub']) {
      expect(() => new Hub({ endpoint })).toThrow(expect.objectContaining({ code: 'usage', where: endpoint }))
    }
  })
})

describe('trouble', () => {
  const read = async (troubles: Trouble[], options: HubOptions = {}) => {
    const { source } = await open(options)
    server.troubles = troubles
    return source.read('model.safetensors', 10, 50_010)
  }
  const wanted = weights.slice(10, 50_010)

  it.each<[string, Trouble[]]>([
    [
      'server errors',
      [
        { kind: 'status', status: 500 },
        { kind: 'status', status: 503 },
      ],
    ],
    ['too many requests', [{ kind: 'status', status: 429, retryAfter: 0 }]],
    ['a server without ranges', [{ kind: 'whole' }]],
  ])('that passes is sat out: %s', async (_, troubles) => {
    expect(await read(troubles)).toEqual(wanted)
  })

  it.each<[string, Trouble]>([
    ['breaks', { kind: 'break', after: 20_000 }],
    ['stalls', { kind: 'stall', after: 20_000 }],
    ['ends early', { kind: 'short', after: 20_000 }],
  ])('where the connection %s goes on from the last byte', async (_, trouble) => {
    expect(await read([trouble])).toEqual(wanted)
    const ranges = askedFiles().map(({ range }) => range)
    expect(ranges.length).toBe(2)
    const from = Number(/bytes=(\d+)-/.exec(ranges[1] ?? '')?.[1])
    expect(from).toBeGreaterThan(10)
    expect(from).toBeLessThanOrEqual(20_010)
  })

  it('that stays ends in an error that names the file, without the secret of its signed address', async () => {
    const troubles = Array.from({ length: 9 }, (): Trouble => ({ kind: 'status', status: 502 }))
    const error = (await read(troubles, { tries: 3 }).catch((thrown: unknown) => thrown)) as { where: string }
    expect(error).toMatchObject({ code: 'hub.request', what: expect.stringContaining('502') })
    expect(error.where).toContain('model.safetensors')
    expect(error.where).not.toContain('secret')
    expect(askedFiles().length).toBe(3)
  })

  it.each<[string, Trouble]>([
    ['a refusal', { kind: 'status', status: 403 }],
    ['a missing file', { kind: 'status', status: 404 }],
    ['another part of the file', { kind: 'shifted' }],
  ])('that no retry mends is told at once: %s', async (_, trouble) => {
    await expect(read([trouble])).rejects.toMatchObject({ code: expect.stringMatching(/^hub\./) })
    expect(askedFiles().length).toBe(1)
  })

  it('where nobody answers says so', async () => {
    const nowhere = new Hub({ endpoint: 'http://127.0.0.1:1', delay: 1, tries: 2 })
    await expect(nowhere.find('me/tiny')).rejects.toMatchObject({
      code: 'hub.request',
      what: expect.stringContaining('not be reached'),
    })
  })

  it('is no reason to count a byte twice', async () => {
    const opened = hub()
    const model = await opened.find('me/tiny')
    let counted = 0
    const source = opened.source(model, undefined, (count) => (counted += count))
    server.troubles = [
      { kind: 'break', after: 20_000 },
      { kind: 'short', after: 5 },
    ]
    await source.read('model.safetensors', 10, 50_010)
    expect(counted).toBe(50_000)
  })

  it('is left at once when cancelled', async () => {
    const cancel = new AbortController()
    const opened = hub({ stall: 60_000 })
    const model = await opened.find('me/tiny')
    server.troubles = [{ kind: 'stall', after: 10 }]
    const reading = opened.source(model, cancel.signal).read('model.safetensors', 0, 1000)
    await expect.poll(() => askedFiles().length).toBe(1)
    cancel.abort()
    await expect(reading).rejects.toMatchObject({ name: 'AbortError' })
  })
})
