/** Reads one row of a delimited table. Refuses quotes that are not closed or not doubled. */

export interface CsvRecord {
  fields: string[]
  /** Offset after the row and its line end. */
  next: number
  /** Lines the row takes. */
  lines: number
}

/**
 * The row that begins at `start`; `more` where the text so far does not hold its end; `broken` with the reason where its quotes do
 * not fit.
 * @param final no more text will come.
 */
export function readRecord(
  text: string,
  start: number,
  delimiter: string,
  quoting: boolean,
  final: boolean,
): CsvRecord | { broken: string; offset: number } | 'more' {
  const fields: string[] = []
  const code = delimiter.charCodeAt(0)
  let lines = 1
  let at = start
  for (;;) {
    let field: string
    let end: number
    if (quoting && text.charCodeAt(at) === 0x22) {
      const close = closingQuote(text, at)
      if (close < 0) return final ? { broken: 'A quote is opened and never closed.', offset: at } : 'more'
      end = close + 1
      if (end >= text.length && !final) return 'more'
      field = text.slice(at + 1, close)
      for (let n = field.indexOf('\n'); n >= 0; n = field.indexOf('\n', n + 1)) lines++
      if (field.includes('"')) field = field.replaceAll('""', '"')
      if (text.charCodeAt(end) === 0x0d && (end + 1 >= text.length || text.charCodeAt(end + 1) === 0x0a)) end++
      if (end >= text.length && !final) return 'more'
      const after = text.charCodeAt(end)
      if (end < text.length && after !== code && after !== 0x0a) {
        return { broken: 'A quote inside a quoted field is not doubled.', offset: close }
      }
    } else {
      end = at
      while (end < text.length && text.charCodeAt(end) !== code && text.charCodeAt(end) !== 0x0a) end++
      if (end >= text.length && !final) return 'more'
      const atLineEnd = end >= text.length || text.charCodeAt(end) === 0x0a
      field = text.slice(at, atLineEnd && text.charCodeAt(end - 1) === 0x0d && end > at ? end - 1 : end)
    }
    fields.push(field)
    if (end >= text.length) return { fields, next: end, lines }
    if (text.charCodeAt(end) === 0x0a) return { fields, next: end + 1, lines }
    at = end + 1
  }
}

/** Offset of the quote that closes the field opened at `open`; -1 where there is none. */
function closingQuote(text: string, open: number): number {
  for (let at = text.indexOf('"', open + 1); at >= 0; at = text.indexOf('"', at + 2)) {
    if (text.charCodeAt(at + 1) !== 0x22) return at
  }
  return -1
}
