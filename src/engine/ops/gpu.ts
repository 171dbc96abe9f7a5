/**
 * Dispatches WGSL programs of our own inside TensorFlow.js's WebGPU backend: several outputs, in-place updates, cached uniforms.
 * Refuses to hold state of its own beside caches a device: pipelines lie in the backend's cache, tensors in its tensor map.
 *
 * The stock route (backend.runWebGPUProgram) allows one output and rebuilds uniforms at every call; this one records into the
 * backend's own compute pass, so that stock kernels and ours keep their order.
 */
import { tf } from '../tf'

/** The parts of tfjs-backend-webgpu 4.22.0 that this folder reaches into. */
export interface Backend {
  device: GPUDevice
  queue: GPUQueue
  bufferManager: BufferPool
  pipelineCache: Record<string, GPUComputePipeline | Promise<GPUComputePipeline>>
  tensorMap: { get(id: object): TensorData }
  commandQueueOwnedIds: WeakSet<object>
  commandEncoder: GPUCommandEncoder | null
  computePassEncoder: GPUComputePassEncoder | null
  dispatchCountInPass: number
  makeTensorInfo(shape: number[], dtype: tf.DataType): tf.TensorInfo
  uploadToGPU(id: object): void
  makeUniforms(values: unknown): { buffer: GPUBuffer }
  ensureCommandEncoderReady(): void
  endComputePassEncoder(): void
  submitQueue(): void
}

/** What it knows of a tensor: its buffer, or values on the host that are not uploaded yet or were read back. */
export interface TensorData {
  resource: GPUBuffer | null
  values: unknown
}

/** Its pool of buffers, by exact size and usage. */
export interface BufferPool {
  numBytesUsed: number
  numBytesAllocated: number
  acquireBuffer(size: number, usage: number, mapped?: boolean, reuse?: boolean): GPUBuffer
  releaseBuffer(buffer: GPUBuffer, reuse?: boolean): void
  dispose(): void
}

/** A tensor as the shader sees it: `array<type>`. */
export interface Binding {
  tensor: tf.TensorInfo
  /** WGSL element type, e.g. `f32`, `vec4<f32>`, `i32`. */
  type: string
  /** Written by the program (in place where it held something before). */
  write?: boolean
}

/** One dispatch. Sizes go into `uniforms`; whatever changes the code goes into `key`. */
export interface Program {
  /** Unique for the code (binding names and types are added to it). */
  key: string
  /** In binding order; each is a `var<storage>` of its name. Every one must be used by the code. */
  bindings: Record<string, Binding>
  /** Fields of `u`, in order; integers become u32, the names in `floats` f32. */
  uniforms: Record<string, number>
  /** Names of uniforms that are f32. */
  floats?: readonly string[]
  /** WGSL extensions that the code needs; the device must have them. */
  enable?: readonly ('subgroups' | 'f16' | 'chromium_experimental_subgroup_matrix')[]
  /** Workgroups in x, y, z. */
  workgroups: readonly [number, number, number]
  /** WGSL with an entry point `main`; called only when the pipeline is not there yet. */
  code: () => string
}

/** True where programs run. */
export function onGPU(): boolean {
  return tf.getBackend() === 'webgpu'
}

/** The backend that programs run on. */
export function gpuBackend(): Backend {
  return tf.backend() as unknown as Backend
}

/** The device that programs run on. */
export function gpuDevice(): GPUDevice {
  return gpuBackend().device
}

/** Whether the device is a CPU: it pays dearly for barriers and long programs, and gains nothing from staging. */
export function isSoftware(): boolean {
  const { vendor = '', architecture = '', description = '' } = gpuDevice().adapterInfo ?? {}
  return /swiftshader|llvmpipe|software|basic render/i.test(`${vendor} ${architecture} ${description}`)
}

/** Threads that such a processor computes side by side: the width of its subgroups, 4 where it does not tell. */
export function processorWidth(): 4 | 8 {
  return gpuDevice().adapterInfo?.subgroupMinSize === 8 ? 8 : 4
}

/** Tensors that one program can bind. */
export function mostBindings(): number {
  return gpuDevice().limits.maxStorageBuffersPerShaderStage
}

/** Neighbours of a list that one dispatch can take: `most` of them, with the same values of `alike`. */
export function dispatches<T>(
  list: readonly T[],
  most: number,
  alike: (one: T) => readonly unknown[] = () => [],
): T[][] {
  const found: T[][] = []
  let former: readonly unknown[] = []
  for (const one of list) {
    const now = alike(one)
    const last = found.at(-1)
    if (last && last.length < most && now.every((value, i) => value === former[i])) last.push(one)
    else found.push([one])
    former = now
  }
  return found
}

/** A new tensor whose values the next program writes; tidy and the tape see it. */
export function emptyTensor<R extends tf.Rank>(
  shape: tf.ShapeMap[R],
  dtype: 'float32' | 'int32' = 'float32',
): tf.Tensor<R> {
  const info = gpuBackend().makeTensorInfo(shape as number[], dtype)
  return tf.engine().makeTensorFromTensorInfo(info) as tf.Tensor<R>
}

/** Copies a tensor's values to the GPU at once; the backend forgets its own copy of them. */
export function uploadNow(tensor: tf.TensorInfo): void {
  gpuBackend().uploadToGPU(tensor.dataId)
}

/** `vec4<f32>` where the contiguous axis allows it, else `f32`. */
export function widest(...contiguous: number[]): 'vec4<f32>' | 'f32' {
  return contiguous.every((size) => size % 4 === 0) ? 'vec4<f32>' : 'f32'
}

/** Workgroup counts for a long 1-D range: the shader's index is `wid.y * groups.x + wid.x`. */
export function spread(groups: number): [number, number, number] {
  const most = 32768
  return groups <= most ? [groups, 1, 1] : [most, Math.ceil(groups / most), 1]
}

/** Hears of every tensor that a program writes. */
export const writes: { listener: ((data: TensorData) => void) | null } = { listener: null }

/** Runs a program; outputs are the bindings with `write`. Nothing is read back, nothing waits. */
export function dispatch(program: Program): void {
  const gpu = gpuBackend()
  const bindings = Object.entries(program.bindings)
  const key = pipelineKey(program)
  const compileOnly = tf.env().getBool('WEBGPU_ENGINE_COMPILE_ONLY')
  const pipeline = (gpu.pipelineCache[key] ??= compile(gpu.device, program, key, compileOnly))
  for (const [, { tensor }] of bindings) gpu.uploadToGPU(tensor.dataId)
  if (compileOnly) return
  if (pipeline instanceof Promise) throw new Error('Await checkCompileCompletionAsync before running programs.')
  const entries: GPUBindGroupEntry[] = bindings.map(([, { tensor, write }], binding) => {
    const data = gpu.tensorMap.get(tensor.dataId)
    if (write) {
      data.values = null // the backend's copy on the host is stale from here on
      writes.listener?.(data)
    }
    gpu.commandQueueOwnedIds.add(tensor.dataId)
    return { binding, resource: { buffer: data.resource! } }
  })
  entries.push({ binding: bindings.length, resource: { buffer: uniformBuffer(gpu.device, program) } })
  const bindGroup = gpu.device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries })
  gpu.ensureCommandEncoderReady()
  const pass = (gpu.computePassEncoder ??= gpu.commandEncoder!.beginComputePass())
  pass.setPipeline(pipeline)
  pass.setBindGroup(0, bindGroup)
  pass.dispatchWorkgroups(...program.workgroups)
  gpu.dispatchCountInPass++
  if (gpu.dispatchCountInPass >= tf.env().getNumber('WEBGPU_DEFERRED_SUBMIT_BATCH_SIZE')) {
    gpu.endComputePassEncoder()
    gpu.submitQueue()
  }
}

function pipelineKey({ key, bindings, uniforms }: Program): string {
  const names = Object.entries(bindings).map(([name, { type, write }]) => `${name}:${type}${write ? '!' : ''}`)
  return `finetab ${key} | ${names.join(' ')} | ${Object.keys(uniforms).join(' ')}`
}

function compile(
  device: GPUDevice,
  program: Program,
  label: string,
  later: boolean,
): GPUComputePipeline | Promise<GPUComputePipeline> {
  const storage = Object.entries(program.bindings).map(
    ([name, { type, write }], i) =>
      `@group(0) @binding(${i}) var<storage, ${write ? 'read_write' : 'read'}> ${name}: array<${type}>;`,
  )
  const fields = Object.keys(program.uniforms).map(
    (name) => `${name}: ${program.floats?.includes(name) ? 'f32' : 'u32'}`,
  )
  const uniform = `struct Uniforms { ${fields.join(', ')} }\n@group(0) @binding(${storage.length}) var<uniform> u: Uniforms;`
  const extensions = (program.enable ?? []).map((name) => `enable ${name};`)
  const module = device.createShaderModule({
    code: [...extensions, ...storage, uniform, program.code()].join('\n'),
    label,
  })
  const descriptor: GPUComputePipelineDescriptor = { layout: 'auto', compute: { module, entryPoint: 'main' }, label }
  return later ? device.createComputePipelineAsync(descriptor) : device.createComputePipeline(descriptor)
}

/** Uniform buffers are never rewritten, so equal contents share one and a recorded dispatch keeps its own. */
const uniformBuffers = new WeakMap<GPUDevice, Map<string, GPUBuffer>>()
const MOST_UNIFORM_BUFFERS = 4096

/** What a uniform buffer holds, so that two recordings of the same work can be compared. */
export const uniformContents = new WeakMap<GPUBuffer, string>()

function uniformBuffer(device: GPUDevice, { uniforms, floats }: Program): GPUBuffer {
  let known = uniformBuffers.get(device)
  if (!known || known.size >= MOST_UNIFORM_BUFFERS) uniformBuffers.set(device, (known = new Map()))
  const entries = Object.entries(uniforms)
  const key = entries.map(([name, value]) => `${floats?.includes(name) ? 'f' : 'u'}${value}`).join()
  const found = known.get(key)
  if (found) return found
  const size = Math.max(16, Math.ceil(entries.length / 4) * 16)
  const buffer = device.createBuffer({ size, usage: GPUBufferUsage.UNIFORM, mappedAtCreation: true })
  const view = new DataView(buffer.getMappedRange())
  entries.forEach(([name, value], i) =>
    floats?.includes(name) ? view.setFloat32(4 * i, value, true) : view.setUint32(4 * i, value, true),
  )
  buffer.unmap()
  known.set(key, buffer)
  uniformContents.set(buffer, key)
  return buffer
}
