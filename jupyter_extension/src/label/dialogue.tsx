/** A dialogue on the desk: turns are edited in place and marked, the whole is rated and tagged. */
import React, { useLayoutEffect, useRef, useState } from 'react';
import { roleClass, ToolCalls, Tools, Content } from '../messages';
import { KeyButton, Kbd, useKeys } from './keys';
import { Marked, SpanList } from './marked';
import { lines, Message, pick, plainText, Span } from './model';
import { toggle } from './spans';
import { Diff, TaskProps } from './tasks';

function Editor(props: { label: string; text: string; onText: (text: string) => void; onDone: () => void }): JSX.Element {
  const field = useRef<HTMLTextAreaElement>(null);
  useLayoutEffect(() => {
    const it = field.current;
    it?.focus();
    it?.setSelectionRange(it.value.length, it.value.length);
  }, []);
  return (
    <textarea
      ref={field}
      className="llm-input"
      dir="auto"
      aria-label={props.label}
      data-field="turn"
      rows={Math.min(16, Math.max(2, lines(props.text, 110) + 1))}
      value={props.text}
      onChange={e => props.onText(e.target.value)}
      onKeyDown={e => {
        if (e.key === 'Escape') {
          e.stopPropagation();
          props.onDone();
        }
      }}
    />
  );
}

export function Dialogue(props: TaskProps): JSX.Element {
  const { bench, item, settings, draft } = props;
  const { t } = bench;
  const original = item.content.messages ?? [];
  const now = draft.messages ?? original;
  const spans = draft.spans ?? [];
  const lastAnswer = original.map(m => m.role).lastIndexOf('assistant');
  const [at, setAt] = useState(Math.max(0, lastAnswer));
  const [editing, setEditing] = useState(false);
  const [marking, setMarking] = useState(false);
  const box = useRef<HTMLDivElement>(null);

  const focus = (turn: number): void => {
    const to = Math.min(original.length - 1, Math.max(0, turn));
    setAt(to);
    setEditing(false);
    setMarking(false);
    box.current?.querySelectorAll('.llm-turn')[to]?.scrollIntoView({ block: 'nearest' });
  };
  const write = (turn: number, content: string): void => {
    const messages: Message[] = now.map((m, i) => (i === turn ? { ...m, content } : m));
    props.onDraft({ messages: JSON.stringify(messages) === JSON.stringify(original) ? undefined : messages });
  };
  const edit = (turn: number): void => {
    if (plainText(now[turn]) !== null) {
      setAt(turn);
      setMarking(false);
      setEditing(true);
    }
  };
  const leave = (): void => {
    setEditing(false);
    setMarking(false);
    box.current?.closest<HTMLElement>('.llm-desk')?.focus();
  };
  const mark = (span: Span): void => props.onDraft({ spans: toggle(spans, span) });
  const rate = (rating: number): void => props.onDraft({ rating: draft.rating === rating ? undefined : rating });
  const ratings = Array.from({ length: Math.min(10, settings.scale) }, (_, i) => i + 1);
  useKeys('task', [
    { key: 'arrowdown', does: t('The next turn'), run: () => focus(at + 1) },
    { key: 'arrowup', does: t('The turn before'), run: () => focus(at - 1) },
    { key: 'e', does: t('Edit this turn'), run: () => edit(at) },
    ...(settings.spans.length ? [{ key: 'm', does: t('Mark in this turn'), run: () => plainText(original[at]) !== null && setMarking(true) }] : []),
    ...ratings.map(r => ({ key: r === 10 ? '0' : String(r), does: t('Rate {n} of {scale}', { n: r, scale: settings.scale }), run: () => rate(r) })),
    ...settings.tags.slice(0, 9).map((tag, i) => ({ key: `shift+${i + 1}`, does: t('Tag: {tag}', { tag }), run: () => props.onDraft({ tags: pick(draft.tags, tag, true) }) })),
    ...(editing ? [{ key: 'escape', does: t('Done with editing'), run: leave, writing: true }] : [])
  ]);
  return (
    <div ref={box} className="llm-task">
      <Tools bench={bench} tools={item.content.tools} />
      <div className="llm-conversation">
        {original.map((message, i) => {
          const text = plainText(now[i] ?? message);
          const before = plainText(message);
          const changed = before !== null && text !== before;
          const here = i === at;
          return (
            <div key={i} className={`${roleClass(message.role)} ${here ? 'llm-here' : ''}`} data-turn={i} aria-current={here ? 'true' : undefined} onClick={() => !here && setAt(i)}>
              <div className="llm-role">
                {t(message.role)}
                {changed ? <span className="llm-alias">{t('edited')}</span> : null}
                {here ? (
                  <span className="llm-turn-tools">
                    {text !== null && !editing ? <KeyButton of="e" label={t('Edit')} action="edit" className="llm-quiet" run={() => edit(i)} /> : null}
                    {settings.spans.length && before !== null && !editing ? <KeyButton of="m" label={t('Mark')} action="mark" className="llm-quiet" run={() => setMarking(!marking)} /> : null}
                    {editing ? <KeyButton of="escape" label={t('Done')} action="edited" className="llm-quiet" run={leave} /> : null}
                    {changed ? (
                      <button type="button" className="llm-button llm-quiet" onClick={() => write(i, before ?? '')}>
                        {t('Back to the original')}
                      </button>
                    ) : null}
                  </span>
                ) : null}
              </div>
              <div className="llm-said">
                {here && editing && text !== null ? <Editor label={t('Edit this turn')} text={text} onText={x => write(i, x)} onDone={leave} /> : null}
                {before === null ? (
                  <Content bench={bench} content={message.content} />
                ) : changed ? (
                  <Diff bench={bench} before={before} after={text ?? ''} />
                ) : here && editing ? null : (
                  <Marked
                    bench={bench}
                    text={before}
                    turn={i}
                    spans={spans.filter(s => s.turn === i)}
                    labels={settings.spans}
                    marking={here && marking}
                    onDone={() => setMarking(false)}
                    onSpan={mark}
                  />
                )}
                <ToolCalls bench={bench} calls={message.tool_calls} />
              </div>
            </div>
          );
        })}
      </div>
      <SpanList bench={bench} spans={spans} labels={settings.spans} onRemove={s => mark(s)} />
      {ratings.length ? (
        <div className="llm-choices" role="radiogroup" aria-label={t('Rating')}>
          <span>{t('Rating')}</span>
          {ratings.map(r => (
            <button
              key={r}
              type="button"
              className={`llm-button llm-rate ${draft.rating !== undefined && r <= draft.rating ? 'llm-on' : ''}`}
              data-action={`rate:${r}`}
              aria-pressed={draft.rating === r}
              aria-label={t('Rate {n} of {scale}', { n: r, scale: settings.scale })}
              onClick={() => rate(r)}
            >
              {r === 10 ? '0' : r}
            </button>
          ))}
          <span className="llm-hint">
            <Kbd of="1" />–<Kbd of={ratings.length === 10 ? '0' : String(ratings.length)} />
          </span>
        </div>
      ) : null}
      {settings.tags.length ? (
        <div className="llm-choices" role="group" aria-label={t('Tags')}>
          <span>{t('Tags')}</span>
          {settings.tags.map((tag, i) => (
            <KeyButton
              key={tag}
              of={i < 9 ? `shift+${i + 1}` : ''}
              label={tag}
              action={`tag:${tag}`}
              pressed={!!draft.tags?.includes(tag)}
              className={`llm-chip ${draft.tags?.includes(tag) ? 'llm-on' : ''}`}
              run={() => props.onDraft({ tags: pick(draft.tags, tag, true) })}
            />
          ))}
        </div>
      ) : null}
    </div>
  );
}
