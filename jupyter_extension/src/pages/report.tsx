/** A report, in a frame that can run nothing and reach nothing, below what can be done with it. */
import React from 'react';
import { Actions } from '../actions';
import { Linked, ProblemBox } from '../parts';
import { Workbench } from '../tokens';
import { useLanguage, useLoaded } from '../use';

export function ReportPage(props: { bench: Workbench; name: string }): JSX.Element {
  const { bench, name } = props;
  const lang = useLanguage(bench);
  const run = name.startsWith('run:');
  const loaded = useLoaded(bench, async () => (run ? null : bench.api.version(name, lang)), `${name} ${lang}`, c => c.about.some(a => a === name));
  return (
    <div className="llm-report" data-report={name}>
      <header>
        <Linked bench={bench} text={name} />
        {loaded.data?.subjects.map(s => (
          <span key={s}>
            → <Linked bench={bench} text={s} />
          </span>
        ))}
        {loaded.data ? <Actions bench={bench} data={loaded.data} on="report" /> : null}
      </header>
      {loaded.error ? <ProblemBox bench={bench} problem={loaded.error} onRetry={loaded.reload} /> : null}
      <iframe sandbox="" referrerPolicy="no-referrer" title={name} src={bench.api.reportUrl(name, lang)} />
    </div>
  );
}
