/** Commands: their ids, and what they do. */
import { JupyterFrontEnd } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { ILauncher } from '@jupyterlab/launcher';
import { ReadonlyPartialJSONObject } from '@lumino/coreutils';
import { dashboardIcon, formIcon, labelIcon, tracesIcon } from './icons';
import { Pages, Place } from './pages';
import { Json } from './schema';
import { Workbench } from './tokens';

export const ID = {
  version: 'llmops:open-version',
  run: 'llmops:open-run',
  report: 'llmops:open-report',
  form: 'llmops:open-form',
  label: 'llmops:label',
  dashboard: 'llmops:open-dashboard',
  traces: 'llmops:open-traces',
  language: 'llmops:switch-language',
  /** Opens any page again when Lab restores its layout. */
  place: 'llmops:open-place'
};

const CATEGORY = 'LLMOps';
type Args = ReadonlyPartialJSONObject;

const text = (args: Args, name: string): string => String(args[name] ?? '');

export function addCommands(
  app: JupyterFrontEnd,
  bench: Workbench,
  pages: Pages,
  setLanguage: (language: string) => Promise<unknown>
): void {
  const { commands } = app;
  const { t } = bench;
  commands.addCommand(ID.version, { label: () => t('Open a version'), execute: args => pages.version(text(args, 'ref')) });
  commands.addCommand(ID.run, { label: () => t('Open a run'), execute: args => pages.run(text(args, 'id')) });
  commands.addCommand(ID.report, { label: () => t('Open report'), execute: args => pages.report(text(args, 'ref')) });
  commands.addCommand(ID.form, {
    label: args => (args['isPalette'] || !args['name'] ? t('New run') : text(args, 'name')),
    icon: formIcon,
    execute: args =>
      pages.form(
        args['what'] === 'verb' ? 'verb' : 'template',
        text(args, 'name'),
        (args['preset'] ?? {}) as { [name: string]: Json }
      )
  });
  commands.addCommand(ID.label, {
    label: () => t('Label data'),
    caption: () => t('Queues of items to label, and the desk for it'),
    icon: labelIcon,
    execute: args => pages.label(text(args, 'ref'))
  });
  commands.addCommand(ID.dashboard, {
    label: () => t('Dashboard'),
    caption: () => t('Metrics, traces and cost on one page'),
    icon: dashboardIcon,
    execute: () => pages.service('dashboard')
  });
  commands.addCommand(ID.traces, {
    label: () => t('Traces (Phoenix)'),
    icon: tracesIcon,
    execute: () => pages.service('phoenix')
  });
  commands.addCommand(ID.place, { execute: args => args['page'] && pages.open(args as unknown as Place) });
  commands.addCommand(ID.language, {
    label: 'English / 中文',
    execute: () => setLanguage(bench.translator.language === 'zh' ? 'en' : 'zh')
  });
}

export function addToMenus(palette: ICommandPalette | null, launcher: ILauncher | null): void {
  [ID.form, ID.label, ID.dashboard, ID.traces, ID.language].forEach((command, rank) => {
    palette?.addItem({ command, category: CATEGORY, args: { isPalette: true } });
    if (command !== ID.language) {
      launcher?.add({ command, category: CATEGORY, rank });
    }
  });
}
