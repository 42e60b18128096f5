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

/** The half of a text that is written in both languages, as templates introduce themselves: `English. 中文`. */
export function half(language: Language, text: string): string {
  const at = text.search(/[\u3400-\u9fff]/);
  return at > 0 ? (language === 'zh' ? text.slice(at) : text.slice(0, at)).trim() : text;
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
  /** The name and the purpose of a template; its Chinese half begins with the Chinese name. */
  about = (title: string, doc: string): { title: string; doc: string } => {
    const own = half(this._language, this.t(doc));
    const colon = own.indexOf('：');
    // Only a text in both languages begins its Chinese half with a name.
    return this._language === 'zh' && own !== this.t(doc) && colon > 0 && colon < 16
      ? { title: own.slice(0, colon), doc: own.slice(colon + 1) }
      : { title: this.t(title), doc: own };
  };
  t = (text: string, words?: Words): string => translate(this._language, text, words);

  private _language: Language = 'en';
  private _changed = new Signal<this, Language>(this);
}
