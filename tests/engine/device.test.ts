/** Devices: what is chosen and why, the self-test, and what happens when a GPU goes away or is given nonsense. */
import { afterAll, describe, expect, it } from 'vitest'
import { openDevice } from '../../src/engine'
import { howToEnableWebGpu } from '../../src/engine/device-advice'
import { isSoftware, SELF_TEST_LIMIT } from '../../src/engine/device'
import { withGuard } from '../../src/engine/device-guard'
import { gradientSelfTest } from '../../src/engine/self-test'
import { tf } from '../../src/engine/tf'
import { CodedError } from '../../src/shared/errors'
import { onWebGPU } from '../support/backends'

const inBrowser = typeof window !== 'undefined'
const wasmPath = inBrowser ? '/node_modules/@tensorflow/tfjs-backend-wasm/dist/' : undefined
const env = wasmPath === undefined ? {} : { wasmPath }
const gpuOf = (): GPUDevice => (tf.backend() as unknown as { device: GPUDevice }).device

describe('the gradient self-test', () => {
  it('passes on this backend and leaves nothing behind', async () => {
    const before = tf.memory().numTensors
    expect(await gradientSelfTest()).toBeLessThan(SELF_TEST_LIMIT / 10)
    expect(tf.memory().numTensors).toBe(before)
  })
})

describe('software adapters', () => {
  it.each([
    [{ vendor: 'google', architecture: 'swiftshader', device: '', description: '' }, true],
    [{ vendor: 'mesa', architecture: '', device: '', description: 'llvmpipe (LLVM 15.0.6, 256 bits)' }, true],
    [{ vendor: 'microsoft', architecture: '', device: '', description: 'Microsoft Basic Render Driver' }, true],
    [{ vendor: 'intel', architecture: 'gen-12lp', device: '', description: '', isFallbackAdapter: true }, true],
    [{ vendor: 'nvidia', architecture: 'ampere', device: '', description: 'NVIDIA GeForce RTX 3060' }, false],
    [{ vendor: 'apple', architecture: 'metal-3', device: '', description: 'Apple M2' }, false],
  ])('%o: %s', (info, software) => expect(isSoftware(info)).toBe(software))
})

describe('advice', () => {
  it.each([
    ['Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36', /chrome:\/\/flags.*unsafe-webgpu/], // prettier-ignore
    ['Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0', /edge:\/\/settings/], // prettier-ignore
    ['Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0', /about:config/],
    ['Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.3 Safari/605.1.15', /Safari/], // prettier-ignore
    ['Node.js/20', /package "webgpu"/],
  ])('%s', (agent, words) => expect(howToEnableWebGpu(agent)).toMatch(words))
})

describe.skipIf(onWebGPU())('without a GPU', () => {
  it('takes wasm, says why, and can compute', async () => {
    const { report } = await openDevice('auto', env)
    expect(report).toMatchObject({ backend: 'wasm', software: true })
    expect(report.note).toMatch(/WebGPU/)
    expect(report.selfTest).toBeLessThan(SELF_TEST_LIMIT)
    expect(report.budget).toBeGreaterThan(2 ** 29)
    expect((await openDevice('wasm', env)).report.note).toBe('')
  })

  it('refuses webgpu and names the way out', async () => {
    const error = await openDevice('webgpu', env).catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(CodedError)
    expect(error).toMatchObject({ code: 'device.none', fix: expect.stringContaining('--backend wasm') })
  })
})

describe.runIf(onWebGPU())('with a software GPU', () => {
  afterAll(async () => {
    await openDevice('webgpu')
  })

  it('opens it when asked, and says what it is', async () => {
    const { report } = await openDevice('webgpu')
    expect(report.backend).toBe('webgpu')
    expect(report.adapter).not.toBe('')
    if (report.software) expect(report.note).toMatch(/WebAssembly is faster/)
    expect(gpuOf().limits.maxStorageBuffersPerShaderStage).toBeGreaterThanOrEqual(8)
  })

  it('reports an invalid operation instead of stale numbers', async () => {
    await openDevice('webgpu')
    const nonsense = withGuard(async () => {
      gpuOf().createBuffer({ size: 16, usage: 0 })
      return 1
    })
    await expect(nonsense).rejects.toMatchObject({ code: 'internal', what: expect.stringMatching(/invalid/) })
    expect(await withGuard(async () => 2)).toBe(2)
  })

  it('tells when the device is lost, refuses work on it, and opens a new one', async () => {
    const device = await openDevice('webgpu')
    gpuOf().destroy()
    expect(await device.lost).not.toBe('')
    await expect(withGuard(async () => tf.tidy(() => tf.tensor1d([1]).add(1)).data())).rejects.toMatchObject({ code: 'device.lost' }) // prettier-ignore
    const { report } = await openDevice('webgpu')
    expect(report.selfTest).toBeLessThan(SELF_TEST_LIMIT)
  })

  it('prefers wasm over a software adapter', async () => {
    if (!inBrowser) return
    const { report } = await openDevice('auto', env)
    if (isSoftware(((await navigator.gpu.requestAdapter()) as GPUAdapter).info)) {
      expect(report.backend).toBe('wasm')
      expect(report.note).toMatch(/software adapter/)
    } else expect(report.backend).toBe('webgpu')
  })
})
