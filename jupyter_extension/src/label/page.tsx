/** The tab for labelling: the desk of a queue; the queues where none was named; for another dataset a way to make one. */
import React from 'react';
import { labelIcon } from '../icons';
import { isRow } from '../messages';
import { Bar, Empty, ProblemBox } from '../parts';
import { List } from '../table';
import { Workbench } from '../tokens';
import { useLanguage, useLoaded } from '../use';
import { Labelling } from './labelling';
import { Queue, titleOf } from './model';

function Queues(props: { bench: Workbench; source: string; onOpen: (queue: string) => void }): JSX.Element {
  const { bench, source } = props;
  const { t } = bench;
  const load = async (): Promise<Queue[]> => ((await bench.api.view('labelling')).rows as unknown as Queue[]).reverse();
  const loaded = useLoaded(bench, load, 'queues', c => !c.about.length || c.about.some(a => a.startsWith('dataset:')));
  const base = source.split('@')[0];
  const queues = (loaded.data ?? []).filter(q => !source || q.queue.split('@')[0] === base || (q.source ?? '').split('@')[0] === base);
  return (
    <div className="llm-page llm-queues">
      <header className="llm-title">
        <labelIcon.react tag="span" className="llm-title-icon" />
        <h1>{t('Label data')}</h1>
        {source ? <code>{source}</code> : null}
        <button type="button" className="llm-button llm-primary" data-action="label" onClick={() => bench.go.form('verb', 'label', source ? { ref: source } : {})}>
          {t('New queue')}
        </button>
      </header>
      {loaded.error ? <ProblemBox bench={bench} problem={loaded.error} onRetry={loaded.reload} /> : null}
      {queues.length ? (
        <List
          rows={queues}
          id={q => q.queue}
          label={t('Queues')}
          onOpen={q => props.onOpen(q.queue)}
          row={q => (
            <>
              <span className="llm-row-top">
                <span className="llm-name">{titleOf(t, q.title, q.queue)}</span>
                <span className="llm-alias">{t(q.task)}</span>
                {q.finished ? <span className="llm-status llm-good">{t('finished queue')}</span> : null}
              </span>
              <Bar value={q.items ? q.labelled / q.items : 0} label={q.queue} />
              <span className="llm-row-under">
                {q.queue} · {t('{done} of {total} done', { done: q.labelled, total: q.items })}
                {q.disagreeing ? ` · ${t('{n} disagreements', { n: q.disagreeing })}` : ''}
              </span>
            </>
          )}
        />
      ) : loaded.loading || loaded.error ? null : (
        <Empty icon={labelIcon} text={t('No labelling queue yet. Make one from a dataset, here or with:')} command={`llmops data label ${source || 'dataset:NAME'}`} />
      )}
    </div>
  );
}

export function LabelPage(props: { bench: Workbench; refText: string }): JSX.Element {
  const { bench, refText } = props;
  useLanguage(bench);
  const load = async (): Promise<string> => {
    if (!refText) {
      return '';
    }
    const { body, version } = await bench.api.version(refText, bench.translator.language);
    return isRow(body.labelling) && body.labelling.task ? version.ref : '';
  };
  const loaded = useLoaded(bench, load, `queue? ${refText}`, () => false);
  if (loaded.error) {
    return <div className="llm-page"><ProblemBox bench={bench} problem={loaded.error} onRetry={loaded.reload} /></div>;
  }
  if (loaded.loading) {
    return <div className="llm-page"><p>{bench.t('Loading…')}</p></div>;
  }
  return loaded.data ? (
    <div className="llm-page llm-label-page">
      <Labelling bench={bench} queue={loaded.data} />
    </div>
  ) : (
    <Queues bench={bench} source={refText} onOpen={queue => bench.go.label(queue)} />
  );
}
