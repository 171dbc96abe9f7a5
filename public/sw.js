/**
 * Keeps the built page, the bundled model and the samples for use without a network. Refuses requests that leave this folder.
 * Which files, and of which build, is written beside it by the build (offline-files.js).
 */
importScripts('./offline-files.js')

const { version, files } = self.OFFLINE
const CACHE = `finetab-${version}`

self.addEventListener('install', (event) => event.waitUntil(install()))
self.addEventListener('activate', (event) => event.waitUntil(activate()))
self.addEventListener('fetch', (event) => {
  const { request } = event
  if (request.method !== 'GET' || !request.url.startsWith(self.registration.scope)) return
  event.respondWith(answer(request).then((response) => isolated(request, response)))
})

/**
 * Lets pages and workers share memory between threads wherever this folder is hosted, so that WebAssembly may use several; a
 * host's own headers of these names do the same from the first visit on.
 */
function isolated(request, response) {
  const wants = request.mode === 'navigate' || request.destination === 'worker'
  // A redirect goes on as it came: the browser follows it and asks again.
  if (!wants || response.type === 'error' || response.type === 'opaqueredirect') return response
  const headers = new Headers(response.headers)
  headers.set('Cross-Origin-Opener-Policy', 'same-origin')
  headers.set('Cross-Origin-Embedder-Policy', 'require-corp')
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers })
}

async function install() {
  const cache = await caches.open(CACHE)
  await cache.addAll(files.map((file) => new Request(file, { cache: 'no-cache' })))
  await self.skipWaiting()
}

/** Older builds go; a page that is still open has its files in memory or asks the network. */
async function activate() {
  const names = await caches.keys()
  await Promise.all(
    names.filter((name) => name.startsWith('finetab-') && name !== CACHE).map((name) => caches.delete(name)),
  )
  await self.clients.claim()
}

async function answer(request) {
  const cache = await caches.open(CACHE)
  // A page asks for the newest first, so that a new build is seen at once; everything else has its build in its name.
  if (request.mode === 'navigate') {
    try {
      return await fetch(request)
    } catch {
      return (await cache.match('./', { ignoreVary: true })) ?? Response.error()
    }
  }
  const kept = await cache.match(request.url, { ignoreVary: true, ignoreSearch: true })
  return kept ?? fetch(request)
}
