/**
 * Small choices of this browser that must be there before the first paint: theme, selection, draft settings.
 * Refuses anything large, and goes on without where the browser forbids storage.
 */

const PREFIX = 'finetab.'

/** A kept choice, or the fallback where there is none or it cannot be read. */
export function readPreference<T>(name: string, fallback: T): T {
  try {
    const text = localStorage.getItem(PREFIX + name)
    return text === null ? fallback : (JSON.parse(text) as T)
  } catch {
    return fallback
  }
}

/** Keeps a choice; undefined forgets it. */
export function writePreference(name: string, value: unknown): void {
  try {
    if (value === undefined) localStorage.removeItem(PREFIX + name)
    else localStorage.setItem(PREFIX + name, JSON.stringify(value))
  } catch {
    // Private windows may forbid it: the choice then lasts as long as the page.
  }
}
