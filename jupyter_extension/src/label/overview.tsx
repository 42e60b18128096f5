/** A queue from above: how far everybody is, how well they agree, and what comes after. */
import React, { useState } from 'react';
import { number } from '../format';
import { Bar, ProblemBox, Section } from '../parts';
import { Problem } from '../schema';
import { Table } from '../table';
import { Workbench } from '../tokens';
import { problemOf, useLoaded } from '../use';
import { Agreement, Queue } from './model';
import type { Tab } from './labelling';

const MEASURES: { [measure: string]: { title: string } } = {
  cohen: { title: 'Cohen’s κ' },
  fleiss: { title: 'Fleiss’ κ' },
  krippendorff: { title: 'Krippendorff’s α' },
  percent: { title: 'Same answer' }
};

/** Percentages come as such, from 0 to 100; the other measures end at 1. */
function tone(row: Agreement): string {
  const value = row.value === null ? null : row.measure === 'percent' ? row.value / 100 : row.value;
  return value === null ? 'plain' : value >= 0.6 ? 'good' : value >= 0.4 ? 'plain' : 'bad';
}

function AgreementTable(props: { bench: Workbench; rows: Agreement[] }): JSX.Element {
  const { bench, rows } = props;
  const { t } = bench;
  const main = rows.filter(r => r.what === 'all');
  const rest = rows.filter(r => r.what !== 'all');
  const figure = (r: Agreement, value: number): string => (r.measure === 'percent' ? `${Math.round(value)} %` : value.toFixed(2));
  const said = (r: Agreement): string => (r.value === null ? '–' : figure(r, r.value));
  const about = (what: string): string => {
    const [kind, ...name] = what.split(':');
    return name.length ? `${t(kind)} ${name.join(':')}` : t(kind);
  };
  return (
    <>
      <div className="llm-tiles">
        {main.map((r, i) => (
          <div key={i} className={`llm-tile llm-${tone(r)}`} title={r.note} data-measure={r.measure}>
            <span className="llm-tile-name">{t(MEASURES[r.measure]?.title ?? r.measure)}</span>
            <b>{said(r)}</b>
            <span className="llm-hint">
              {[r.verdict ? t(r.verdict) : '', typeof r.low === 'number' && typeof r.high === 'number' ? `${figure(r, r.low)} – ${figure(r, r.high)}` : ''].filter(Boolean).join(' · ')}
            </span>
            <span className="llm-hint">{t('{items} items, {n} people', { items: r.items, n: r.annotators })}</span>
          </div>
        ))}
      </div>
      {rest.length ? (
        <Table
          label={t('Agreement')}
          rows={rest}
          id={r => `${r.what} ${r.measure} ${r.level}`}
          columns={[
            { title: t('About'), cell: r => about(r.what) },
            { title: t('Measure'), cell: r => t(MEASURES[r.measure]?.title ?? r.measure) },
            { title: t('Value'), cell: r => said(r), numeric: true },
            { title: t('In words'), cell: r => t(r.verdict || '–') },
            { title: t('Items'), cell: r => r.items, numeric: true }
          ]}
        />
      ) : null}
    </>
  );
}

export function Overview(props: { bench: Workbench; queue: string; who: string; onTab: (tab: Tab) => void }): JSX.Element {
  const { bench, queue } = props;
  const { t } = bench;
  const load = async (): Promise<{ queue: Queue; agreement: Agreement[] }> => {
    const [about, agreement, apart] = await Promise.all([
      bench.api.view('label_queue', { queue }),
      bench.api.view('label_agreement', { queue }),
      bench.api.view('label_disagreements', { queue, annotator: props.who, limit: 1000 })
    ]);
    return { queue: { ...about.rows[0], disagreeing: apart.rows.length } as unknown as Queue, agreement: agreement.rows as unknown as Agreement[] };
  };
  const loaded = useLoaded(bench, load, `overview ${queue}`, c => !c.about.length || c.about.some(a => a.startsWith(queue.split('@')[0])));
  const [problem, setProblem] = useState<Problem | null>(null);
  const finish = (): void => {
    setProblem(null);
    bench.api.call('label_finish', { queue, undo: !!loaded.data?.queue.finished }).then(loaded.reload, e => setProblem(problemOf(e)));
  };
  if (!loaded.data) {
    return loaded.error ? <ProblemBox bench={bench} problem={loaded.error} onRetry={loaded.reload} /> : <p>{t('Loading…')}</p>;
  }
  const { queue: about, agreement } = loaded.data;
  const answered = about.items ? about.labelled / about.items : 0;
  return (
    <div className="llm-overview">
      {loaded.error ? <ProblemBox bench={bench} problem={loaded.error} onRetry={loaded.reload} /> : null}
      <div className="llm-tiles">
        <div className="llm-tile">
          <span className="llm-tile-name">{t('Items with every answer')}</span>
          <b>
            {about.labelled} / {about.items}
          </b>
          <Bar value={answered} label={t('Progress')} />
        </div>
        <div className="llm-tile">
          <span className="llm-tile-name">{t('Answers for an item')}</span>
          <b>{about.overlap}</b>
          <span className="llm-hint">{t('overlap')}</span>
        </div>
        <button type="button" className={`llm-tile ${about.disagreeing ? 'llm-bad' : 'llm-good'}`} data-action="disagreements" onClick={() => props.onTab('disagreements')}>
          <span className="llm-tile-name">{t('Disagreements')}</span>
          <b>{about.disagreeing}</b>
          <span className="llm-hint">{t(about.disagreeing ? 'Look at them' : 'None is open')}</span>
        </button>
      </div>
      <Section title={t('People')} count={about.by_annotator.length}>
        <Table
          label={t('People')}
          rows={about.by_annotator}
          id={r => r.annotator}
          columns={[
            { title: t('Who'), cell: r => (r.annotator === props.who ? <b>{r.annotator}</b> : r.annotator) },
            { title: t('Progress'), cell: r => <Bar value={r.total ? (r.done + r.skipped) / r.total : 0} label={r.annotator} /> },
            { title: t('Assigned'), cell: r => r.total, numeric: true },
            { title: t('Done'), cell: r => r.done, numeric: true },
            { title: t('Skipped'), cell: r => r.skipped, numeric: true },
            { title: t('Open'), cell: r => r.open, numeric: true },
            { title: t('Seconds an item'), cell: r => (r.seconds === null || r.seconds === undefined ? '–' : number(r.seconds)), numeric: true }
          ]}
        />
      </Section>
      <Section title={t('Agreement')}>
        {agreement.length ? <AgreementTable bench={bench} rows={agreement} /> : <p className="llm-hint">{t('Two people must answer the same items before their agreement can be measured.')}</p>}
      </Section>
      <div className="llm-actions llm-after">
        <button type="button" className="llm-button llm-primary" data-action="collect" onClick={() => bench.go.form('verb', 'collect', { queue })}>
          {t('Make a dataset of the answers')}
        </button>
        <button type="button" className="llm-button" onClick={() => bench.go.version(about.queue)}>
          {t('Open the dataset')}
        </button>
        {about.annotators.length ? (
          <button type="button" className="llm-button" data-action="hand" onClick={() => bench.go.form('verb', 'label_hand', { queue })}>
            {t('Hand items over')}
          </button>
        ) : null}
        <button type="button" className="llm-button" data-action="finish" onClick={finish}>
          {t(about.finished ? 'Open it again' : 'Take no more answers')}
        </button>
        {problem ? <ProblemBox bench={bench} problem={problem} /> : null}
        {about.finished ? <span className="llm-status llm-good">{t('finished queue')}</span> : null}
      </div>
    </div>
  );
}
