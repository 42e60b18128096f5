/** What changed between two texts, word by word. */

export interface Change {
  kind: 'same' | 'out' | 'in';
  text: string;
}

/** Most steps that a comparison may take before the middle counts as changed altogether. */
const STEPS = 1500;

function words(text: string): string[] {
  return [...new Intl.Segmenter('zh', { granularity: 'word' }).segment(text)].map(s => s.segment);
}

/** Myers' shortest edit (1986), greedy; null where it would take too many steps. */
function shortest(a: string[], b: string[]): Change[] | null {
  const trace: Map<number, number>[] = [];
  let reach = new Map<number, number>([[1, 0]]);
  for (let d = 0; d <= Math.min(STEPS, a.length + b.length); d++) {
    trace.push(new Map(reach));
    const next = new Map(reach);
    for (let k = -d; k <= d; k += 2) {
      const down = k === -d || (k !== d && (next.get(k - 1) ?? -1) < (next.get(k + 1) ?? -1));
      let x = down ? next.get(k + 1) ?? 0 : (next.get(k - 1) ?? 0) + 1;
      while (x < a.length && x - k < b.length && a[x] === b[x - k]) {
        x += 1;
      }
      next.set(k, x);
      if (x >= a.length && x - k >= b.length) {
        return back(a, b, trace);
      }
    }
    reach = next;
  }
  return null;
}

function back(a: string[], b: string[], trace: Map<number, number>[]): Change[] {
  const out: Change[] = [];
  let [x, y] = [a.length, b.length];
  for (let d = trace.length - 1; d >= 0; d--) {
    const reach = trace[d];
    const k = x - y;
    const down = k === -d || (k !== d && (reach.get(k - 1) ?? -1) < (reach.get(k + 1) ?? -1));
    const from = down ? k + 1 : k - 1;
    const fromX = d ? reach.get(from) ?? 0 : 0;
    const fromY = d ? fromX - from : 0;
    while (x > fromX && y > fromY && a[x - 1] === b[y - 1]) {
      out.push({ kind: 'same', text: a[--x] });
      y -= 1;
    }
    if (d && down) {
      out.push({ kind: 'in', text: b[--y] });
    } else if (d) {
      out.push({ kind: 'out', text: a[--x] });
    }
  }
  return out.reverse();
}

/** The changes that make `after` from `before`, joined where neighbours are alike. */
export function diff(before: string, after: string): Change[] {
  const [a, b] = [words(before), words(after)];
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) {
    head += 1;
  }
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) {
    tail += 1;
  }
  const [midA, midB] = [a.slice(head, a.length - tail), b.slice(head, b.length - tail)];
  const middle: Change[] = shortest(midA, midB) ?? [
    { kind: 'out', text: midA.join('') },
    { kind: 'in', text: midB.join('') }
  ];
  const all: Change[] = [{ kind: 'same', text: a.slice(0, head).join('') }, ...middle, { kind: 'same', text: a.slice(a.length - tail).join('') }];
  const joined: Change[] = [];
  all
    .filter(c => c.text)
    .forEach(c => {
      const last = joined[joined.length - 1];
      if (last && last.kind === c.kind) {
        last.text += c.text;
      } else {
        joined.push({ ...c });
      }
    });
  return joined;
}
