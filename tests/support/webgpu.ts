/**
 * Set-up of the vitest project `browser`: TensorFlow.js on a GPUDevice of our own, SwiftShader's where there is no GPU.
 * Where WebGPU is absent it says so and leaves the cpu backend, on which the suites that need webgpu skip themselves.
 */
import { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu'
import { afterEach, expect } from 'vitest'
import { tf } from '../../src/engine/tf'

/** Limits worth raising: buffers of whole weight matrices and fused ops with many bindings. */
const LIMITS = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxStorageBuffersPerShaderStage',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
] as const
const FEATURES: GPUFeatureName[] = ['shader-f16', 'subgroups', 'timestamp-query']

/** What the device complained of: a program that does not compile is otherwise silent. */
const errors: string[] = []

async function start(): Promise<boolean> {
  const adapter = await navigator.gpu?.requestAdapter()
  if (!adapter) return false
  const requiredLimits = Object.fromEntries(LIMITS.map((name) => [name, adapter.limits[name]]))
  const requiredFeatures = FEATURES.filter((name) => adapter.features.has(name))
  const device = await adapter.requestDevice({ requiredLimits, requiredFeatures })
  device.addEventListener('uncapturederror', (event) => errors.push(event.error.message))
  if (tf.engine().registryFactory.webgpu) tf.removeBackend('webgpu')
  tf.registerBackend('webgpu', () => new WebGPUBackend(device, adapter.info), 10)
  tf.env().set('WEBGPU_CPU_FORWARD', false)
  return tf.setBackend('webgpu')
}

if (!(await start())) {
  console.warn('WebGPU is absent in this browser: suites that need it are skipped, the others run on the cpu backend.')
  await tf.setBackend('cpu')
}
await tf.ready()

afterEach(() => {
  expect(errors.splice(0), 'errors that the device reported').toEqual([])
})
