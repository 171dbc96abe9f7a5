/** Finds the end of a JSON value in text that is still arriving, noticing at once where it breaks. Refuses to build the value. */

/** Where a value ends, or breaks, or that the text so far does not tell. */
type Scan = { end: number } | { broken: number } | 'more'

const QUOTE = 0x22
const BACKSLASH = 0x5c

/** Scans the value that begins at `start`. `final`: no more text will come. */
export function scanValue(text: string, start: number, final: boolean): Scan {
  const first = text.charCodeAt(start)
  if (first === QUOTE) return scanString(text, start, final)
  if (first !== 0x7b && first !== 0x5b) return scanWord(text, start, final)
  const stack: number[] = []
  for (let i = start; i < text.length; i++) {
    const c = text.charCodeAt(i)
    if (c === QUOTE) {
      const string = scanString(text, i, final)
      if (string === 'more' || 'broken' in string) return string
      i = string.end - 1
      const next = skipSpace(text, string.end)
      if (next >= text.length) return final ? { broken: next } : 'more'
      if (!',:}]'.includes(text[next] as string)) return { broken: next }
    } else if (c === 0x7b || c === 0x5b) {
      stack.push(c)
      if (c === 0x7b && !keyFollows(text, i + 1, true)) return { broken: i + 1 }
    } else if (c === 0x7d || c === 0x5d) {
      if (stack.pop() !== c - 2) return { broken: i }
      if (stack.length === 0) return { end: i + 1 }
    } else if (c === 0x2c && stack.at(-1) === 0x7b && !keyFollows(text, i + 1, false)) return { broken: i + 1 }
  }
  return final ? { broken: text.length } : 'more'
}

/** Offset of the first character that is not white space. */
export function skipSpace(text: string, start: number): number {
  let i = start
  while (i < text.length && ' \n\r\t'.includes(text[i] as string)) i++
  return i
}

function keyFollows(text: string, start: number, mayEnd: boolean): boolean {
  const next = skipSpace(text, start)
  return next >= text.length || text.charCodeAt(next) === QUOTE || (mayEnd && text[next] === '}')
}

function scanString(text: string, start: number, final: boolean): Scan {
  const newline = text.indexOf('\n', start)
  for (let end = text.indexOf('"', start + 1); end >= 0; end = text.indexOf('"', end + 1)) {
    if (newline >= 0 && newline < end) return { broken: newline }
    let slashes = 0
    while (text.charCodeAt(end - 1 - slashes) === BACKSLASH) slashes++
    if (slashes % 2 === 0) return { end: end + 1 }
  }
  if (newline >= 0) return { broken: newline }
  return final ? { broken: text.length } : 'more'
}

function scanWord(text: string, start: number, final: boolean): Scan {
  for (let i = start; i < text.length; i++) {
    if (',]} \n\r\t'.includes(text[i] as string)) return { end: Math.max(i, start + 1) }
  }
  return final ? { end: text.length } : 'more'
}
