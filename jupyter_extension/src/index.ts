import { ILayoutRestorer, JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { ILauncher } from '@jupyterlab/launcher';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator } from '@jupyterlab/translation';
import { Api } from './api';
import { addCommands, addToMenus, ID } from './commands';
import { labelFactory } from './label/output';
import { followLanguage } from './language';
import { Live } from './live';
import { Translator } from './i18n';
import { Pages } from './pages';
import { addPanels } from './panels';
import { IWorkbench, Workbench } from './tokens';

const plugin: JupyterFrontEndPlugin<Workbench> = {
  id: 'llmops-lab:plugin',
  description: 'Models, datasets, prompts, releases and runs of the LLMOps workbench.',
  autoStart: true,
  provides: IWorkbench,
  optional: [ISettingRegistry, ITranslator, ICommandPalette, ILauncher, ILayoutRestorer, IRenderMimeRegistry],
  activate: (
    app: JupyterFrontEnd,
    settings: ISettingRegistry | null,
    lab: ITranslator | null,
    palette: ICommandPalette | null,
    launcher: ILauncher | null,
    restorer: ILayoutRestorer | null,
    rendermime: IRenderMimeRegistry | null
  ): Workbench => {
    const { events, serverSettings } = app.serviceManager;
    const api = new Api(serverSettings);
    const translator = new Translator();
    const pages: Pages = new Pages(app, () => bench);
    const bench: Workbench = {
      api,
      translator,
      t: translator.t,
      live: new Live(api, events.stream),
      go: {
        version: ref => pages.version(ref),
        run: id => pages.run(id),
        report: ref => pages.report(ref),
        label: ref => pages.label(ref),
        service: name => pages.service(name),
        form: (what, name, preset) => pages.form(what, name, preset)
      }
    };
    const setLanguage = followLanguage(plugin.id, translator, settings, lab);
    addCommands(app, bench, pages, setLanguage);
    addToMenus(palette, launcher);
    addPanels(app, bench, restorer);
    rendermime?.addFactory(labelFactory(bench), 0);
    void restorer?.restore(pages.tracker, {
      command: ID.place,
      args: widget => ({ ...pages.places.get(widget) }),
      name: widget => widget.id
    });
    return bench;
  }
};

export * from './tokens';
export default plugin;
