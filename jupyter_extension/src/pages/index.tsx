/** Opens pages in the main area; a page that is open already comes to the front. */
import { JupyterFrontEnd } from '@jupyterlab/application';
import { MainAreaWidget, WidgetTracker } from '@jupyterlab/apputils';
import { IFrame, LabIcon, ReactWidget } from '@jupyterlab/ui-components';
import { Widget } from '@lumino/widgets';
import React from 'react';
import { dashboardIcon, formIcon, kindIcon, labelIcon, reportIcon, runIcon, tracesIcon } from '../icons';
import { LabelPage } from '../label/page';
import { Json } from '../schema';
import { Workbench } from '../tokens';
import { FormPage } from './form';
import { ReportPage } from './report';
import { RunPage } from './run';
import { VersionPage } from './version';

/** How a page is found again when Lab is loaded anew. */
export interface Place {
  page: 'version' | 'run' | 'report' | 'form' | 'label' | 'service';
  name: string;
  what?: 'template' | 'verb';
}

const SERVICES: { [name: string]: { title: string; path: string; icon: LabIcon } } = {
  dashboard: { title: 'Dashboard', path: 'llmops-dashboard', icon: dashboardIcon },
  phoenix: { title: 'Traces (Phoenix)', path: 'llmops-phoenix', icon: tracesIcon }
};

export class Pages {
  readonly tracker = new WidgetTracker<MainAreaWidget>({ namespace: 'llmops' });
  readonly places = new WeakMap<Widget, Place>();

  constructor(
    private app: JupyterFrontEnd,
    private bench: () => Workbench
  ) {}

  version(ref: string): void {
    const [kind, rest] = ref.split(':');
    const draw = (): JSX.Element => <VersionPage bench={this.bench()} refText={ref} />;
    this.show({ page: 'version', name: ref }, rest ?? ref, kindIcon(kind), () => ReactWidget.create(draw()));
  }
  run(id: string): void {
    const draw = (): JSX.Element => <RunPage bench={this.bench()} id={id} />;
    this.show({ page: 'run', name: id }, `${this.bench().t('run')} ${id.slice(-6)}`, runIcon, () => ReactWidget.create(draw()));
  }
  form(what: 'template' | 'verb', name: string, preset: { [name: string]: Json } = {}): void {
    const draw = (): JSX.Element => <FormPage bench={this.bench()} what={what} name={name} preset={preset} />;
    const place: Place = { page: 'form', name, what };
    this.show(place, name || this.bench().t('New run'), formIcon, () => ReactWidget.create(draw()), Object.keys(preset).length > 0);
  }
  report(ref: string): void {
    const title = `${this.bench().t('Report')} ${ref.split(':')[1] ?? ref}`;
    const draw = (): JSX.Element => <ReportPage bench={this.bench()} name={ref} />;
    this.show({ page: 'report', name: ref }, title, reportIcon, () => ReactWidget.create(draw()));
  }
  label(ref: string): void {
    const title = ref ? `${this.bench().t('Label')} ${ref.split(':')[1] ?? ref}` : this.bench().t('Label data');
    this.show({ page: 'label', name: ref }, title, labelIcon, () => {
      const content = ReactWidget.create(<LabelPage bench={this.bench()} refText={ref} />);
      // Lab gives the focus to the tab; keys belong to the desk in it.
      content.node.addEventListener('focus', () => content.node.querySelector<HTMLElement>('.llm-desk')?.focus());
      return content;
    });
  }
  service(name: string): void {
    const service = SERVICES[name];
    this.show({ page: 'service', name }, this.bench().t(service.title), service.icon, () => {
      const frame = new IFrame({ sandbox: ['allow-scripts', 'allow-same-origin', 'allow-forms', 'allow-popups', 'allow-downloads'] });
      frame.url = this.bench().api.serviceUrl(service.path, this.bench().translator.language);
      return frame;
    });
  }
  open(place: Place): void {
    switch (place.page) {
      case 'version':
        return this.version(place.name);
      case 'run':
        return this.run(place.name);
      case 'report':
        return this.report(place.name);
      case 'form':
        return this.form(place.what ?? 'template', place.name);
      case 'label':
        return this.label(place.name);
      case 'service':
        return this.service(place.name);
    }
  }

  private show(place: Place, title: string, icon: LabIcon, make: () => Widget, anew = false): void {
    const id = `llmops-${place.page}-${place.what ?? ''}${place.name}`;
    let widget = this.tracker.find(w => w.id === id);
    if (widget && anew) {
      widget.dispose();
      widget = undefined;
    }
    if (!widget) {
      const content = make();
      content.addClass('llm-content');
      widget = new MainAreaWidget({ content });
      widget.toolbar.hide();
      widget.id = id;
      widget.title.label = title;
      widget.title.caption = place.name || title;
      widget.title.icon = icon;
      widget.title.closable = true;
      this.places.set(widget, place);
      void this.tracker.add(widget);
    }
    if (!widget.isAttached) {
      this.app.shell.add(widget, 'main');
    }
    this.app.shell.activateById(widget.id);
  }
}
