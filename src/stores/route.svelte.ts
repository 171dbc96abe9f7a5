/** Where the person is: the place and the run that the hash names. Refuses to keep anything else in the address. */

export const PLACES = ['model', 'data', 'train', 'try', 'runs'] as const
export type Place = (typeof PLACES)[number]

class Route {
  place = $state<Place>('model')
  /** The run that `#/runs/ID` names. */
  runId = $state<string | null>(null)
  /** Settings given in the address (`#/train?rank=8`), raw. */
  query = $state.raw<URLSearchParams>(new URLSearchParams())

  /** Follows the address from now on. */
  start(): void {
    this.#read()
    addEventListener('hashchange', () => this.#read())
  }

  go(place: Place, runId?: string): void {
    location.hash = hrefOf(place, runId)
  }

  /** Takes the settings out of the address once they are taken over: a reload must not bring them back over later ones. */
  dropQuery(): void {
    if (this.query.size > 0) history.replaceState(null, '', hrefOf(this.place, this.runId ?? undefined))
  }

  #read(): void {
    const [path = '', query = ''] = location.hash.replace(/^#\/?/, '').split('?')
    const [place = '', id] = path.split('/')
    this.place = PLACES.find((known) => known === place) ?? 'model'
    this.runId = this.place === 'runs' && id ? decodeURIComponent(id) : null
    this.query = new URLSearchParams(query)
  }
}

/** The address of a place, or of a run. */
export function hrefOf(place: Place, runId?: string): string {
  return `#/${place}${runId ? `/${encodeURIComponent(runId)}` : ''}`
}

export const route = new Route()
