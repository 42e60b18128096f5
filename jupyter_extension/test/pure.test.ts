import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { convert, groups, initial, touched } from '../src/convert';
import { duration, number, size } from '../src/format';
import { choose, half, languageOf, translate } from '../src/i18n';
import { columns, layout, NODE } from '../src/layout';
import { Param } from '../src/schema';
import { zh } from '../src/zh';
import { parted, sorry } from '../src/zherrors';

const SRC = join(__dirname, '..', '..', 'src');

function files(folder: string): string[] {
  return readdirSync(folder).flatMap(f => {
    const path = join(folder, f);
    return statSync(path).isDirectory() ? files(path) : [path];
  });
}

const param = (over: Partial<Param>): Param => ({
  name: 'x',
  type: 'str',
  doc: '',
  default: null,
  required: false,
  choices: [],
  kind: '',
  many: false,
  group: '',
  ...over
});

test('every sentence that a panel shows has a Chinese one', () => {
  const used = new Set<string>();
  for (const file of files(SRC)) {
    const text = readFileSync(file, 'utf8');
    for (const m of text.matchAll(/\bt\((?:\w+ (?:\|\|) )?'((?:[^'\\]|\\.)+)'/g)) {
      used.add(m[1]);
    }
    for (const m of text.matchAll(/(?:title|message): '([A-Z][^']+)'/g)) {
      used.add(m[1]);
    }
    for (const m of text.matchAll(/new Error\('([^']+)'\)/g)) {
      used.add(m[1]);
    }
  }
  assert.ok(used.size > 40, `only ${used.size} sentences found`);
  assert.deepEqual([...used].filter(s => !(s in zh) && s !== 'BLAKE3'), []);
});

test('a Chinese sentence keeps the blanks of the English one', () => {
  const blanks = (s: string): string[] => (s.match(/\{\w+\}/g) ?? []).sort();
  for (const [english, chinese] of Object.entries(zh)) {
    assert.deepEqual(blanks(chinese), blanks(english), english);
  }
});

test('the language follows our setting, then Lab, then the browser', () => {
  assert.equal(choose('en', 'zh_CN', 'zh-CN'), 'en');
  assert.equal(choose('auto', 'zh_CN', 'en-US'), 'zh');
  assert.equal(choose('auto', 'default', 'zh-Hans-CN'), 'zh');
  assert.equal(choose('auto', 'en', 'zh-CN'), 'en');
  assert.equal(choose('auto', '', 'fr'), 'en');
  assert.equal(languageOf('zha'), 'en');
  assert.equal(translate('zh', 'No name here has "{q}" in it', { q: '<b>' }), '没有名称包含“<b>”');
  assert.equal(translate('zh', 'never seen {q}', {}), 'never seen {q}');
});

test('a text in both languages shows one of them', () => {
  assert.equal(half('en', 'Hold some out. 准备：留出一些。'), 'Hold some out.');
  assert.equal(half('zh', 'Hold some out. 准备：留出一些。'), '准备：留出一些。');
  assert.equal(half('zh', 'Hold some out.'), 'Hold some out.');
  assert.equal(half('en', '留出一些'), '留出一些');
});

test('a form gives typed arguments and leaves out what is as by default', () => {
  const params = [
    param({ name: 'model', required: true, type: 'ref', kind: 'model' }),
    param({ name: 'steps', type: 'int', default: 300 }),
    param({ name: 'rate', type: 'float', default: 0.001 }),
    param({ name: 'method', type: 'choice', choices: ['full', 'lora'], default: 'full' }),
    param({ name: 'bits', type: 'choice', choices: [4, 8], default: 4 }),
    param({ name: 'dry', type: 'bool', default: false }),
    param({ name: 'data', many: true, default: [] }),
    param({ name: 'options', type: 'json', default: {} }),
    param({ name: 'out', default: 'chat' })
  ];
  const start = initial(params, { model: 'model:a@1' });
  assert.deepEqual(convert(params, start), { args: { model: 'model:a@1' }, errors: {} });
  const typed = { ...start, steps: ' 20 ', rate: '1e-4', method: 'lora', bits: '8', dry: true, data: 'dataset:a, dataset:b', options: '{"r": 8}', out: '' };
  assert.deepEqual(convert(params, typed), {
    args: { model: 'model:a@1', steps: 20, rate: 0.0001, method: 'lora', bits: 8, dry: true, data: ['dataset:a', 'dataset:b'], options: { r: 8 }, out: '' },
    errors: {}
  });
});

test('a form says in a sentence what cannot be read', () => {
  const params = [
    param({ name: 'model', required: true }),
    param({ name: 'steps', type: 'int', default: 1 }),
    param({ name: 'rate', type: 'float', default: 1 }),
    param({ name: 'options', type: 'json' })
  ];
  const { args, errors } = convert(params, { model: '  ', steps: '2.5', rate: 'Infinity', options: '[1' });
  assert.deepEqual(args, {});
  assert.deepEqual(Object.keys(errors), ['model', 'steps', 'rate', 'options']);
});

const graph = (edges: [string, string][]) => {
  const ids = [...new Set(edges.flat())];
  return {
    nodes: ids.map(id => ({ id, type: id.startsWith('run') ? 'run' : 'version', label: id, status: '' })),
    edges: edges.map(([source, target]) => ({ source, target }))
  };
};

test('what was read stands left of what was made from it', () => {
  const column = columns(graph([['a', 'run1'], ['run1', 'b'], ['b', 'run2'], ['a', 'run2'], ['run2', 'c']]));
  assert.deepEqual(Object.fromEntries(column), { a: 0, run1: 1, b: 2, run2: 3, c: 4 });
});

test('boxes of a lineage never overlap and stay inside the drawing', () => {
  const edges: [string, string][] = [];
  for (let i = 0; i < 6; i++) {
    edges.push([`data${i}`, 'run1'], ['run1', `model${i}`], [`model${i}`, `run${i + 2}`], [`data${i}`, `run${i + 2}`]);
  }
  const drawn = layout(graph(edges));
  assert.equal(drawn.edges.length, edges.length);
  for (const p of drawn.placed) {
    assert.ok(p.x >= NODE.pad && p.y >= NODE.pad && p.x + p.width <= drawn.width - NODE.pad + 0.01 && p.y + p.height <= drawn.height - NODE.pad + 0.01);
    for (const q of drawn.placed) {
      assert.ok(p === q || p.x + p.width <= q.x || q.x + q.width <= p.x || p.y + p.height <= q.y || q.y + q.height <= p.y, `${p.node.id} ${q.node.id}`);
    }
  }
});

test('a lineage with a circle, a loose end or nothing is still drawn', () => {
  assert.equal(layout(graph([['a', 'b'], ['b', 'a']])).placed.length, 2);
  const loose = { ...graph([['a', 'b']]), edges: [{ source: 'a', target: 'gone' }] };
  assert.deepEqual(layout(loose).edges, []);
  assert.deepEqual(layout({ nodes: [], edges: [] }), { placed: [], edges: [], width: 0, height: 0 });
});

test('sizes, numbers and times read well', () => {
  assert.deepEqual([0, 999, 1000, 2_500_000, 123_456_789].map(size), ['0 B', '999 B', '1.0 kB', '2.5 MB', '123 MB']);
  assert.deepEqual([0, 1234567, 0.25, 0.00001234, 3.14159].map(number), ['0', '1,234,567', '0.25', '1.23e-5', '3.142']);
  assert.deepEqual([duration('2026-01-01T00:00:00Z', '2026-01-01T00:00:02.5Z'), duration('2026-01-01T00:00:00Z', '2026-01-01T00:02:05Z')], ['2.5 s', '2 min 5 s']);
});

test('the source keeps its own rules', () => {
  const own = files(SRC).filter(f => !f.endsWith('schema.ts'));
  for (const file of own) {
    const text = readFileSync(file, 'utf8');
    assert.ok(text.split('\n').length <= 300, `${file} is longer than 300 lines`);
    assert.doesNotMatch(text, /\bconsole\.|:\s*any\b|\bas any\b|<any>|innerHTML|#[0-9a-f]{6}\b(?!")/i, file);
    assert.ok(file.endsWith('api.ts') || !/\bfetch\(|makeRequest|XMLHttpRequest/.test(text), `${file} fetches`);
  }
  for (const css of files(join(SRC, '..', 'style')).filter(f => f.endsWith('.css'))) {
    assert.doesNotMatch(readFileSync(css, 'utf8'), /#[0-9a-f]{3,8}\b|\brgba?\(/i, css);
  }
});

test('shared parameters come in groups, and what was changed is counted', () => {
  const params = [param({ name: 'a' }), param({ name: 'b', group: 'G', default: 1, type: 'int' }), param({ name: 'c', group: 'H' }), param({ name: 'd', group: 'G' })];
  assert.deepEqual(
    groups(params).map(g => [g.name, g.params.map(p => p.name)]),
    [
      ['', ['a']],
      ['G', ['b', 'd']],
      ['H', ['c']]
    ]
  );
  assert.equal(touched(params, initial(params)), 0);
  assert.equal(touched(params, { ...initial(params), b: '2', d: 'x' }), 2);
});

test('an error of a run is in Chinese where its shape is known, and its command stays apart', () => {
  const said = 'dataset:rated@1 holds unpaired, and sft takes conversations (messages), rows like {"messages": []}. Convert it with: llmops data convert dataset:rated@1 --to messages';
  const { message, next } = parted(said);
  assert.equal(next, 'llmops data convert dataset:rated@1 --to messages');
  assert.equal(sorry(message), 'dataset:rated@1 的内容是 unpaired，而 sft 需要 messages 格式的行，例如 {"messages": []}');
  assert.deepEqual(parted('Something odd. It stays'), { message: 'Something odd. It stays', code: 'failed', next: '' });
  assert.equal(sorry('Something odd'), '未能完成，请按下面的说明修改后重试（原文为英文）：Something odd');
  assert.equal(sorry('已是中文'), '已是中文');
});
