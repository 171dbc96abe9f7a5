/**
 * Adapters of mlx-lm: adapter_config.json and adapters.safetensors, to and from PEFT. Refuses what mlx-lm's LoRA layers do not compute
 * (DoRA, full fine-tuning) and layers that mlx-lm names otherwise.
 */
import { CodedError } from '../../shared/errors'
import type { FileSource } from '../../shared/files'
import type { TensorData } from '../../shared/records'
import { bytesFile, jsonFile, type OutFile } from './out-file'
import { ADAPTER_CONFIG, loraDeltas, plainDeltas, asLora, type LoraPeft, type PeftAdapter } from './peft'
import { wrong } from './peft-fields'
import { parseLoraConfig } from './peft-lora'
import { fromFloat32, readSafetensorsHeader, readTensor, toFloat32, writeSafetensors } from './safetensors'

export const MLX_WEIGHTS = 'adapters.safetensors'
const KEY = /^(.+)\.lora_([ab])$/

type Json = Record<string, unknown>

function refused(what: string, where: string): CodedError {
  return new CodedError('adapter.unsupported', what, {
    where,
    fix: 'Export it as a PEFT adapter or as a merged model.',
  })
}
/**
 * The files of an mlx-lm adapter for a model of so many layers. Layers of lower rank are filled up with zeros, other scales are written
 * into lora_b: mlx-lm has one rank and one scale for all. Throws CodedError `adapter.unsupported`, `adapter.mismatch`.
 */
export function mlxAdapter(adapter: PeftAdapter, layers: number): OutFile[] {
  const deltas = plainDeltas(adapter)
  const rank = Math.max(...deltas.map((delta) => delta.rank))
  const { scale } = deltas.find((delta) => delta.rank === rank)!
  const keys = new Set<string>()
  const tensors: Record<string, TensorData> = {}
  for (const delta of deltas) {
    const [, key] = /^model\.layers\.\d+\.(.+)$/.exec(delta.module) ?? []
    if (key === undefined) throw refused(`mlx-lm names the layer ${delta.module} otherwise.`, delta.module)
    keys.add(key)
    const [out, inn] = [delta.b.shape[0] as number, delta.a.shape[1] as number]
    const a = transposeInto(toFloat32(delta.a), delta.rank, inn, rank, inn, 1)
    const b = transposeInto(toFloat32(delta.b), out, delta.rank, out, rank, delta.scale / scale)
    tensors[`${delta.module}.lora_a`] = fromFloat32(a, [inn, rank], 'F32')
    tensors[`${delta.module}.lora_b`] = fromFloat32(b, [rank, out], 'F32')
  }
  const config = {
    fine_tune_type: 'lora',
    model: adapter.config.base_model_name_or_path,
    num_layers: layers,
    lora_parameters: { rank, scale, dropout: asLora(adapter).config.lora_dropout, keys: [...keys].sort() },
  }
  return [jsonFile(ADAPTER_CONFIG, config), bytesFile(MLX_WEIGHTS, writeSafetensors(tensors, { format: 'mlx' }))]
}

/** `[rows, columns]` to `[toColumns, toRows]`, multiplied, with zeros where the target is larger. */
function transposeInto(
  values: Float32Array,
  rows: number,
  columns: number,
  toRows: number,
  toColumns: number,
  factor: number,
): Float32Array {
  const out = new Float32Array(toRows * toColumns)
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) {
      const value = values[row * columns + column] as number
      out[column * toRows + row] = factor === 1 ? value : value * factor
    }
  return out
}

/** Reads an mlx-lm adapter as PEFT has it. Throws CodedError `adapter.unsupported`, `adapter.mismatch`, `model.header`, `model.truncated`. */
export async function readMlx(source: FileSource): Promise<LoraPeft> {
  const config = await readConfig(source)
  const type = config.fine_tune_type ?? 'lora'
  if (type !== 'lora') throw refused(`The adapter is of type ${String(type)}.`, `${ADAPTER_CONFIG}, fine_tune_type`)
  const { scale, rank } = (config.lora_parameters ?? {}) as Json
  if (typeof scale !== 'number' || !Number.isFinite(scale))
    throw wrong('The scale is missing.', `${ADAPTER_CONFIG}, lora_parameters`)
  const header = await readSafetensorsHeader(source, MLX_WEIGHTS)
  const entries: [string, TensorData][] = []
  const targets = new Set<string>()
  const layers = new Set<number>()
  for (const name of header.tensors.keys()) {
    const [, module, side] = KEY.exec(name) ?? []
    if (module === undefined)
      throw wrong('The adapter holds more than LoRA matrices.', `${MLX_WEIGHTS}, tensor ${name}`)
    const tensor = await readTensor(source, header, name)
    const [rows, columns] = tensor.shape
    if (rows === undefined || columns === undefined || tensor.shape.length !== 2)
      throw wrong('The tensor is not a matrix.', `${MLX_WEIGHTS}, tensor ${name}`)
    const turned = transposeInto(toFloat32(tensor), rows, columns, rows, columns, 1)
    targets.add(module.split('.').at(-1)!)
    layers.add(Number(/\.layers\.(\d+)\./.exec(module)?.[1] ?? 0))
    entries.push([
      `base_model.model.${module}.lora_${side === 'a' ? 'A' : 'B'}.weight`,
      fromFloat32(turned, [columns, rows], 'F32'),
    ])
  }
  const r = typeof rank === 'number' ? rank : entries.find(([key]) => key.endsWith('lora_A.weight'))?.[1].shape[0]
  const peft = parseLoraConfig({
    peft_type: 'LORA',
    task_type: 'CAUSAL_LM',
    base_model_name_or_path: config.model ?? null,
    r,
    lora_alpha: scale * (r ?? 1),
    lora_dropout: ((config.lora_parameters ?? {}) as Json).dropout ?? 0,
    target_modules: [...targets].sort(),
    // mlx-lm adapts the last num_layers layers
    layers_to_transform: [...layers].sort((a, b) => a - b),
  })
  const adapter = { config: peft, tensors: Object.fromEntries(entries) }
  loraDeltas(adapter)
  return adapter
}

async function readConfig(source: FileSource): Promise<Json> {
  let json: unknown
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(await source.read(ADAPTER_CONFIG)))
  } catch (cause) {
    if (cause instanceof CodedError) throw cause
    throw wrong('The adapter settings are not valid JSON.', ADAPTER_CONFIG, cause)
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    throw wrong('The adapter settings are not a JSON object.', ADAPTER_CONFIG)
  return json as Json
}
