/**
 * Opens what computes: a WebGPU device of our own handed to TensorFlow.js, or the wasm backend; tests its gradients and says
 * what it is. Refuses a device whose gradients are wrong. Fetches nothing but what tfjs's wasm backend loads.
 */
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm'
import { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu'
import { MATRIX_FEATURE } from '../shared/arithmetic'
import { CodedError } from '../shared/errors'
import type { DeviceReport } from '../shared/records'
import { howToEnableWebGpu } from './device-advice'
import { watchDevice } from './device-guard'
import { usable } from './ops/arithmetic'
import { findMatrixUnits } from './ops/matrix-units'
import { gradientSelfTest } from './self-test'
import { tf } from './tf'
import { offerThreads, settleThreads, type ThreadHost } from './wasm-threads'

export interface DeviceEnvironment {
  /** WebGPU where it is not `navigator.gpu` (Node: the `webgpu` package, whose globals the caller installs). */
  gpu?: GPU
  /** Where tfjs's .wasm files lie: a URL or folder ending in "/", or a URL for each file name. */
  wasmPath?: string | Record<string, string>
  /** How wasm gets threads here; it runs on one without. */
  threads?: ThreadHost
}

export interface Device {
  readonly report: DeviceReport
  /** Resolves with the reason when the GPU goes away; never on wasm. */
  readonly lost: Promise<string>
  dispose(): void
}

/** Limits worth raising: whole weight matrices in one buffer, fused ops with many bindings. */
const LIMITS = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxStorageBuffersPerShaderStage',
  'maxUniformBufferBindingSize',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
  'maxComputeWorkgroupSizeY',
  'maxComputeWorkgroupsPerDimension',
] as const
const FEATURES = ['shader-f16', 'subgroups', 'timestamp-query', MATRIX_FEATURE] as const

/** Largest relative error of the self-test's gradients that a device may have. */
export const SELF_TEST_LIMIT = 1e-3

/** The wasm backend's memory can grow to this. */
const WASM_MEMORY = 2 ** 31

const GIB = 2 ** 30

/** Whether an adapter computes on the processor: SwiftShader, llvmpipe, Microsoft's basic renderer. */
export function isSoftware(info: Partial<GPUAdapterInfo>): boolean {
  const words = `${info.vendor} ${info.architecture} ${info.device} ${info.description}`.toLowerCase()
  return info.isFallbackAdapter === true || /swiftshader|llvmpipe|lavapipe|softpipe|basic render|\bwarp\b/.test(words)
}

function adapterName(info: Partial<GPUAdapterInfo>): string {
  const name = info.description || [info.vendor, info.architecture, info.device].filter(Boolean).join(' ')
  return name || 'unnamed adapter'
}

/**
 * @param choice `auto` takes a real GPU and wasm otherwise; the others are taken at their word.
 * @throws CodedError `device.none` where the choice is not to be had, `device.self-test` where its gradients are wrong.
 */
export async function openDevice(choice: 'auto' | 'webgpu' | 'wasm', env: DeviceEnvironment = {}): Promise<Device> {
  if (choice === 'wasm') return openWasm(env, '')
  const gpu = env.gpu ?? (globalThis.navigator as Navigator | undefined)?.gpu
  const adapter = gpu ? await gpu.requestAdapter({ powerPreference: 'high-performance' }).catch(() => null) : null
  if (choice === 'webgpu') {
    if (!adapter) throw noWebGpu(Boolean(gpu))
    return openWebGpu(adapter)
  }
  if (!adapter)
    return openWasm(
      env,
      `${gpu ? 'WebGPU found no graphics adapter' : 'There is no WebGPU here'}. ${howToEnableWebGpu()}`,
    )
  if (isSoftware(adapter.info)) {
    const note = `WebGPU has only a software adapter here (${adapterName(adapter.info)}), and WebAssembly is many times faster than that.`
    return openWasm(env, `${note} ${howToEnableWebGpu()}`)
  }
  try {
    return await openWebGpu(adapter)
  } catch (error) {
    const what = error instanceof CodedError ? error.what : error instanceof Error ? error.message : String(error)
    return openWasm(env, `The graphics device is not used: ${what}`)
  }
}

function noWebGpu(hasGpu: boolean): CodedError {
  const what = hasGpu ? 'WebGPU found no graphics adapter.' : 'There is no WebGPU here.'
  return new CodedError('device.none', what, {
    where: 'backend webgpu',
    fix: `Choose WebAssembly (--backend wasm). ${howToEnableWebGpu()}`,
  })
}

async function openWebGpu(adapter: GPUAdapter): Promise<Device> {
  const requiredLimits = Object.fromEntries(
    LIMITS.filter((name) => adapter.limits[name] !== undefined).map((name) => [name, adapter.limits[name]]),
  )
  const requiredFeatures = FEATURES.filter((name) => adapter.features.has(name as GPUFeatureName)) as GPUFeatureName[]
  const device = await adapter.requestDevice({ requiredLimits, requiredFeatures })
  const { info } = adapter
  if (tf.engine().registryFactory.webgpu) tf.removeBackend('webgpu')
  tf.registerBackend('webgpu', () => new WebGPUBackend(device, info), 10)
  // Small results must come from the GPU too, or the self-test would test the processor.
  tf.env().set('WEBGPU_CPU_FORWARD', false)
  if (!(await tf.setBackend('webgpu'))) throw noWebGpu(true)
  await tf.ready()
  await findMatrixUnits(info)
  watchDevice(device)
  const lost = device.lost.then((why) => why.message || why.reason)
  const selfTest = await gradientSelfTest()
  if (!(selfTest <= SELF_TEST_LIMIT)) {
    closeWebGpu(device)
    throw wrongGradients(adapterName(info), selfTest)
  }
  const software = isSoftware(info)
  const report: DeviceReport = {
    backend: 'webgpu',
    adapter: adapterName(info),
    software,
    features: requiredFeatures.filter((name) => usable().includes(name)),
    budget: gpuBudget(device.limits),
    tone: software ? 'poor' : 'good',
    note: software ? `This adapter computes on the processor; WebAssembly is faster. ${howToEnableWebGpu()}` : '',
    selfTest,
  }
  return { report, lost, dispose: () => closeWebGpu(device) }
}

function closeWebGpu(device: GPUDevice): void {
  watchDevice(null)
  tf.removeBackend('webgpu')
  device.destroy()
}

function wrongGradients(name: string, error: number): CodedError {
  const size = Number.isFinite(error) ? error.toExponential(1) : 'not a number'
  return new CodedError('device.self-test', `${name} computes wrong gradients (relative error ${size}).`, {
    where: 'gradient self-test',
    fix: 'Update the graphics driver or the browser, or choose WebAssembly.',
  })
}

/** The browser does not tell the memory of a GPU: twice the largest buffer it grants, within half of the machine's memory. */
function gpuBudget(limits: GPUSupportedLimits): number {
  return Math.min(Math.max(2 * limits.maxBufferSize, GIB), machineMemory() / 2, 64 * GIB)
}

/** Bytes of memory of the machine, as far as it tells (browsers say 8 GB at most). */
function machineMemory(): number {
  const told = (globalThis.navigator as { deviceMemory?: number } | undefined)?.deviceMemory
  return (told ?? 8) * GIB
}

const BUSY = 'Something else keeps the processor busy, so that fewer threads are faster; the next start measures again.'

/** Wasm paths can be given once only: a second call after a start would be refused by tfjs. */
let pathsGiven = false

async function openWasm(env: DeviceEnvironment, note: string): Promise<Device> {
  watchDevice(null)
  if (env.wasmPath !== undefined && !pathsGiven) {
    setWasmPaths(env.wasmPath)
    pathsGiven = true
  }
  offerThreads(env.threads)
  let started: boolean
  try {
    started = await tf.setBackend('wasm')
    await tf.ready()
  } catch (error) {
    throw new CodedError('device.none', 'The WebAssembly backend did not start.', {
      where: 'backend wasm',
      fix: 'Reload the page; if it happens again, use a browser of the last three years.',
      cause: error,
    })
  }
  if (!started)
    throw new CodedError('device.none', 'The WebAssembly backend did not start.', {
      where: 'backend wasm',
      fix: 'Reload the page; if it happens again, use a browser of the last three years.',
    })
  const selfTest = await gradientSelfTest()
  if (!(selfTest <= SELF_TEST_LIMIT)) throw wrongGradients('The WebAssembly backend', selfTest)
  const simd = await tf.env().getAsync('WASM_HAS_SIMD_SUPPORT')
  const { used, offered } = settleThreads()
  const report: DeviceReport = {
    backend: 'wasm',
    adapter: `WebAssembly, ${used > 1 ? `${used} threads` : 'one thread'}`,
    software: true,
    features: simd ? ['simd'] : [],
    budget: Math.min(WASM_MEMORY, machineMemory() / 2),
    tone: simd ? 'fair' : 'poor',
    note: used < offered ? `${note} ${BUSY}`.trim() : note,
    selfTest,
  }
  return { report, lost: new Promise(() => undefined), dispose: () => undefined }
}
