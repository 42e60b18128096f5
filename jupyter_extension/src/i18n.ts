/** English and Chinese. The English sentence is the key; `zh.ts` holds the Chinese ones. */
import { ISignal, Signal } from '@lumino/signaling';
import { zh } from './zh';

export type Language = 'en' | 'zh';
export type Words = { [name: string]: string | number };

/** The language that a locale such as `zh_CN` or `zh-Hans` asks for. */
export function languageOf(locale: string): Language {
  return /^zh\b/i.test(locale.replace('_', '-')) ? 'zh' : 'en';
}

/** A setting of our own first, then Lab's locale, then the browser's language. */
export function choose(own: string, lab: string, browser: string): Language {
  if (own === 'en' || own === 'zh') {
    return own;
  }
  return languageOf(lab && lab !== 'default' ? lab : browser);
}

/** A sentence in a language, its `{name}`s filled in. */
export function translate(language: Language, text: string, words: Words = {}): string {
  const own = language === 'zh' ? zh[text] ?? text : text;
  return own.replace(/\{(\w+)\}/g, (all, name: string) => (name in words ? String(words[name]) : all));
}

export class Translator {
  get language(): Language {
    return this._language;
  }
  set language(value: Language) {
    if (value !== this._language) {
      this._language = value;
      this._changed.emit(value);
    }
  }
  get changed(): ISignal<this, Language> {
    return this._changed;
  }
  t = (text: string, words?: Words): string => translate(this._language, text, words);

  private _language: Language = 'en';
  private _changed = new Signal<this, Language>(this);
}
