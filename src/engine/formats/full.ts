/**
 * Trained whole weights in the place of the base's, tensor by tensor, for every file that holds a whole model. Refuses weights that the
 * base has no place for, naming each.
 */
import { CodedError } from '../../shared/errors'
import type { ModuleChange } from '../../shared/judgement'
import type { TensorData } from '../../shared/records'
import type { Weights } from './checkpoint-index'
import type { FullConfig, PeftAdapter } from './peft'
import { toFloat32 } from './safetensors'

/** Trained tensors by the names that this base's files have for them: with or without a family's outer prefix, a tied table under either name. */
function byFileName(base: Weights, { tensors }: PeftAdapter<FullConfig>): Map<string, TensorData> {
  const names = new Set(base.names)
  const found = new Map<string, TensorData>()
  const problems: string[] = []
  for (const [own, tensor] of Object.entries(tensors)) {
    const plain = own.replace(/^(model|transformer|gpt_neox)\./, '')
    const name = [own, plain, ...(/embed_tokens|wte/.test(own) ? ['lm_head.weight'] : [])].find((one) => names.has(one))
    if (name === undefined) problems.push(`${own} is not in the model`)
    else if (base.info(name).shape.join() !== tensor.shape.join())
      problems.push(`${own} is [${tensor.shape.join(', ')}] and should be [${base.info(name).shape.join(', ')}]`)
    else found.set(name, tensor)
  }
  if (problems.length === 0) return found
  throw new CodedError('adapter.mismatch', `The trained weights do not fit this model: ${problems.join('; ')}.`, {
    where: 'adapter_model.safetensors',
    fix: 'Use them with the model that they were trained from.',
  })
}

/** The weights as they are after training; `info` tells the type that the base stores. Throws CodedError `adapter.mismatch`. */
export function replaceWeights(base: Weights, trained: PeftAdapter<FullConfig>): Weights {
  const byName = byFileName(base, trained)
  return {
    names: base.names,
    info: (name) => base.info(name),
    read: async (name) => byName.get(name) ?? base.read(name),
  }
}

/** ‖W′ − W‖ / ‖W‖ of every trained weight that lies in a layer; biases go with their layers' other changes and are left out. */
export async function fullChange(
  base: Weights,
  trained: PeftAdapter<FullConfig>,
  onModule: (done: number, total: number) => void,
): Promise<ModuleChange[]> {
  const changes: ModuleChange[] = []
  const all = [...byFileName(base, trained)].filter(([name]) => /\.\d+\..*\.weight$/.test(name))
  for (const [done, [name, tensor]] of all.entries()) {
    const [before, after] = [toFloat32(await base.read(name)), toFloat32(tensor)]
    let [squares, moved] = [0, 0]
    before.forEach((value, i) => {
      squares += value * value
      moved += ((after[i] as number) - value) ** 2
    })
    const parts = name.replace(/\.weight$/, '').split('.')
    const [change, weight] = [Math.sqrt(moved), Math.sqrt(squares)]
    const layer = Number(parts.find((part) => /^\d+$/.test(part)))
    changes.push({ layer, target: parts.at(-1) ?? '', change, weight, ratio: change / weight })
    onModule(done + 1, all.length)
  }
  return changes
}
