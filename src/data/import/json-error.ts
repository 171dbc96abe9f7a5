/** Finds where a text stops being JSON, which JSON.parse tells differently in every browser. Refuses to mend it. */

interface JsonFault {
  /** 0-based offset of the first character that cannot stand there; the length where the text ends too early. */
  offset: number
  reason: string
}

/** The first fault of a text as one JSON value; undefined where it is one. */
export function findJsonFault(text: string): JsonFault | undefined {
  const stack: ('{' | '[')[] = []
  let i = 0
  let expect: 'value' | 'value-or-end' | 'key' | 'key-or-end' | 'colon' | 'comma' = 'value'
  const fault = (reason: string): JsonFault => ({ offset: i, reason })
  for (;;) {
    while (i < text.length && isSpace(text.charCodeAt(i))) i++
    if (i >= text.length) break
    const c = text[i] as string
    if (expect === 'comma') {
      const top = stack.at(-1)
      if (top === undefined) return fault(`"${c}" stands after the end of the value.`)
      if (c === ',') {
        expect = top === '{' ? 'key' : 'value'
        i++
      } else if (c === (top === '{' ? '}' : ']')) {
        stack.pop()
        i++
      } else return fault(`"${c}" stands where a comma or "${top === '{' ? '}' : ']'}" belongs.`)
    } else if (expect === 'colon') {
      if (c !== ':') return fault(`"${c}" stands where a colon belongs.`)
      expect = 'value'
      i++
    } else if (expect === 'key' || expect === 'key-or-end') {
      if (c === '}' && expect === 'key-or-end') {
        stack.pop()
        expect = 'comma'
        i++
        continue
      }
      if (c !== '"') return fault(`"${c}" stands where a name in double quotes belongs.`)
      const end = stringEnd(text, i)
      if (end.fault) return end.fault
      i = end.at
      expect = 'colon'
    } else if (c === ']' && expect === 'value-or-end') {
      stack.pop()
      expect = 'comma'
      i++
    } else if (c === '{' || c === '[') {
      stack.push(c)
      expect = c === '{' ? 'key-or-end' : 'value-or-end'
      i++
    } else {
      const end = scalarEnd(text, i)
      if (end.fault) return end.fault
      i = end.at
      expect = 'comma'
    }
  }
  return expect === 'comma' && stack.length === 0 ? undefined : fault('The text ends in the middle of the value.')
}

/** 1-based line and column of an offset. */
export function placeOf(text: string, offset: number): { line: number; column: number } {
  let line = 1
  let start = 0
  for (let at = text.indexOf('\n'); at >= 0 && at < offset; at = text.indexOf('\n', at + 1)) {
    line++
    start = at + 1
  }
  return { line, column: offset - start + 1 }
}

function scalarEnd(text: string, start: number): { at: number; fault?: JsonFault } {
  if (text[start] === '"') return stringEnd(text, start)
  const pattern = /true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y
  pattern.lastIndex = start
  if (pattern.test(text)) return { at: pattern.lastIndex }
  return { at: start, fault: { offset: start, reason: `"${text[start]}" begins no JSON value.` } }
}

function stringEnd(text: string, start: number): { at: number; fault?: JsonFault } {
  for (let i = start + 1; i < text.length; i++) {
    const c = text.charCodeAt(i)
    if (c === 0x22) return { at: i + 1 }
    if (c < 0x20) {
      const what = c === 0x0a || c === 0x0d ? 'A line ends' : 'A control character stands'
      return { at: i, fault: { offset: i, reason: `${what} inside a text in double quotes.` } }
    }
    if (c !== 0x5c) continue
    const escape = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y
    escape.lastIndex = i
    if (!escape.test(text)) return { at: i, fault: { offset: i, reason: 'A backslash begins no known escape.' } }
    i = escape.lastIndex - 1
  }
  return { at: text.length, fault: { offset: text.length, reason: 'A text in double quotes is not closed.' } }
}

function isSpace(c: number): boolean {
  return c === 0x20 || c === 0x0a || c === 0x0d || c === 0x09
}
