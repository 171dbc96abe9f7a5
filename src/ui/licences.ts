/** Licences as people call them. Refuses to explain them. */

const NAMES: Record<string, string> = {
  'apache-2.0': 'Apache 2.0',
  mit: 'MIT',
  gemma: 'Gemma terms',
  other: 'a licence of its own',
}

/** A licence from the hub's spelling; as it is spelt there where it is not a common one. */
export function licenceName(licence: string): string {
  return NAMES[licence] ?? (licence || 'no licence told')
}
