/** Tells a text's language from its letters and commonest words. Refuses to guess for texts too short to tell. */

const SCRIPTS: [string, RegExp][] = [
  ['ja', /[\p{Script=Hiragana}\p{Script=Katakana}]/gu],
  ['zh', /\p{Script=Han}/gu],
  ['ko', /\p{Script=Hangul}/gu],
  ['ru', /\p{Script=Cyrillic}/gu],
  ['ar', /\p{Script=Arabic}/gu],
  ['hi', /\p{Script=Devanagari}/gu],
  ['el', /\p{Script=Greek}/gu],
  ['he', /\p{Script=Hebrew}/gu],
  ['th', /\p{Script=Thai}/gu],
]

const COMMON: Record<string, string> = {
  en: 'do does my me will would could if about just get the of and to in is that for it was on with as are this be you from at have not what which how can your they i',
  de: 'der die und das ist nicht ein eine zu den mit sich auf für von dem es ich wie auch werden wird sind oder was',
  fr: 'le la les et des une est que pour dans qui pas sur avec ce plus au du je vous nous sont comment mais par',
  es: 'el los las de que en una por con para se del como más pero sus le ha este es cómo qué está son',
  it: 'il di che è la per una sono con non del della gli le questo come più ma nel anche si ha cosa perché',
  pt: 'o os as que não uma para com do da em por mais como mas dos das ao você são é isso pelo está',
  nl: 'de het een van en dat is niet op te zijn voor met die er aan ook als maar om bij wat deze hoe',
  sv: 'och att det som en på är av för med den till inte har de ett om men var jag hur vad',
  pl: 'nie na się jest że do to jak co za po ale od są dla przez jego tak czy',
  tr: 'bir ve bu da de için ile çok ne gibi daha olarak var olan ama en kadar mi nasıl değil',
}
const WORDS = new Map<string, string[]>()
for (const [language, words] of Object.entries(COMMON)) {
  for (const word of words.split(' ')) WORDS.set(word, [...(WORDS.get(word) ?? []), language])
}

/** Characters looked at. */
const LOOK = 2000

/** A two-letter code, or `''` where the text does not tell. */
export function languageOf(text: string): string {
  const head = text.slice(0, LOOK)
  const letters = head.match(/\p{L}/gu)?.length ?? 0
  if (letters < 8) return ''
  for (const [language, pattern] of SCRIPTS) {
    const share = (head.match(pattern)?.length ?? 0) / letters
    if (share > (language === 'ja' ? 0.1 : 0.3)) return language
  }
  const votes = new Map<string, number>()
  const different = new Map<string, Set<string>>()
  const words = head.toLowerCase().match(/\p{L}+/gu) ?? []
  // A word that several languages share counts for each of them in part.
  for (const word of words) {
    const languages = WORDS.get(word) ?? []
    for (const language of languages) {
      votes.set(language, (votes.get(language) ?? 0) + 1 / languages.length)
      different.set(language, (different.get(language) ?? new Set()).add(word))
    }
  }
  const [first, second] = [...votes].sort((a, b) => b[1] - a[1])
  const told = first ? (different.get(first[0])?.size ?? 0) : 0
  if (!first || told < 2 || first[1] < Math.max(1.5, 0.08 * words.length) || (second && second[1] > 0.75 * first[1]))
    return ''
  return first[0]
}
