/** Light, dark or as the system has it. Refuses to know any colour. */
import { readPreference, writePreference } from './preferences'

export type ThemeChoice = 'system' | 'light' | 'dark'

class Theme {
  choice = $state<ThemeChoice>(readPreference<ThemeChoice>('theme', 'system'))
  #systemDark = $state(false)

  /** Whether the page is dark now; charts redraw when it changes. */
  dark = $derived(this.choice === 'dark' || (this.choice === 'system' && this.#systemDark))

  start(): void {
    const query = matchMedia('(prefers-color-scheme: dark)')
    this.#systemDark = query.matches
    query.addEventListener('change', () => (this.#systemDark = query.matches))
    this.#apply()
  }

  choose(choice: ThemeChoice): void {
    this.choice = choice
    writePreference('theme', choice === 'system' ? undefined : choice)
    this.#apply()
  }

  #apply(): void {
    if (this.choice === 'system') delete document.documentElement.dataset['theme']
    else document.documentElement.dataset['theme'] = this.choice
  }
}

export const theme = new Theme()
