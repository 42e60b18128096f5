import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Calls } from '../src/label/calls';
import { Desk } from '../src/label/desk';
import { diff } from '../src/label/diff';
import { translate } from '../src/i18n';
import { pressed, printed } from '../src/label/keys';
import { answer, Draft, Item, lines, missing, pick, queueOf, Sent, Settings, titleOf } from '../src/label/model';
import { Outbox, Shelf } from '../src/label/outbox';
import { brief, pieces, step, stops, toggle, toPoints, toUnits } from '../src/label/spans';
import { named, stepsOf } from '../src/dataset/cleaning';
import { reason } from '../src/dataset/why';
import { heightOf, Pages, reveal, TALLEST, window_ } from '../src/dataset/virtual';

const memory = (): Shelf & { held: Map<string, string> } => {
  const held = new Map<string, string>();
  return { held, getItem: n => held.get(n) ?? null, setItem: (n, v) => void held.set(n, v), removeItem: n => void held.delete(n) };
};

test('a comparison gives both texts back and says what changed', () => {
  const pairs = [
    ['', ''],
    ['', 'new'],
    ['the cat sat', 'the dog sat'],
    ['今天天气很好。', '今天天气不好。'],
    ['a b c d e f', 'a c e f g'],
    ['<b>x</b>', '<i>x</i>'],
    [`${'word '.repeat(3000)}`, `${'other '.repeat(3000)}`]
  ];
  for (const [before, after] of pairs) {
    const changes = diff(before, after);
    assert.equal(changes.filter(c => c.kind !== 'in').map(c => c.text).join(''), before);
    assert.equal(changes.filter(c => c.kind !== 'out').map(c => c.text).join(''), after);
  }
  assert.deepEqual(diff('the cat sat', 'the dog sat'), [
    { kind: 'same', text: 'the ' },
    { kind: 'out', text: 'cat' },
    { kind: 'in', text: 'dog' },
    { kind: 'same', text: ' sat' }
  ]);
});

test('spans count code points, as Python does', () => {
  const text = 'Mr 🦊 Fox 👩‍👧';
  assert.equal(toPoints(text, text.indexOf('Fox')), 5);
  assert.equal(text.slice(toUnits(text, 5), toUnits(text, 8)), 'Fox');
  const span = { turn: 0, start: 3, end: 8, label: 'name', text: '🦊 Fox' };
  const cut = pieces(text, [span, { ...span, start: 5, label: 'word' }]);
  assert.equal(cut.map(p => p.text).join(''), text);
  assert.deepEqual(cut.filter(p => p.labels.length).map(p => [p.text, p.labels.join()]), [['🦊 ', 'name'], ['Fox', 'name,word']]);
  assert.deepEqual(toggle(toggle([], span), span), []);
  const words = stops('我想退货 now');
  assert.equal(step(0, 1, words) > 0 && step(words[words.length - 1], 1, words), words[words.length - 1]);
  assert.deepEqual(pieces('', []), []);
});

test('a key has one name, whatever keyboard or input method', () => {
  const key = (over: object): string => pressed({ key: '', code: '', ctrlKey: false, metaKey: false, altKey: false, shiftKey: false, ...over });
  assert.equal(key({ key: '!', code: 'Digit1', shiftKey: true }), 'shift+1');
  assert.equal(key({ key: 'Process', code: 'KeyS' }), 's');
  assert.equal(key({ key: '?', code: 'Slash', shiftKey: true }), '?');
  assert.equal(key({ key: 'Enter', code: 'Enter', metaKey: true }), 'ctrl+enter');
  assert.equal(key({ key: 'ArrowLeft', code: 'ArrowLeft', altKey: true, shiftKey: true }), 'alt+shift+arrowleft');
  assert.equal(printed('shift+2'), '⇧2');
});

const item = (over: Partial<Item>): Item => ({
  queue: 'dataset:q@1',
  item: 1,
  task: 'classification',
  annotator: 'anna',
  state: 'open',
  revision: 0,
  value: null,
  note: '',
  content: { text: 'x' },
  shown: {},
  progress: { done: 0, skipped: 0, open: 2, total: 2 },
  mayAnswer: true,
  ...over
});
const settings = { task: 'classification', annotators: [], classes: ['a', 'b'], multi: false, tags: [], spans: [], scale: 5, instructions: '', overlap: 1 } as Settings;

test('an answer holds what the task has, and nothing that was left as it is', () => {
  const messages = [{ role: 'user', content: 'hi' }];
  const talk = item({ task: 'dialogue', content: { messages } });
  assert.deepEqual(answer(talk, { messages, rating: undefined, tags: [], spans: [] }), {});
  assert.deepEqual(answer(talk, { messages: [{ role: 'user', content: 'ho' }], rating: 3 }), { messages: [{ role: 'user', content: 'ho' }], rating: 3 });
  assert.deepEqual(answer(item({}), { classes: ['a'], rating: 3 }), { classes: ['a'] });
  assert.deepEqual(answer(item({}), {}), { classes: [] });
  assert.notEqual(missing(item({}), {}, settings), '');
  assert.equal(missing(item({}), {}, { ...settings, multi: true }), '');
  assert.notEqual(missing(item({ task: 'preference' }), {}, settings), '');
  assert.deepEqual([pick(['a'], 'b', false), pick(['a'], 'b', true), pick(['a'], 'a', true), pick(undefined, 'a', false)], [['b'], ['a', 'b'], [], ['a']]);
});

const sent = (n: number, over: Partial<Sent> = {}): Sent => ({ key: `k${n}`, what: 'save', item: n, who: 'anna', value: { classes: ['a'] }, note: '', reason: '', seconds: 1, revision: 0, ...over });
const LOST = new Error('lost');

test('labels are sent in order, once, and again after a lost connection; a new page goes on with them', async () => {
  const shelf = memory();
  const got: number[] = [];
  let away = true;
  const again: (() => void)[] = [];
  const make = (): Outbox =>
    new Outbox(
      'box',
      shelf,
      async label => {
        if (away) {
          throw LOST;
        }
        got.push(label.item);
      },
      e => e === LOST,
      e => ({ message: String(e), code: '', next: '' }),
      what => again.push(what)
    );
  const first = make();
  await first.add(sent(1));
  await first.add(sent(2));
  await first.add(sent(2, { key: 'k2b', value: { classes: ['b'] } }));
  assert.deepEqual(first.state, { waiting: 2, lost: true, refused: null });
  assert.equal(first.of(2, 'anna')?.key, 'k2b');
  first.close();
  const second = make();
  assert.equal(second.state.waiting, 2);
  away = false;
  await second.flush();
  assert.deepEqual(got, [1, 2]);
  assert.equal(shelf.held.size, 0);
  assert.ok(again.length > 0);
});

test('what the server refuses is said, kept, and lets the others through once it is thrown away', async () => {
  const got: number[] = [];
  const box = new Outbox(
    'box',
    memory(),
    async label => {
      if (label.item === 1) {
        throw new Error('No such class');
      }
      got.push(label.item);
    },
    () => false,
    e => ({ message: (e as Error).message, code: 'invalid', next: '' }),
    () => 0
  );
  await box.add(sent(1));
  await box.add(sent(2));
  assert.equal(box.state.refused?.message, 'No such class');
  box.drop();
  await new Promise(done => setImmediate(done));
  assert.deepEqual([got, box.state.waiting], [[2], 0]);
});

test('a damaged or foreign storage is no label', () => {
  const shelf = memory();
  for (const bad of ['', '{', '{}', '[null, 3, {"item": "x"}]', 'null']) {
    shelf.held.set('box', bad);
    const box = new Outbox('box', shelf, async () => undefined, () => false, () => ({ message: '', code: '', next: '' }), () => 0);
    assert.equal(box.state.waiting, 0);
  }
});

test('the desk saves what is seen, goes on, keeps a draft, and takes the last label back', async () => {
  const labels = new Map<number, { value: Draft; revision: number }>();
  const order = [2, 1];
  const at = (n: number | undefined): Item | { item: null; annotator: string; progress: Item['progress'] } => {
    const progress = { done: labels.size, skipped: 0, open: 2 - labels.size, total: 2 };
    const got = n === undefined ? undefined : labels.get(n);
    return n === undefined ? { item: null, annotator: 'anna', progress } : item({ item: n, value: got?.value ?? null, revision: got?.revision ?? 0, state: got ? 'done' : 'open', progress });
  };
  const next = (): number | undefined => order.find(n => !labels.has(n));
  const answerOf = (verb: string, args: { [name: string]: unknown }): unknown => {
    const n = args.item as number;
    if (verb === 'label_save') {
      labels.set(n, { value: args.value as Draft, revision: (args.revision as number) + 1 });
    } else if (verb === 'label_undo') {
      labels.delete(n);
      return { next: at(n), progress: at(n).progress };
    } else if (verb === 'label_next') {
      return at(next());
    }
    const there = next();
    return { saved: { item: n, revision: 1, state: 'done' }, progress: at(there).progress, next: there === undefined ? null : at(there) };
  };
  const calls: Calls = {
    view: async <T,>(name: string, query: { [key: string]: unknown }) =>
      (name === 'label_queue' ? [{ labelling: settings, by_annotator: [] }] : name === 'label_item' ? [at(query.item as number)] : order.map(n => ({ item: n, state: labels.has(n) ? 'done' : 'open', revision: 0, text: '' }))) as T[],
    call: async <T,>(verb: string, args: { [name: string]: unknown }) => answerOf(verb, args) as T,
    isLost: () => false,
    problem: e => ({ message: String(e), code: '', next: '' })
  };
  const shelf = memory();
  const desk = new Desk(calls, 'dataset:q@1', '', shelf);
  await desk.open();
  assert.deepEqual([desk.who, desk.item?.item], ['anna', 2]);
  await desk.save();
  assert.equal(desk.hint, 'Choose a class first');
  desk.change({ classes: ['a'] });
  const later = new Desk(calls, 'dataset:q@1', 'anna', shelf);
  await later.open();
  assert.deepEqual(later.draft, { classes: ['a'] });
  await desk.save();
  assert.deepEqual([labels.get(2)?.value, desk.item?.item], [{ classes: ['a'] }, 1]);
  await desk.undo();
  assert.deepEqual([labels.size, desk.item?.item, desk.draft], [0, 2, { classes: ['a'] }]);
  await desk.save();
  desk.change({ classes: ['b'] });
  await desk.save();
  assert.deepEqual([desk.done, desk.progress?.done, labels.get(1)?.value], [true, 2, { classes: ['b'] }]);
  desk.close();
  later.close();
});

test('an output of a notebook can name a queue and nothing else', () => {
  assert.equal(queueOf({ queue: 'dataset:chat-queue@2' }), 'dataset:chat-queue@2');
  for (const bad of [null, 'dataset:x', {}, { queue: 5 }, { queue: 'model:x' }, { queue: 'dataset:../../x' }, { queue: 'dataset:x?y' }, { queue: '<img>' }]) {
    assert.equal(queueOf(bad), '');
  }
});

test('a list of any length is drawn a window at a time, from the first row to the last', () => {
  for (const rows of [0, 1, 40, 1_000_000, 50_000_000]) {
    const height = heightOf(rows, 34);
    assert.ok(height <= TALLEST);
    const top = window_(rows, 34, 0, 400);
    const end = window_(rows, 34, Math.max(0, height - 400), 400);
    assert.equal(top.first, 0);
    assert.equal(end.end, rows);
    assert.ok(end.end - end.first <= 30 && end.top + (end.end - end.first) * 34 <= height + 1);
    for (const row of [0, Math.floor(rows / 3), rows - 1].filter(r => r >= 0 && rows)) {
      const w = window_(rows, 34, reveal(rows, 34, 0, 400, row), 400);
      assert.ok(w.first <= row && row < w.end, `row ${row} of ${rows}`);
    }
  }
  const pages = new Pages<number>(10, 2);
  pages.set(0, [1, 2, 3]);
  assert.deepEqual([pages.get(2), pages.get(12), pages.missing(0, 25)], [3, undefined, [1, 2]]);
  pages.set(1, []);
  pages.set(2, []);
  assert.deepEqual(pages.missing(0, 30), [0]);
});

test('cleaning steps are drawn from whatever stands there', () => {
  const [good] = stepsOf([{ step: 'pii', rows: 5, removed: 2, why: { secret: 2, odd: 'x' }, examples: [{ text: 'y' }, 3] }]);
  assert.deepEqual([good.step, good.rows, good.removed, good.changed, good.why, good.examples], ['pii', 5, 2, 0, [['secret', 2]], [{ text: 'y' }]]);
  for (const bad of [undefined, null, 'x', {}, [null, 1, 'y']]) {
    assert.deepEqual(stepsOf(bad), []);
  }
});

test('why a row went out is said in Chinese, with its name or number', () => {
  const t = (text: string, words?: { [name: string]: string | number }): string => translate('zh', text, words);
  assert.equal(reason(t, 'the language is de'), '语言为 de');
  assert.equal(reason(t, 'more than 2,048 characters'), '多于 2,048 个字符');
  assert.equal(reason(t, 'a text is empty'), '文本 为空');
  assert.equal(reason(t, 'something new'), 'something new');
});

test('a field is as high as its text, a Chinese one too', () => {
  assert.deepEqual(['', 'one\ntwo', 'x'.repeat(57), '书'.repeat(29), '书'.repeat(28)].map(s => lines(s, 56)), [1, 2, 2, 2, 1]);
});

test('a queue has its name in the reader’s language, and its own where it was given one', () => {
  const zh = (s: string, v?: { [name: string]: string | number }): string => translate('zh', s, v);
  assert.equal(titleOf(zh, 'preference of dpo_en', 'dataset:q@1'), 'dpo_en 的偏好');
  assert.equal(titleOf(zh, 'Tone of voice', 'dataset:q@1'), 'Tone of voice');
  assert.equal(titleOf(zh, '', 'dataset:q@1'), 'q@1');
});

test('two marks that differ by a blank look different', () => {
  assert.deepEqual(['Add a', 'Add a ', ' \n', '🦊'.repeat(61)].map(brief), ['Add a', 'Add a␣', '␣␣', `${'🦊'.repeat(60)}…`]);
});

test('steps and figures are named for people', () => {
  assert.deepEqual(['near_duplicates', 'same_as'].map(s => [named(x => x, s), named(x => translate('zh', x), s)]), [['near duplicates', '近似重复'], ['same as', '同于行']]);
});
