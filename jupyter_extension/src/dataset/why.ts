/** Why a row went out, in the person's language: the reason is a sentence with a name or a number in it. */
import { Words } from '../i18n';

const PATTERNS: { is: RegExp; title: string }[] = [
  { is: /^the language is (?<what>\S+)$/, title: 'The language is {what}' },
  { is: /^fewer than (?<what>[\d,]+) characters$/, title: 'Fewer than {what} characters' },
  { is: /^fewer than (?<what>[\d,]+) tokens$/, title: 'Fewer than {what} tokens' },
  { is: /^more than (?<what>[\d,]+) characters$/, title: 'More than {what} characters' },
  { is: /^more than (?<what>[\d,]+) tokens$/, title: 'More than {what} tokens' },
  { is: /^a row of (?<what>\S+) stands in it$/, title: 'A row of {what} stands in it' },
  { is: /^(?<what>.{1,60}) is empty$/, title: '{what} is empty' }
];

export function reason(t: (text: string, words?: Words) => string, why: string): string {
  for (const { is, title } of PATTERNS) {
    const found = is.exec(why);
    if (found?.groups) {
      return t(title, { what: t(found.groups.what) });
    }
  }
  return t(why);
}
