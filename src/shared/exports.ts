/**
 * THE table of what a tuned model can be taken away as: page, command line and engine offer the same. Refuses to know how anything is
 * written.
 */

/** How numbers are stored in a file that holds a whole model. */
export type ExportDtype = 'f32' | 'f16' | 'bf16' | 'q8_0'

interface ExportKindInfo {
  readonly name: string
  /** One sentence: what it is and what reads it. */
  readonly about: string
  /** Types to choose from, most exact first; none where the format has only one. */
  readonly dtypes: readonly ExportDtype[]
}

export const EXPORT_FORMATS = {
  peft: {
    name: 'PEFT adapter',
    about: 'The adapter alone, for PEFT in Python; goes on top of the base model.',
    dtypes: [],
  },
  merged: {
    name: 'Merged model',
    about: 'Base and adapter in one Hugging Face folder, for transformers and what reads its layout.',
    dtypes: ['f32', 'f16', 'bf16'],
  },
  gguf: {
    name: 'GGUF model',
    about: 'Base and adapter in one file, with a Modelfile, for llama.cpp and Ollama.',
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

/** The types that a format can be written in. */
export function dtypesOf(format: ExportFormat): readonly ExportDtype[] {
  return EXPORT_FORMATS[format].dtypes
}
