/** The page of a run, live: how far it is, its curves, its cells, what it read and wrote. */
import React, { useEffect, useState } from 'react';
import { problemOf, useLanguage, useLoaded } from '../use';
import { Curves } from '../curves';
import { ago, duration, number, size } from '../format';
import { runIcon } from '../icons';
import { Bar, Linked, ProblemBox, Section, Status, Value } from '../parts';
import { CheckpointRow, Problem, RunPage as Data, SampleRow, Training } from '../schema';
import { Table } from '../table';
import { Workbench } from '../tokens';
import { parted } from '../zherrors';

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

/** Samples, a prompt at a time, the newest first. */
function Samples(props: { bench: Workbench; rows: SampleRow[] }): JSX.Element {
  const { t } = props.bench;
  const prompts = [...new Set(props.rows.map(r => r.prompt))].slice(0, 4);
  return (
    <>
      {prompts.map(p => (
        <div key={p} className="llm-sample">
          <pre className="llm-asked">{p.replace(/<\|[^|>]{1,40}\|>/g, ' ').replace(/\s+/g, ' ').trim()}</pre>
          <dl>
            {props.rows
              .filter(r => r.prompt === p)
              .slice(-4)
              .reverse()
              .map(r => (
                <React.Fragment key={r.step}>
                  <dt>{t('step {n}', { n: r.step })}</dt>
                  <dd>
                    <pre>{r.text || '–'}</pre>
                  </dd>
                </React.Fragment>
              ))}
          </dl>
        </div>
      ))}
    </>
  );
}

/** What only a training has: its curves first, then checkpoints and samples. */
function TrainingView(props: { bench: Workbench; it: Training; open: (id: string) => void }): JSX.Element {
  const { bench, it } = props;
  const { t } = bench;
  return (
    <>
      {it.notes.map(n => (
        <p key={n} className="llm-note">
          {n}
        </p>
      ))}
      {it.resumes || it.resumed ? (
        <p className="llm-note">
          {it.resumes ? (
            <button className="llm-link" data-resumes={it.resumes} onClick={() => props.open(it.resumes)}>
              {t('Went on from an earlier run')}
            </button>
          ) : null}{' '}
          {it.resumed ? (
            <button className="llm-link" data-resumed={it.resumed} onClick={() => props.open(it.resumed)}>
              {t('Went on in another run')}
            </button>
          ) : null}
        </p>
      ) : null}
      {it.checkpoints.length ? (
        <Section title={t('Checkpoints')} count={it.checkpoints.length}>
          <Table
            label={t('Checkpoints')}
            rows={it.checkpoints}
            id={c => `${c.run}-${c.step}`}
            columns={[
              { title: t('Step'), cell: c => (c.total ? `${c.step} / ${c.total}` : c.step), numeric: true },
              ...(it.checkpoints.some(c => c.reward !== null) ? [{ title: t('reward'), cell: (c: CheckpointRow) => (c.reward === null ? '' : number(c.reward)), numeric: true }] : []),
              { title: t('Loss'), cell: c => (c.loss === null ? '' : number(c.loss)), numeric: true },
              { title: t('Evaluation loss'), cell: c => (c.eval_loss === null ? '' : number(c.eval_loss)), numeric: true },
              { title: t('Size'), cell: c => size(c.bytes), numeric: true },
              { title: '', cell: c => (c.best ? <span className="llm-status llm-good">{t('best')}</span> : null) }
            ]}
          />
        </Section>
      ) : null}
      {it.samples.length ? (
        <Section title={t('Samples')}>
          <Samples bench={bench} rows={it.samples} />
        </Section>
      ) : null}
    </>
  );
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
  const [asked, setAsked] = useState(false);
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
  const train = data.training;
  const pause = (): void => {
    bench.api.call('pause', { id: train?.run ?? id }).then(
      () => (setAsked(true), bench.live.touch()),
      e => setProblem(problemOf(e))
    );
  };
  const resume = (): void => {
    bench.api.call('resume', { id: train?.run ?? id }).then(
      started => (bench.live.touch(), started.run ? bench.go.run(started.run) : undefined),
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
        {train?.can_pause ? (
          <button className="llm-button" data-action="pause" disabled={asked} onClick={pause}>
            {t(asked ? 'Pausing…' : 'Pause')}
          </button>
        ) : null}
        {train?.can_resume ? (
          <button className="llm-button llm-primary" data-action="resume" onClick={resume}>
            {t('Resume')}
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
      {data.error ? <ProblemBox bench={bench} problem={parted(data.error)} /> : null}
      {data.series.length ? (
        <Section title={t('Metrics')}>
          <Curves series={data.series} t={t} />
        </Section>
      ) : null}
      {train ? <TrainingView bench={bench} it={train} open={bench.go.run} /> : null}
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
