/** The text of a turn in which stretches can be marked, with the mouse or word by word with the keyboard. */
import React, { useEffect, useMemo, useRef, useState } from 'react';
import { Workbench } from '../tokens';
import { useKeys } from './keys';
import { Span } from './model';
import { brief, pieces, step, stops, toPoints } from './spans';

interface Range {
  anchor: number;
  head: number;
}

const ordered = (r: Range): { start: number; end: number } => ({ start: Math.min(r.anchor, r.head), end: Math.max(r.anchor, r.head) });

/** Where the mouse selection lies in `box`, in code points. */
function selected(box: HTMLElement, text: string): { start: number; end: number } | null {
  const selection = window.getSelection();
  if (!selection || selection.isCollapsed || !selection.rangeCount) {
    return null;
  }
  const range = selection.getRangeAt(0);
  if (!box.contains(range.startContainer) || !box.contains(range.endContainer)) {
    return null;
  }
  const before = document.createRange();
  before.setStart(box, 0);
  before.setEnd(range.startContainer, range.startOffset);
  const start = toPoints(text, before.toString().length);
  return { start, end: start + [...range.toString()].length };
}

export function Marked(props: {
  bench: Workbench;
  text: string;
  turn: number;
  spans: Span[];
  labels: string[];
  /** The keyboard marks in this turn now. */
  marking: boolean;
  onDone: () => void;
  onSpan: (span: Span) => void;
}): JSX.Element {
  const { bench, text, labels, marking } = props;
  const { t } = bench;
  const box = useRef<HTMLDivElement>(null);
  const [range, setRange] = useState<Range | null>(null);
  const words = useMemo(() => stops(text), [text]);
  const points = useMemo(() => [...text], [text]);
  const active = range ?? (marking ? { anchor: 0, head: words[1] ?? points.length } : null);
  const at = active ? ordered(active) : undefined;
  const chosen = at ? points.slice(at.start, at.end).join('') : '';

  useEffect(() => setRange(null), [marking]);

  const mark = (label: string): void => {
    if (at && at.end > at.start) {
      props.onSpan({ turn: props.turn, start: at.start, end: at.end, label, text: chosen });
      window.getSelection()?.removeAllRanges();
      setRange(null);
      props.onDone();
    }
  };
  const move = (direction: 1 | -1, extend: boolean, byLetter: boolean): void => {
    const now = active ?? { anchor: 0, head: 0 };
    const blank = (from: number, to: number): boolean => !/\S/u.test(points.slice(Math.min(from, to), Math.max(from, to)).join(''));
    const next = (from: number): number => {
      const to = byLetter ? Math.min(points.length, Math.max(0, from + direction)) : step(from, direction, words);
      return !byLetter && blank(from, to) ? step(to, direction, words) : to;
    };
    if (extend) {
      return setRange({ anchor: now.anchor, head: next(now.head) });
    }
    const { start, end } = ordered(now);
    const from = Math.min(direction > 0 ? (byLetter ? start + 1 : end) : next(start), points.length - 1);
    // A step without Shift takes the next word, leaving out the blanks between two.
    const anchor = direction > 0 && !byLetter && blank(from, step(from, 1, words)) ? step(from, 1, words) : from;
    const head = byLetter ? anchor + 1 : step(anchor, 1, words);
    setRange(head > anchor ? { anchor, head } : now);
  };
  const leave = (): void => {
    setRange(null);
    window.getSelection()?.removeAllRanges();
    props.onDone();
  };
  useKeys(
    `marked-${props.turn}`,
    marking || range
      ? [
          { key: 'arrowright', does: t('The next word'), run: () => move(1, false, false) },
          { key: 'arrowleft', does: t('The word before'), run: () => move(-1, false, false) },
          { key: 'shift+arrowright', does: t('One word more'), run: () => move(1, true, false) },
          { key: 'shift+arrowleft', does: t('One word less'), run: () => move(-1, true, false) },
          { key: 'alt+arrowright', does: t('The next character'), run: () => move(1, false, true) },
          { key: 'alt+arrowleft', does: t('The character before'), run: () => move(-1, false, true) },
          { key: 'alt+shift+arrowright', does: t('One character more'), run: () => move(1, true, true) },
          { key: 'alt+shift+arrowleft', does: t('One character less'), run: () => move(-1, true, true) },
          { key: 'escape', does: t('Stop marking'), run: leave },
          ...labels.slice(0, 9).map((label, i) => ({ key: String(i + 1), does: t('Mark as {label}', { label }), run: () => mark(label) }))
        ]
      : []
  );
  return (
    <>
      <div
        ref={box}
        className={`llm-text llm-marked ${marking ? 'llm-marking' : ''}`}
        dir="auto"
        onMouseUp={() => {
          const found = box.current && labels.length ? selected(box.current, text) : null;
          setRange(found ? { anchor: found.start, head: found.end } : null);
        }}
      >
        {pieces(text, props.spans, at).map((p, i) =>
          p.labels.length || p.selected ? (
            <mark
              key={i}
              className={`${p.selected ? 'llm-selected' : ''} ${p.labels.length ? `llm-span-${labels.indexOf(p.labels[0]) % 6}` : ''}`}
              title={p.labels.join(', ')}
              data-label={p.labels.join(', ') || undefined}
            >
              {p.text}
            </mark>
          ) : (
            <React.Fragment key={i}>{p.text}</React.Fragment>
          )
        )}
      </div>
      {at && labels.length ? (
        <div className="llm-mark-bar" role="toolbar" aria-label={t('Mark as…')}>
          <span className="llm-hint" aria-live="polite">
            “{chosen.length > 40 ? `${chosen.slice(0, 40)}…` : chosen}”
          </span>
          {labels.map((label, i) => (
            <button key={label} type="button" className={`llm-button llm-chip llm-span-${i % 6}`} onClick={() => mark(label)} data-span={label}>
              {label} {i < 9 ? <kbd className="llm-kbd">{i + 1}</kbd> : null}
            </button>
          ))}
          {marking ? <span className="llm-hint">{t('← → words · ⇧ to extend · Alt for characters · Esc')}</span> : null}
        </div>
      ) : null}
    </>
  );
}

/** The stretches that are marked, as a list from which they can be taken out. */
export function SpanList(props: { bench: Workbench; spans: Span[]; labels: string[]; onRemove?: (span: Span) => void }): JSX.Element | null {
  return props.spans.length ? (
    <div className="llm-chips">
      {props.spans.map((s, i) => (
        <span key={i} className={`llm-chip llm-span-${Math.max(0, props.labels.indexOf(s.label)) % 6}`}>
          <b>{s.label}</b> {brief(s.text)}
          {props.onRemove ? (
            <button type="button" className="llm-x" aria-label={props.bench.t('Remove {what}', { what: s.label })} onClick={() => props.onRemove?.(s)}>
              ×
            </button>
          ) : null}
        </span>
      ))}
    </div>
  ) : null;
}
