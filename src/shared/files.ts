/**
 * Where bytes come from, so that engine and data never ask whether it is a server, a disk or the browser's own store.
 * Refuses to write.
 */

/** Progress of something long; `total` is 0 where it is not known. */
export interface Progress {
  /** A named stage: "Reading model.safetensors", "Preparing shaders". */
  stage: string
  done: number
  total: number
  unit: 'bytes' | 'rows' | 'steps' | 'tokens' | 'items'
}
export type OnProgress = (progress: Progress) => void

/** A read-only folder of named files: a Hugging Face checkpoint, an adapter. */
export interface FileSource {
  /** Every file with its size in bytes; names use "/" and are relative to the folder. */
  list(): Promise<readonly { name: string; size: number }[]>
  /** Bytes `start` (inclusive) to `end` (exclusive; the file's end if left out). Throws CodedError `file.missing`. */
  read(name: string, start?: number, end?: number): Promise<Uint8Array>
}

/** A file for a person to take away. */
export interface NamedFile {
  name: string
  bytes: Uint8Array
}
