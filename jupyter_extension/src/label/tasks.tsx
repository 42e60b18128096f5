/** The tasks of the desk: choosing a class, choosing a side, correcting a text. Dialogues have a file of their own. */
import React, { useRef } from 'react';
import { Conversation, Tools } from '../messages';
import { Workbench } from '../tokens';
import { Dialogue } from './dialogue';
import { diff } from './diff';
import { KeyButton, useKeys } from './keys';
import { Draft, Item, lines, pick, Settings } from './model';

export interface TaskProps {
  bench: Workbench;
  item: Item;
  settings: Settings;
  draft: Draft;
  onDraft: (part: Partial<Draft>) => void;
  /** Save and go on; a single choice does so at once where the person wants that. */
  onSave: () => void;
  atOnce: boolean;
}

const LETTERS = 'qweryiopdfghjklzxcvb';

/** The key of the n-th choice: digits first, then letters that mean nothing else. */
export const keyOf = (n: number): string => (n < 9 ? String(n + 1) : LETTERS[n - 9] ?? '');

function Shown(props: { item: Item }): JSX.Element | null {
  const shown = Object.entries(props.item.shown ?? {});
  return shown.length ? (
    <dl className="llm-facts llm-shown">
      {shown.map(([k, v]) => (
        <React.Fragment key={k}>
          <dt>{k}</dt>
          <dd className="llm-text" dir="auto">{typeof v === 'string' ? v : JSON.stringify(v)}</dd>
        </React.Fragment>
      ))}
    </dl>
  ) : null;
}

function Classification(props: TaskProps): JSX.Element {
  const { bench, item, settings, draft } = props;
  const choose = (one: string): void => {
    const classes = pick(draft.classes, one, settings.multi);
    props.onDraft({ classes });
    if (!settings.multi && props.atOnce && classes.length) {
      props.onSave();
    }
  };
  useKeys('task', settings.classes.slice(0, 9 + LETTERS.length).map((c, i) => ({ key: keyOf(i), does: c, run: () => choose(c) })));
  const { messages, text } = item.content;
  return (
    <>
      {messages ? <Conversation bench={bench} messages={messages} /> : <div className="llm-text llm-big" dir="auto">{text ?? ''}</div>}
      <Shown item={item} />
      <div className="llm-choices" role={settings.multi ? 'group' : 'radiogroup'} aria-label={bench.t('Classes')}>
        {settings.classes.map((c, i) => (
          <KeyButton
            key={c}
            of={keyOf(i)}
            label={c}
            action={`class:${c}`}
            pressed={!!draft.classes?.includes(c)}
            className={draft.classes?.includes(c) ? 'llm-on' : ''}
            run={() => choose(c)}
          />
        ))}
      </div>
    </>
  );
}

const CHOICES: { choice: string; title: string }[] = [
  { choice: 'A', title: 'A is better' },
  { choice: 'B', title: 'B is better' },
  { choice: 'tie', title: 'Both are alike' },
  { choice: 'neither', title: 'Both are bad' }
];

const HOW_MUCH: { rating: number; title: string }[] = [
  { rating: 1, title: 'slightly' },
  { rating: 2, title: 'clearly' },
  { rating: 3, title: 'by far' }
];

function Preference(props: TaskProps): JSX.Element {
  const { bench, item, draft } = props;
  const { t } = bench;
  const choose = (choice: string): void => {
    props.onDraft({ choice });
    if (props.atOnce) {
      props.onSave();
    }
  };
  const rate = (rating: number): void => props.onDraft({ rating: draft.rating === rating ? undefined : rating });
  useKeys('task', [
    ...CHOICES.map((c, i) => ({ key: String(i + 1), does: t(c.title), run: () => choose(c.choice) })),
    ...HOW_MUCH.map(h => ({ key: `shift+${h.rating}`, does: `${t('How much better')}: ${t(h.title)}`, run: () => rate(h.rating) }))
  ]);
  return (
    <>
      <Tools bench={bench} tools={item.content.tools} />
      {item.content.messages?.length ? <Conversation bench={bench} messages={item.content.messages} /> : null}
      <Shown item={item} />
      <div className="llm-sides">
        {(item.content.sides ?? []).map(side => (
          <div
            key={side.side}
            className={`llm-side-box llm-pick ${draft.choice === side.side ? 'llm-on' : ''}`}
            data-side={side.side}
            role="group"
            aria-label={t('Answer {side}', { side: side.side })}
          >
            <h4>{t('Answer {side}', { side: side.side })}</h4>
            <Conversation bench={bench} messages={side.messages} />
          </div>
        ))}
      </div>
      <div className="llm-choices" role="radiogroup" aria-label={t('Which is better?')}>
        {CHOICES.map((c, i) => (
          <KeyButton
            key={c.choice}
            of={String(i + 1)}
            label={t(c.title)}
            action={`choice:${c.choice}`}
            pressed={draft.choice === c.choice}
            className={draft.choice === c.choice ? 'llm-on' : ''}
            run={() => choose(c.choice)}
          />
        ))}
        <span className="llm-how-much">
          {t('How much better')}
          {HOW_MUCH.map(h => (
            <KeyButton
              key={h.rating}
              of={`shift+${h.rating}`}
              label={t(h.title)}
              action={`much:${h.rating}`}
              pressed={draft.rating === h.rating}
              className={`llm-chip ${draft.rating === h.rating ? 'llm-on' : ''}`}
              run={() => rate(h.rating)}
            />
          ))}
        </span>
      </div>
    </>
  );
}

export function Diff(props: { bench: Workbench; before: string; after: string }): JSX.Element {
  const { t } = props.bench;
  return (
    <div className="llm-text llm-diff" dir="auto" role="group" aria-label={t('What changed')}>
      {diff(props.before, props.after).map((c, i) =>
        c.kind === 'in' ? <ins key={i}>{c.text}</ins> : c.kind === 'out' ? <del key={i}>{c.text}</del> : <React.Fragment key={i}>{c.text}</React.Fragment>
      )}
    </div>
  );
}

function Correction(props: TaskProps): JSX.Element {
  const { bench, item, draft } = props;
  const { t } = bench;
  const field = useRef<HTMLTextAreaElement>(null);
  const before = item.content.text ?? '';
  const after = draft.text ?? before;
  const write = (): void => {
    field.current?.focus();
    field.current?.setSelectionRange(after.length, after.length);
  };
  useKeys('task', [
    { key: 'e', does: t('Correct the text'), run: write },
    { key: 'o', does: t('Back to the original'), run: () => props.onDraft({ text: before }) }
  ]);
  return (
    <>
      {item.content.messages?.length ? <Conversation bench={bench} messages={item.content.messages} /> : null}
      <Shown item={item} />
      <div className="llm-correction">
        <label>
          <span>
            {t('Your correction')} <kbd className="llm-kbd">E</kbd>
          </span>
          <textarea
            ref={field}
            className="llm-input"
            dir="auto"
            rows={Math.min(24, Math.max(4, lines(after, 56) + 1))}
            value={after}
            data-field="text"
            onChange={e => props.onDraft({ text: e.target.value })}
          />
        </label>
        <div>
          <span>{after === before ? t('As it is: nothing changed') : t('What changed')}</span>
          <Diff bench={bench} before={before} after={after} />
          {after !== before ? <KeyButton of="o" label={t('Back to the original')} action="original" run={() => props.onDraft({ text: before })} /> : null}
        </div>
      </div>
    </>
  );
}

export function TaskView(props: TaskProps): JSX.Element {
  switch (props.item.task) {
    case 'classification':
      return <Classification {...props} />;
    case 'preference':
      return <Preference {...props} />;
    case 'correction':
      return <Correction {...props} />;
    default:
      return (
        <>
          <Dialogue {...props} />
          <Shown item={props.item} />
        </>
      );
  }
}
