/** Keeps the language in step with our own setting, Lab's locale and the browser. */
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator } from '@jupyterlab/translation';
import { choose, Translator } from './i18n';

const LAB = '@jupyterlab/translation-extension:plugin';

/** Gives back what switches the language by hand. */
export function followLanguage(
  id: string,
  translator: Translator,
  settings: ISettingRegistry | null,
  lab: ITranslator | null
): (language: string) => Promise<void> {
  let own = 'auto';
  let locale = 'default';
  const apply = (): void => {
    const known = locale !== 'default' ? locale : lab && lab.languageCode !== 'en' ? lab.languageCode : 'default';
    translator.language = choose(own, known, navigator.language);
  };
  const follow = async (plugin: string, name: string, set: (value: string) => void): Promise<void> => {
    const loaded = await settings?.load(plugin);
    const read = (): void => {
      set(String(loaded?.get(name).composite ?? ''));
      apply();
    };
    loaded?.changed.connect(read);
    read();
  };
  apply();
  // Without these settings the browser's language holds.
  follow(id, 'language', v => (own = v)).catch(() => undefined);
  follow(LAB, 'locale', v => (locale = v || 'default')).catch(() => undefined);
  return async language => {
    own = language;
    apply();
    await settings?.set(id, 'language', language);
  };
}
