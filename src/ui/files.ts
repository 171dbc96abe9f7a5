/** What a person dropped or picked: as files with paths, and what place they belong to. Refuses to open them. */

export interface PathFile {
  path: string
  file: File
}
export type Kind = 'model' | 'adapter' | 'dataset'

/** The files of an input, with their folder paths where it picked a folder. */
export function filesOf(input: HTMLInputElement): PathFile[] {
  return [...(input.files ?? [])].map((file) => ({ path: file.webkitRelativePath || file.name, file }))
}

/** Everything that was dropped, folders walked through. Call it in the drop event: its items die with it. */
export async function filesOfDrop(transfer: DataTransfer): Promise<PathFile[]> {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.() ?? null)
  const loose = [...transfer.files]
  if (entries.every((entry) => entry === null)) return loose.map((file) => ({ path: file.name, file }))
  const nested = await Promise.all(entries.map((entry) => (entry ? walk(entry) : [])))
  return nested.flat()
}

async function walk(entry: FileSystemEntry): Promise<PathFile[]> {
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject))
    return [{ path: entry.fullPath.replace(/^\//, ''), file }]
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader()
  const found: PathFile[] = []
  // A reader gives at most 100 entries at a time, and none when it is through.
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject))
    if (some.length === 0) return found
    for (const child of some) found.push(...(await walk(child)))
  }
}

/** Where files belong, by their names: an adapter, a model folder, or a dataset. */
export function kindOf(files: readonly PathFile[]): Kind {
  const names = files.map(({ path }) => path.slice(path.lastIndexOf('/') + 1))
  if (names.includes('adapter_config.json') || names.some((name) => /^adapter.*\.(safetensors|zip)$/.test(name)))
    return 'adapter'
  if (names.includes('config.json') || names.some((name) => /\.(safetensors|bin|gguf|pt|pth)$/.test(name)))
    return 'model'
  if (names.length === 1 && names[0]?.endsWith('.zip')) return 'adapter'
  return 'dataset'
}

/** Gives a person a file to keep. */
export function download(name: string, content: Blob | string): void {
  const blob = typeof content === 'string' ? new Blob([content], { type: 'text/plain' }) : content
  const link = document.createElement('a')
  link.href = URL.createObjectURL(blob)
  link.download = name
  document.body.append(link)
  link.click()
  link.remove()
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000)
}

/** A name that every file system takes. */
export function fileName(text: string): string {
  return (
    text
      .trim()
      .replace(/[^\p{L}\p{N}._-]+/gu, '-')
      .replace(/^-+|-+$/g, '') || 'finetab'
  )
}
