/** Files on their way out, written piece by piece so that no whole model is ever held. Refuses to know where they go. */

/** A file to be written; `chunks` may be called again to write it again. */
export interface OutFile {
  readonly name: string
  /** Exactly the bytes that the chunks add up to. */
  readonly size: number
  chunks(): AsyncGenerator<Uint8Array>
}

/** A file that is in memory already. */
export function bytesFile(name: string, content: Uint8Array | string): OutFile {
  const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content
  return {
    name,
    size: bytes.length,
    async *chunks() {
      yield bytes
    },
  }
}

/** JSON as files of the ecosystem have it. */
export function jsonFile(name: string, value: unknown): OutFile {
  return bytesFile(name, `${JSON.stringify(value, null, 2)}\n`)
}

/** A whole file in memory; for small ones and for tests. */
export async function collect(file: OutFile): Promise<Uint8Array> {
  const out = new Uint8Array(file.size)
  let at = 0
  for await (const chunk of file.chunks()) {
    out.set(chunk, at)
    at += chunk.length
  }
  if (at !== out.length) throw new Error(`${file.name} has ${at} bytes instead of ${out.length}`)
  return out
}
