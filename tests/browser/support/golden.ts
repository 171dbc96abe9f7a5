/** The tiny checkpoint of tests/golden as picked files, and rows that it can learn. */

const FILES = ['config.json', 'tokenizer.json', 'tokenizer_config.json', 'model.safetensors']

// Not written out inside new URL(): the bundler would take it for a pattern of assets.
const HERE = import.meta.url

async function fetchGolden(path: string): Promise<File> {
  const response = await fetch(new URL(`../../golden/${path}`, HERE))
  if (!response.ok) throw new Error(`${path}: ${response.status}`)
  return new File([await response.blob()], path.split('/').at(-1) as string)
}

/** A Hugging Face folder as a folder picker gives it; with a file replaced where asked. */
export async function goldenModel(
  replace: Record<string, BlobPart> = {},
  name = 'llama-gqa-tied',
): Promise<{ path: string; file: File }[]> {
  return Promise.all(
    FILES.map(async (file) => {
      const given = replace[file]
      const picked = given === undefined ? await fetchGolden(`${name}/${file}`) : new File([given], file)
      return { path: `tiny-llama/${file}`, file: picked }
    }),
  )
}

/** A GGUF file of tests/golden/gguf-models as a file picker gives it. */
export async function goldenGguf(name: string): Promise<{ path: string; file: File }[]> {
  return [{ path: `${name}.gguf`, file: await fetchGolden(`gguf-models/${name}.gguf`) }]
}

/** A PEFT folder for the same model. */
export async function goldenAdapter(): Promise<{ path: string; file: File }[]> {
  const names = ['adapter_config.json', 'adapter_model.safetensors']
  return Promise.all(
    names.map(async (name) => ({
      path: `my-adapter/${name}`,
      file: await fetchGolden(`llama-gqa-tied/adapter_init/${name}`),
    })),
  )
}

/** Prompt and completion rows as JSON Lines. */
export function pairs(count: number): string {
  const rows = Array.from({ length: count }, (_, i) => ({
    prompt: `say ${i % 7}: `,
    completion: 'abc'.repeat(1 + (i % 4)),
  }))
  return rows.map((row) => JSON.stringify(row)).join('\n')
}
