/** Names for what a person makes here. Refuses to mean anything. */

/** Ten random bytes in hex; works on pages that are served insecurely, where `randomUUID` is missing. */
export function newId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(10)), (byte) => byte.toString(16).padStart(2, '0')).join('')
}
