/** The page of a run, live: how far it is, its curves, its cells, what it read and wrote. */
import React, { useEffect, useState } from 'react';
import { problemOf, useLanguage, useLoaded } from '../use';
import { Curves } from '../curves';
import { ago, duration } from '../format';
import { runIcon } from '../icons';
import { Bar, Linked, ProblemBox, Section, Status, Value } from '../parts';
import { Problem, RunPage as Data } from '../schema';
import { Table } from '../table';
import { Workbench } from '../tokens';

function Refs(props: { bench: Workbench; refs: string[] }): JSX.Element {
  return (
    <>
      {props.refs.length
        ? props.refs.map(r => (
            <span key={r} className="llm-pair">
              <Linked bench={props.bench} text={r} />
            </span>
          ))
        : '–'}
    </>
  );
}

function Clock(props: { from: string; to: string | null }): JSX.Element {
  const [, tick] = useState(0);
  useEffect(() => {
    if (props.to) {
      return;
    }
    const timer = window.setInterval(() => tick(n => n + 1), 1000);
    return () => window.clearInterval(timer);
  }, [props.to]);
  return <>{duration(props.from, props.to)}</>;
}

function Cells(props: { bench: Workbench; data: Data }): JSX.Element {
  const { t } = props.bench;
  return (
    <Table
      label={t('Cells')}
      rows={props.data.cells}
      id={c => String(c.index)}
      columns={[
        { title: '#', cell: c => c.index + 1, numeric: true },
        { title: t('Status'), cell: c => <Status bench={props.bench} status={c.status} /> },
        { title: t('Source'), cell: c => <pre className="llm-cell">{c.source}</pre> },
        { title: t('Seconds'), cell: c => (c.seconds === null ? '' : c.seconds.toFixed(1)), numeric: true }
      ]}
    />
  );
}

export function RunPage(props: { bench: Workbench; id: string }): JSX.Element {
  const { bench, id } = props;
  const { t } = bench;
  useLanguage(bench);
  const [problem, setProblem] = useState<Problem | null>(null);
  const loaded = useLoaded(bench, () => bench.api.run(id), id, c => !c.about.length || c.about.some(a => a.startsWith('run:')));
  const data = loaded.data;
  if (!data) {
    return <div className="llm-page">{loaded.error ? <ProblemBox bench={bench} problem={loaded.error} onRetry={loaded.reload} /> : <p>{t('Loading…')}</p>}</div>;
  }
  const { run } = data;
  const stop = (): void => {
    bench.api.stop(id).then(
      () => bench.live.touch(),
      e => setProblem(problemOf(e))
    );
  };
  return (
    <div className="llm-page" data-run={run.id} data-status={run.status}>
      <header className="llm-title">
        <runIcon.react tag="span" className="llm-title-icon" />
        <h1>{run.title}</h1>
        <span className="llm-kind-name">{t('run')}</span>
        <Status bench={bench} status={run.status} />
        <span className="llm-clock">
          <Clock from={run.started} to={run.ended} />
        </span>
      </header>
      <div className="llm-actions">
        {data.page && (run.verb === 'run_template' || !data.page.startsWith('run:')) ? (
          <button className="llm-button llm-primary" data-action="report" onClick={() => bench.go.report(data.page)}>
            {t(data.page.startsWith('run:') ? 'Open notebook' : 'Open report')}
          </button>
        ) : null}
        {run.verb === 'label' && data.writes.length ? (
          <button className="llm-button llm-primary" data-action="label" onClick={() => bench.go.label(data.writes[0])}>
            {t('Label')}
          </button>
        ) : null}
        {data.can_stop ? (
          <button className="llm-button llm-danger" data-action="stop" onClick={stop}>
            {t('Stop')}
          </button>
        ) : null}
        {run.parent ? (
          <button className="llm-button" onClick={() => bench.go.run(run.parent)}>
            {t('Part of another run')}
          </button>
        ) : null}
      </div>
      {run.status === 'running' || run.status === 'waiting' ? (
        <div className="llm-progress" aria-live="polite">
          <Bar value={run.progress} label={run.title} />
          <span>
            {run.message} {run.progress === null ? '' : `${Math.round(run.progress * 100)} %`}
          </span>
        </div>
      ) : null}
      {problem ? <ProblemBox bench={bench} problem={problem} /> : null}
      {data.error ? <ProblemBox bench={bench} problem={{ message: data.error, code: 'failed', next: '' }} /> : null}
      {data.series.length ? (
        <Section title={t('Metrics')}>
          <Curves series={data.series} />
        </Section>
      ) : null}
      {data.result !== null ? (
        <Section title={t('Result')}>
          {typeof data.result === 'object' && JSON.stringify(data.result).length > 600 ? (
            <pre className="llm-card">{JSON.stringify(data.result, null, 2)}</pre>
          ) : (
            <Value bench={bench} value={data.result} />
          )}
        </Section>
      ) : null}
      <Section title={t('What it is')}>
        <dl className="llm-facts">
          <dt>{t('Started')}</dt>
          <dd title={run.started}>{ago(run.started, bench.translator.language)}</dd>
          <dt>{t('by')}</dt>
          <dd>{run.by || '–'}</dd>
          <dt>{t('Read')}</dt>
          <dd>
            <Refs bench={bench} refs={data.reads} />
          </dd>
          <dt>{t('Wrote')}</dt>
          <dd className="llm-wrote">
            <Refs bench={bench} refs={data.writes} />
          </dd>
          {Object.entries(data.args).map(([key, value]) => (
            <React.Fragment key={key}>
              <dt>{key}</dt>
              <dd>
                <Value bench={bench} value={value} />
              </dd>
            </React.Fragment>
          ))}
        </dl>
      </Section>
      {data.children.length ? (
        <Section title={t('Steps')} count={data.children.length}>
          <Table
            label={t('Steps')}
            rows={data.children}
            id={r => r.id}
            columns={[
              { title: t('Run'), cell: r => <button className="llm-link" onClick={() => bench.go.run(r.id)}>{r.title}</button> },
              { title: t('Status'), cell: r => <Status bench={bench} status={r.status} /> },
              { title: t('Message'), cell: r => r.message },
              { title: t('Time'), cell: r => <Clock from={r.started} to={r.ended} />, numeric: true }
            ]}
          />
        </Section>
      ) : null}
      {data.cells.length ? (
        <Section title={t('Cells')} count={data.cells.length}>
          <Cells bench={bench} data={data} />
        </Section>
      ) : null}
    </div>
  );
}
