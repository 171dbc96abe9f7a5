/**
 * Set-up for running the suites of tests/engine on WebGPU without a browser: Dawn in Node (npm package `webgpu`).
 * Refuses to go on where there is no adapter. `VK_DRIVER_FILES` picks the Vulkan driver.
 */
import { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu'
import { create, globals } from 'webgpu'
import { afterEach, expect } from 'vitest'
import { MATRIX_FEATURE } from '../../src/shared/arithmetic'
import { findMatrixUnits } from '../../src/engine/ops/matrix-units'
import { tf } from '../../src/engine/tf'

/** What the device complained of: a program that does not compile is otherwise silent. */
const errors: string[] = []

Object.assign(globalThis, globals)
// Dawn offers what is experimental only so.
const gpu = create(['enable-dawn-features=allow_unsafe_apis'])
Object.defineProperty(globalThis, 'navigator', { value: { gpu }, configurable: true })
const adapter = await gpu.requestAdapter()
if (!adapter) throw new Error('Dawn found no adapter.')
const names = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxStorageBuffersPerShaderStage',
  'maxComputeWorkgroupStorageSize',
] as const
const device = await adapter.requestDevice({
  requiredLimits: Object.fromEntries(names.map((name) => [name, adapter.limits[name]])),
  requiredFeatures: (['shader-f16', 'subgroups', 'timestamp-query', MATRIX_FEATURE] as GPUFeatureName[]).filter(
    (name) => adapter.features.has(name),
  ),
})
device.addEventListener('uncapturederror', (event) => errors.push(event.error.message))
if (tf.engine().registryFactory.webgpu) tf.removeBackend('webgpu')
tf.registerBackend('webgpu', () => new WebGPUBackend(device, adapter.info), 10)
tf.env().set('WEBGPU_CPU_FORWARD', false)
await tf.setBackend('webgpu')
await tf.ready()
await findMatrixUnits(adapter.info)

afterEach(() => {
  expect(errors.splice(0), 'errors that the device reported').toEqual([])
})
