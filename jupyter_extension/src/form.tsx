/** A form made from the parameters of a verb or a template. */
import React, { useEffect, useId, useState } from 'react';
import { groups, touched, Values } from './convert';
import { Param } from './schema';
import { Workbench } from './tokens';

/** Types whose fields stand side by side. */
const NARROW = ['int', 'float', 'bool', 'choice'];

interface FieldProps {
  bench: Workbench;
  param: Param;
  value: string | boolean;
  error: string;
  onChange: (value: string | boolean) => void;
}

/** A ref: free text, with what the store has offered below it. */
function RefInput(props: FieldProps & { id: string }): JSX.Element {
  const { bench, param } = props;
  const [known, setKnown] = useState<string[]>([]);
  const list = useId();
  const kind = param.name === 'recipe' ? 'template' : param.kind.split(',')[0];
  useEffect(() => {
    let here = true;
    bench.api.versions({ kind, limit: 100 }).then(
      list => here && setKnown(list.items.map(v => v.ref)),
      () => undefined
    );
    return () => {
      here = false;
    };
  }, [bench, kind]);
  return (
    <>
      <input
        id={props.id}
        className="llm-input"
        list={list}
        value={String(props.value)}
        placeholder={`${kind || 'dataset'}:${bench.t('name')}@…`}
        aria-invalid={!!props.error}
        autoComplete="off"
        spellCheck={false}
        onChange={e => props.onChange(e.target.value)}
      />
      <datalist id={list}>
        {known.map(ref => (
          <option key={ref} value={ref} />
        ))}
      </datalist>
    </>
  );
}

function Input(props: FieldProps & { id: string }): JSX.Element {
  const { param, value, id, onChange } = props;
  if (typeof value === 'boolean') {
    return <input id={id} type="checkbox" checked={value} onChange={e => onChange(e.target.checked)} />;
  }
  if (param.choices.length) {
    return (
      <select id={id} className="llm-input" value={value} onChange={e => onChange(e.target.value)} aria-invalid={!!props.error}>
        {value === '' || !param.required ? <option value="">–</option> : null}
        {param.choices.map(c => (
          <option key={String(c)} value={String(c)}>
            {String(c)}
          </option>
        ))}
      </select>
    );
  }
  if (param.type === 'ref' || param.name === 'recipe') {
    return <RefInput {...props} />;
  }
  const long = param.name === 'note' || param.name === 'reason' || param.name === 'instructions' || param.type === 'json' || (param.type === 'path' && param.many);
  const shared = {
    id,
    className: 'llm-input',
    value,
    spellCheck: false,
    'aria-invalid': !!props.error,
    onChange: (e: React.ChangeEvent<HTMLInputElement | HTMLTextAreaElement>) => onChange(e.target.value)
  };
  return long ? <textarea rows={2} {...shared} /> : <input type="text" inputMode={(param.type === 'int' || param.type === 'float') ? 'decimal' : 'text'} autoComplete="off" {...shared} />;
}

function Field(props: FieldProps): JSX.Element {
  const { bench, param } = props;
  const id = useId();
  const check = typeof props.value === 'boolean';
  return (
    <div className={`llm-field ${check ? 'llm-check' : ''} ${NARROW.includes(param.type) ? '' : 'llm-wide'}`} data-param={param.name}>
      <label htmlFor={id}>
        {param.name}
        {param.required ? <span className="llm-must" title={bench.t('Needed')}> *</span> : null}
      </label>
      <Input {...props} id={id} />
      {param.doc ? <div className="llm-hint">{bench.t(param.doc)}</div> : null}
      {props.error ? (
        <div className="llm-wrong" role="alert">
          {bench.t(props.error)}
        </div>
      ) : null}
    </div>
  );
}

interface FormProps {
  bench: Workbench;
  params: Param[];
  values: Values;
  errors: { [name: string]: string };
  onChange: (values: Values) => void;
}

function Fields(props: FormProps): JSX.Element {
  return (
    <>
      {props.params.map(param => (
        <Field
          key={param.name}
          bench={props.bench}
          param={param}
          value={props.values[param.name] ?? ''}
          error={props.errors[param.name] ?? ''}
          onChange={value => props.onChange({ ...props.values, [param.name]: value })}
        />
      ))}
    </>
  );
}

function Group(props: FormProps & { name: string; first: boolean }): JSX.Element {
  const { bench, name, params, values, errors } = props;
  const wrong = params.some(p => errors[p.name]);
  const [open, setOpen] = useState(props.first || touched(params, values) > 0);
  const shown = open || wrong;
  const changed = touched(params, values);
  return (
    <details className="llm-group" data-group={name} open={shown} onToggle={e => setOpen((e.target as HTMLDetailsElement).open)}>
      <summary>
        {bench.t(name)}
        <span className="llm-count">{changed ? bench.t('{n} changed', { n: changed }) : params.length}</span>
      </summary>
      <div className="llm-form">{shown ? <Fields {...props} /> : null}</div>
    </details>
  );
}

export function Form(props: FormProps): JSX.Element {
  const all = groups(props.params);
  const own = all.filter(g => !g.name);
  const shared = all.filter(g => g.name);
  return (
    <div data-lm-suppress-shortcuts="true">
      <div className="llm-form">{own.map(g => <Fields key="" {...props} params={g.params} />)}</div>
      {shared.map((g, i) => (
        <Group key={g.name} {...props} name={g.name} params={g.params} first={i === 0} />
      ))}
    </div>
  );
}
