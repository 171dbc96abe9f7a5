/** Lets the event loop turn, so that a worker hears "pause" between two steps. Refuses timers, which browsers slow down. */

/** Resolves in a later task, after messages that are already waiting. */
export function breathe(): Promise<void> {
  if (typeof setImmediate === 'function') return new Promise((resolve) => setImmediate(resolve))
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel()
    port1.onmessage = () => {
      port1.close()
      resolve()
    }
    port2.postMessage(null)
  })
}
