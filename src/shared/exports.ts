/**
 * THE table of what a tuned model can be taken away as: page, command line and engine offer the same. Refuses to know how anything is
 * written.
 */

import type { Job } from './job'

/** How numbers are stored in a file that holds a whole model. */
export type ExportDtype = 'f32' | 'f16' | 'bf16' | 'q8_0'

interface ExportKindInfo {
  readonly name: string
  /** One sentence: what it is and what reads it. */
  readonly about: string
  /** Types to choose from, most exact first; none where the format has only one. */
  readonly dtypes: readonly ExportDtype[]
}

const EXPORT_FORMATS = {
  peft: {
    name: 'PEFT adapter',
    about: 'The adapter alone, for PEFT in Python; goes on top of the base model.',
    dtypes: [],
  },
  merged: {
    name: 'Merged model',
    about: 'The whole tuned model as a Hugging Face folder, for transformers and what reads its layout.',
    dtypes: ['f32', 'f16', 'bf16'],
  },
  gguf: {
    name: 'GGUF model',
    about: 'The whole tuned model in one file, with a Modelfile, for llama.cpp and Ollama.',
    dtypes: ['f32', 'f16', 'bf16', 'q8_0'],
  },
  'gguf-lora': {
    name: 'GGUF adapter',
    about: 'The adapter alone, for llama.cpp on top of a GGUF of the base.',
    dtypes: [],
  },
  mlx: { name: 'mlx-lm adapter', about: 'The adapter alone, for mlx-lm on Apple silicon.', dtypes: [] },
} as const satisfies Record<string, ExportKindInfo>

export type ExportFormat = keyof typeof EXPORT_FORMATS

/** The names of all formats. */
export const EXPORT_FORMAT_NAMES = Object.keys(EXPORT_FORMATS) as ExportFormat[]

/** What a method's result can be taken away as; the others say nothing that its format has a place for. */
const BY_METHOD: Record<Job['method'], readonly ExportFormat[]> = {
  lora: EXPORT_FORMAT_NAMES,
  full: ['merged', 'gguf'],
  ia3: ['peft', 'merged', 'gguf'],
  bottleneck: ['peft'],
  prompt: ['peft'],
  prefix: ['peft'],
}

/** The formats that a run of this job can be exported to. */
export function exportFormatsOf({ method = 'lora', objective }: Partial<Job>): readonly ExportFormat[] {
  // A head has no place in files of models that write.
  return objective === 'classification' ? ['peft'] : BY_METHOD[method]
}

/** Name and one sentence of a format as a run of this method is written. */
export function exportKindOf(format: ExportFormat, method: Job['method']): { name: string; about: string } {
  if (format !== 'peft' || method !== 'bottleneck') return EXPORT_FORMATS[format]
  return {
    name: 'Adapter',
    about: 'The adapter alone, named as PEFT does; PEFT has no such method, this program reads it.',
  }
}

/** The types that a format can be written in. */
export function dtypesOf(format: ExportFormat): readonly ExportDtype[] {
  return EXPORT_FORMATS[format].dtypes
}
