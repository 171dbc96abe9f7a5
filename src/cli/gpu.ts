/**
 * WebGPU in Node through the npm package `webgpu` (Dawn), which is optional. Refuses to pretend: where it is missing or finds
 * no adapter, it says so and names the other backend.
 */
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { CodedError } from '../shared/errors'

const require = createRequire(import.meta.url)

interface Dawn {
  create(options: string[]): GPU
  globals: Record<string, unknown>
}

/** The folder with the .wasm files of the wasm backend, with a slash at its end. */
export function wasmFolder(): string {
  return `${dirname(require.resolve('@tensorflow/tfjs-backend-wasm'))}/`
}

/**
 * Dawn's `navigator.gpu`.
 * @param needed the person asked for WebGPU: then no adapter is an error, otherwise null.
 * @param experiments what Dawn only tries out is offered too; matrix units are such.
 * @throws CodedError `device.none`.
 */
export async function openGpu(needed: boolean, experiments = false): Promise<GPU | null> {
  if (!needed && !vulkanIsLikely()) return null
  const dawn = await loadDawn()
  if (!dawn) {
    if (!needed) return null
    throw noDevice('The npm package "webgpu" is not installed here.', 'Run npm install, or use --backend wasm.')
  }
  Object.assign(globalThis, dawn.globals)
  const gpu = dawn.create(experiments ? ['enable-dawn-features=allow_unsafe_apis'] : [])
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' })
  if (adapter) {
    exposeGpu(gpu)
    return gpu
  }
  if (!needed) return null
  throw noDevice(
    'No WebGPU adapter was found.',
    'Install a driver for your graphics card (Vulkan on Linux), or use --backend wasm.',
  )
}

/** TensorFlow.js looks for `navigator.gpu`; Node has no navigator before version 21. */
function exposeGpu(gpu: GPU): void {
  const scope = globalThis as { navigator?: object }
  if (scope.navigator) Object.defineProperty(scope.navigator, 'gpu', { value: gpu, configurable: true })
  else Object.defineProperty(scope, 'navigator', { value: { gpu }, configurable: true })
}

async function loadDawn(): Promise<Dawn | null> {
  try {
    return (await import('webgpu')) as Dawn
  } catch {
    return null
  }
}

/** On Linux, Dawn prints warnings of its own where the Vulkan loader is missing: look for it first. */
function vulkanIsLikely(): boolean {
  if (process.platform !== 'linux') return true
  const named = (process.env.LD_LIBRARY_PATH ?? '').split(':').filter(Boolean)
  const usual = [
    '/usr/lib/x86_64-linux-gnu',
    '/usr/lib/aarch64-linux-gnu',
    '/usr/lib64',
    '/usr/lib',
    '/lib64',
    '/usr/local/lib',
  ]
  return [...named, ...usual].some((folder) => existsSync(join(folder, 'libvulkan.so.1')))
}

function noDevice(what: string, fix: string): CodedError {
  return new CodedError('device.none', what, { where: '--backend webgpu', fix })
}
