/** Stretches of a text, counted in code points as Python counts them, and the words that a keyboard steps over. */
import { Span } from './model';

export interface Piece {
  text: string;
  start: number;
  end: number;
  /** Labels of the spans that cover this piece. */
  labels: string[];
  selected: boolean;
}

/** Offset in code points of an offset in UTF-16 units. */
export function toPoints(text: string, units: number): number {
  return [...text.slice(0, units)].length;
}

/** Offset in UTF-16 units of an offset in code points. */
export function toUnits(text: string, points: number): number {
  return [...text].slice(0, points).join('').length;
}

/** The text cut where a span or the selection begins or ends. */
export function pieces(text: string, spans: Span[], selection?: { start: number; end: number }): Piece[] {
  const points = [...text];
  const cuts = new Set([0, points.length]);
  [...spans, ...(selection ? [selection] : [])].forEach(s => {
    cuts.add(Math.min(points.length, Math.max(0, s.start)));
    cuts.add(Math.min(points.length, Math.max(0, s.end)));
  });
  const at = [...cuts].sort((a, b) => a - b);
  return at.slice(1).map((end, i) => {
    const start = at[i];
    const inside = (s: { start: number; end: number }): boolean => s.start <= start && s.end >= end;
    return {
      text: points.slice(start, end).join(''),
      start,
      end,
      labels: spans.filter(inside).map(s => s.label),
      selected: !!selection && inside(selection)
    };
  });
}

/** Where words begin and end, in code points; scripts without blanks are cut by the browser's dictionary. */
export function stops(text: string, language = 'zh'): number[] {
  const found = new Set([0]);
  let at = 0;
  for (const part of new Intl.Segmenter(language, { granularity: 'word' }).segment(text)) {
    const size = [...part.segment].length;
    if (part.isWordLike) {
      found.add(at);
      found.add(at + size);
    }
    at += size;
  }
  found.add(at);
  return [...found].sort((a, b) => a - b);
}

/** The next stop from `at`, forwards or backwards. */
export function step(at: number, direction: 1 | -1, where: number[]): number {
  return direction > 0 ? where.find(s => s > at) ?? at : [...where].reverse().find(s => s < at) ?? at;
}

/** With one span more; the same stretch with the same label is taken out instead. */
export function toggle(spans: Span[], span: Span): Span[] {
  const same = (s: Span): boolean => s.turn === span.turn && s.start === span.start && s.end === span.end && s.label === span.label;
  const rest = spans.filter(s => !same(s));
  return rest.length < spans.length ? rest : [...rest, span].sort((a, b) => a.turn - b.turn || a.start - b.start || a.end - b.end);
}

/** A marked place in a chip: not too long, and with blanks at its ends, in which two people may differ, to be seen. */
export function brief(text: string): string {
  const seen = text.replace(/^\s+|\s+$/g, blanks => '␣'.repeat(blanks.length));
  const points = [...seen];
  return points.length > 60 ? `${points.slice(0, 60).join('')}…` : seen;
}
