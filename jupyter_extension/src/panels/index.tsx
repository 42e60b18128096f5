/** The sidebar: a panel for each of the things that people look for. */
import { ILayoutRestorer, JupyterFrontEnd } from '@jupyterlab/application';
import { LabIcon, ReactWidget } from '@jupyterlab/ui-components';
import React from 'react';
import { datasetIcon, modelIcon, promptIcon, releaseIcon, runIcon } from '../icons';
import { Workbench } from '../tokens';
import { RunsPanel } from './runs';
import { VersionsPanel } from './versions';

interface Panel {
  id: string;
  title: string;
  icon: LabIcon;
  kinds: string[];
}

const PANELS: Panel[] = [
  { id: 'llmops-models', title: 'Models', icon: modelIcon, kinds: ['model'] },
  { id: 'llmops-datasets', title: 'Datasets', icon: datasetIcon, kinds: ['dataset', 'benchmark'] },
  { id: 'llmops-prompts', title: 'Prompts', icon: promptIcon, kinds: ['prompt', 'chain'] },
  { id: 'llmops-releases', title: 'Releases', icon: releaseIcon, kinds: ['release', 'deployment', 'report'] },
  { id: 'llmops-runs', title: 'Runs', icon: runIcon, kinds: [] }
];

export function addPanels(app: JupyterFrontEnd, bench: Workbench, restorer: ILayoutRestorer | null): void {
  PANELS.forEach((panel, i) => {
    const widget = ReactWidget.create(
      panel.kinds.length ? <VersionsPanel bench={bench} kinds={panel.kinds} title={panel.title} /> : <RunsPanel bench={bench} />
    );
    widget.id = panel.id;
    widget.addClass('llm-side');
    widget.title.icon = panel.icon;
    const name = (): void => {
      widget.title.caption = bench.t(panel.title);
    };
    name();
    bench.translator.changed.connect(name);
    app.shell.add(widget, 'left', { rank: 310 + i, type: 'LLMOps' });
    restorer?.add(widget, panel.id);
  });
}
