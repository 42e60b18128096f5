/** A page with the form of a template or of a verb; it starts the run and opens it. */
import React, { useEffect, useState } from 'react';
import { convert, initial, Values } from '../convert';
import { Form } from '../form';
import { formIcon } from '../icons';
import { Empty, ProblemBox } from '../parts';
import { Json, Param, Problem } from '../schema';
import { List } from '../table';
import { Workbench } from '../tokens';
import { problemOf, useLanguage, useLoaded } from '../use';

interface Startable {
  name: string;
  title: string;
  doc: string;
  params: Param[];
}

async function startable(bench: Workbench, what: 'template' | 'verb'): Promise<Startable[]> {
  if (what === 'template') {
    return (await bench.api.templates()).items;
  }
  return (await bench.api.schema()).verbs.map(v => ({ ...v, title: v.name }));
}

function Filled(props: { bench: Workbench; what: 'template' | 'verb'; it: Startable; preset: { [name: string]: Json } }): JSX.Element {
  const { bench, what, it } = props;
  const [values, setValues] = useState<Values>(() => initial(it.params, props.preset));
  const [errors, setErrors] = useState<{ [name: string]: string }>({});
  const [problem, setProblem] = useState<Problem | null>(null);
  const [busy, setBusy] = useState(false);
  const [done, setDone] = useState('');
  const submit = async (event: React.FormEvent): Promise<void> => {
    event.preventDefault();
    const { args, errors } = convert(it.params, values);
    setErrors(errors);
    setProblem(null);
    if (Object.keys(errors).length) {
      return;
    }
    setBusy(true);
    try {
      const started = await (what === 'template' ? bench.api.runTemplate(it.name, args) : bench.api.call(it.name, args));
      bench.live.touch();
      setDone(started.run);
      if (started.run) {
        bench.go.run(started.run);
      }
    } catch (e) {
      setProblem(problemOf(e));
    } finally {
      setBusy(false);
    }
  };
  return (
    <form onSubmit={e => void submit(e)} noValidate>
      <Form bench={bench} params={it.params} values={values} errors={errors} onChange={setValues} />
      {problem ? <ProblemBox bench={bench} problem={problem} /> : null}
      <div className="llm-buttons">
        {done ? (
          <button type="button" className="llm-button" onClick={() => bench.go.run(done)}>
            {bench.t('Show the run')}
          </button>
        ) : null}
        <button type="submit" className="llm-button llm-primary" data-action="run" disabled={busy}>
          {bench.t('Run')}
        </button>
      </div>
    </form>
  );
}

export function FormPage(props: {
  bench: Workbench;
  what: 'template' | 'verb';
  name: string;
  preset: { [name: string]: Json };
}): JSX.Element {
  const { bench, what } = props;
  const { t } = bench;
  useLanguage(bench);
  const [name, setName] = useState(props.name);
  useEffect(() => setName(props.name), [props.name]);
  const loaded = useLoaded(bench, () => startable(bench, what), what, () => false);
  const items = loaded.data ?? [];
  const it = items.find(i => i.name === name);
  return (
    <div className="llm-page llm-form-page" data-form={name}>
      <header className="llm-title">
        <formIcon.react tag="span" className="llm-title-icon" />
        <h1>{it ? bench.translator.about(it.title, it.doc).title : t('New run')}</h1>
        {it ? <span className="llm-kind-name">{t(what)}</span> : null}
      </header>
      {loaded.error ? <ProblemBox bench={bench} problem={loaded.error} onRetry={loaded.reload} /> : null}
      {it ? (
        <>
          <p>{bench.translator.about(it.title, it.doc).doc}</p>
          <Filled key={it.name} bench={bench} what={what} it={it} preset={props.preset} />
        </>
      ) : loaded.loading ? (
        <p>{t('Loading…')}</p>
      ) : items.length ? (
        <List
          rows={items}
          id={i => i.name}
          label={t('Templates')}
          onOpen={i => setName(i.name)}
          row={i => (
            <>
              <span className="llm-row-top">
                <span className="llm-name">{bench.translator.about(i.title, i.doc).title}</span>
              </span>
              <span className="llm-row-under">{bench.translator.about(i.title, i.doc).doc}</span>
            </>
          )}
        />
      ) : (
        <Empty icon={formIcon} text={t('No template yet. A notebook with a cell tagged "parameters" is one:')} command="llmops add template:NAME NOTEBOOK.ipynb" />
      )}
    </div>
  );
}
