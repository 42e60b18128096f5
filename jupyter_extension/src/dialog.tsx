/** A verb that is done at once, asked for in a dialog: alias, approve, reject, archive, roll back. */
import { Notification } from '@jupyterlab/apputils';
import React, { useEffect, useRef, useState } from 'react';
import { convert, initial, Values } from './convert';
import { Form } from './form';
import { ProblemBox } from './parts';
import { Json, Problem, Started, Verb } from './schema';
import { Workbench } from './tokens';
import { problemOf } from './use';

export function VerbDialog(props: {
  bench: Workbench;
  verb: Verb;
  title: string;
  /** Arguments that are settled already; they are shown above the form and not asked for. */
  fixed: { [name: string]: Json };
  preset?: { [name: string]: Json };
  onClose: (done: Started | null) => void;
}): JSX.Element {
  const { bench, verb, fixed } = props;
  const asked = verb.params.filter(p => !(p.name in fixed));
  const dialog = useRef<HTMLDialogElement>(null);
  const [values, setValues] = useState<Values>(() => initial(asked, props.preset));
  const [errors, setErrors] = useState<{ [name: string]: string }>({});
  const [problem, setProblem] = useState<Problem | null>(null);
  const [busy, setBusy] = useState(false);
  useEffect(() => {
    dialog.current?.showModal();
    dialog.current?.querySelector<HTMLElement>('.llm-form input, .llm-form textarea, .llm-form select')?.focus();
  }, []);
  const submit = async (event: React.FormEvent): Promise<void> => {
    event.preventDefault();
    const { args, errors } = convert(asked, values);
    setErrors(errors);
    if (Object.keys(errors).length) {
      return;
    }
    setBusy(true);
    setProblem(null);
    try {
      const done = await bench.api.call(verb.name, { ...fixed, ...args });
      Notification.success(`${props.title}: ${Object.values(fixed).join(' ')}`, { autoClose: 3000 });
      bench.live.touch();
      props.onClose(done);
    } catch (e) {
      setProblem(problemOf(e));
      setBusy(false);
    }
  };
  return (
    <dialog
      ref={dialog}
      className="llm-dialog"
      aria-label={props.title}
      data-lm-suppress-shortcuts="true"
      onCancel={() => props.onClose(null)}
    >
      <form onSubmit={e => void submit(e)} noValidate>
        <h2>{props.title}</h2>
        <p className="llm-fixed">
          <code>{Object.values(fixed).join(' ')}</code>
        </p>
        <p className="llm-hint">{bench.t(verb.doc)}</p>
        <Form bench={bench} params={asked} values={values} errors={errors} onChange={setValues} />
        {problem ? <ProblemBox bench={bench} problem={problem} /> : null}
        <div className="llm-buttons">
          <button type="button" className="llm-button" onClick={() => props.onClose(null)}>
            {bench.t('Cancel')}
          </button>
          <button type="submit" className="llm-button llm-primary" disabled={busy}>
            {props.title}
          </button>
        </div>
      </form>
    </dialog>
  );
}
