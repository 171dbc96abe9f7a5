import { wrap, proxy, type Endpoint } from 'comlink'
import { afterEach, describe, expect, it } from 'vitest'
import { pageBase, serve } from '../../../src/client/wire'
import { CodedError } from '../../../src/shared/errors'

const open: MessagePort[] = []
afterEach(() => open.splice(0).forEach((port) => port.close()))

type Methods = Record<string, (...args: unknown[]) => Promise<unknown>>

function served(api: object) {
  const { port1, port2 } = new MessageChannel()
  open.push(port1, port2)
  serve(api, port1 as unknown as Endpoint)
  return { remote: wrap<Methods>(port2 as unknown as Endpoint) as unknown as Methods, port: port2 }
}
const call = (remote: Methods, name: string, ...args: unknown[]) => (remote[name] as Methods[string])(...args)

describe('the wire', () => {
  it('carries coded errors whole', async () => {
    const { remote } = served({
      fail: () => {
        throw new CodedError('model.header', 'The header lies.', { where: 'model.safetensors', fix: 'Fetch it again.' })
      },
      quota: async () => {
        throw new DOMException('full', 'QuotaExceededError')
      },
      bug: () => {
        throw new TypeError('x is not a function')
      },
    })
    const error = await call(remote, 'fail').catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(CodedError)
    expect(error).toMatchObject({ code: 'model.header', where: 'model.safetensors', fix: 'Fetch it again.' })
    await expect(call(remote, 'quota')).rejects.toMatchObject({ code: 'storage.full' })
    await expect(call(remote, 'bug')).rejects.toMatchObject({ code: 'internal', what: 'x is not a function' })
  })

  it('ends a call only after all of its callbacks have arrived', async () => {
    const { remote } = served({
      count: async (tell: (n: number) => void) => {
        for (let n = 0; n < 200; n++) tell(n)
        return 'done'
      },
    })
    const seen: unknown[] = []
    const result = await call(
      remote,
      'count',
      proxy((n: unknown) => seen.push(n)),
    )
    expect(result).toBe('done')
    expect(seen).toEqual(Array.from({ length: 200 }, (_, n) => n))
  })

  it('does not let a failing callback fail the call', async () => {
    const { remote } = served({ run: async (tell: () => void) => (tell(), 'done') })
    const failing = proxy(() => {
      throw new Error('the page is gone')
    })
    expect(await call(remote, 'run', failing)).toBe('done')
  })

  it('knows where the page lives once told', async () => {
    const { remote, port } = served({ where: () => pageBase() })
    port.postMessage({ finetab: 'start', base: 'http://x.test/sub/', lifeLock: 'life' })
    expect(await call(remote, 'where')).toBe('http://x.test/sub/')
  })
})
