/** The labelling desk as an output of a notebook. */
import { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { ReactWidget } from '@jupyterlab/ui-components';
import React from 'react';
import { Workbench } from '../tokens';
import { Labelling } from './labelling';
import { queueOf } from './model';

export const LABEL_MIME = 'application/vnd.llmops.label+json';

export class LabelOutput extends ReactWidget implements IRenderMime.IRenderer {
  constructor(private bench: Workbench) {
    super();
    this.addClass('llm-content');
    this.addClass('llm-output');
  }
  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    this._queue = queueOf(model.data[LABEL_MIME]);
    this.update();
    await this.renderPromise;
  }
  protected render(): JSX.Element {
    return this._queue ? <Labelling bench={this.bench} queue={this._queue} /> : <p>{this.bench.t('This output names no labelling queue.')}</p>;
  }
  private _queue = '';
}

export function labelFactory(bench: Workbench): IRenderMime.IRendererFactory {
  // Safe: what the output holds is the name of a queue; everything shown comes from the store, as text.
  return { safe: true, mimeTypes: [LABEL_MIME], defaultRank: 10, createRenderer: () => new LabelOutput(bench) };
}
