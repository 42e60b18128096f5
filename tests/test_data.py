"Datasets: every public file loads with exact counts and unchanged text; what goes is named; parts do not leak."
import csv
import json
import random

import pytest

from llmops.core import Invalid, NotFound
from llmops.rows import rows


def rows_of(ws, v, name='rows.jsonl'):
    if name == 'rows.jsonl':
        return [{k: x for k, x in r.items() if k not in ('_file', '_from', '_row', '_as')} for r in rows(ws.store, v)]
    f = next(e for e in v.body['files'] if e['path'] == name)
    return [json.loads(x) for x in ws.store.blobs.get(f['blob']).decode().split('\n') if x]


def listing(ws):
    return [r['ref'] for r in ws.ls(all=True)], sorted((d, s) for d, s, _ in ws.store.blobs.all())


FILES = [('llamafactory/alpaca_en_demo.json', 'alpaca', 'messages', 999),
         ('llamafactory/alpaca_zh_demo.json', 'alpaca', 'messages', 1000),
         ('llamafactory/identity.json', 'alpaca', 'messages', 91),
         ('llamafactory/dpo_en_demo.json', 'dpo', 'preference', 300),
         ('llamafactory/kto_en_demo.json', 'kto', 'unpaired', 300),
         ('llamafactory/glaive_toolcall_en_demo.json', 'sharegpt', 'messages', 300),
         ('llamafactory/c4_demo.jsonl', 'text', 'text', 300), ('llamafactory/wiki_demo.txt', 'text', 'text', 30),
         ('gsm8k/train.jsonl', 'question-answer', 'messages', 7473),
         ('gsm8k/test.jsonl', 'question-answer', 'messages', 1319),
         ('crows_pairs/crows_pairs_anonymized.csv', 'table', 'table', 1508)]


@pytest.mark.parametrize('path,name,kind,n', FILES, ids=[f[0].rsplit('/', 1)[1] for f in FILES])
def test_public_files_load_with_exact_counts(ws, data, path, name, kind, n):
    v = ws.load(data/path, out='d')
    assert (v.body['format'], v.body['origin']['format'], v.body['rows']) == (kind, name, n)
    assert v.body['counts'] == dict(read=n, rejected=0, left=0, rows=n)
    got = rows_of(ws, v)
    assert len(got) == n and len({r['_line'] for r in got}) == n
    assert str(ws.load(data/path, out='d')) == 'dataset:d@1', 'the same file makes no second version'


def test_alpaca_text_is_unchanged(ws, data):
    path = data/'llamafactory'/'alpaca_zh_demo.json'
    got = rows_of(ws, ws.load(path))
    for r, s in zip(got, json.loads(path.read_text()), strict=True):
        q = s['instruction']+(f'\n{s["input"]}' if s['input'] else '')
        assert r['messages'] == [dict(role='user', content=q), dict(role='assistant', content=s['output'])]
    lines = path.read_text().split('\n')
    assert all(lines[r['_line']-1].strip() == '{' for r in got), '_line is where the record begins'


def test_preference_and_tool_rows_keep_everything(ws, data):
    who = {'human': 'user', 'gpt': 'assistant', 'system': 'system'}
    path = data/'llamafactory'/'dpo_en_demo.json'
    for r, s in zip(rows_of(ws, ws.load(path)), json.loads(path.read_text()), strict=True):
        def said(m): return dict(role=who[m['from']], content=m['value'])
        assert (r['prompt'], r['chosen'], r['rejected']) == ([said(m) for m in s['conversations']], [said(s['chosen'])],
                                                             [said(s['rejected'])])
    path = data/'llamafactory'/'glaive_toolcall_en_demo.json'
    got, src = rows_of(ws, ws.load(path)), json.loads(path.read_text())
    calls = [c['function'] for r in got for m in r['messages'] for c in m.get('tool_calls', ())]
    asked = [json.loads(m['value']) for s in src for m in s['conversations'] if m['from'] == 'function_call']
    assert calls == [dict(name=c['name'], arguments=c['arguments']) for c in asked] and len(calls) > 150
    assert [r['tools'] for r in got] == [json.loads(s['tools']) for s in src]
    kto = rows_of(ws, ws.load(data/'llamafactory'/'kto_en_demo.json'))
    assert [sum(r['label'] is x for r in kto) for x in (True, False)] == [150, 150]
    assert all(len(r['completion']) == 1 for r in kto)


def test_placeholders_are_pointed_out_not_filled(ws, data):
    v = ws.load(data/'llamafactory'/'identity.json')
    assert (v.body['flags']['placeholders']['rows']
            == sum('{{' in json.dumps(r) for r in json.loads((data/'llamafactory'/'identity.json').read_text())))
    assert any('{{name}}' in r['messages'][1]['content'] for r in rows_of(ws, v))


def test_some_rows_of_gsm8k_by_seed(ws, data):
    path = data/'gsm8k'/'train.jsonl'
    first, drawn = ws.load(path, out='a', rows=50), ws.load(path, out='b', rows=50, seed=7)
    assert [r['_line'] for r in rows_of(ws, first)] == list(range(1, 51))
    lines = [r['_line'] for r in rows_of(ws, drawn)]
    assert lines == sorted(random.Random(7).sample(range(1, 7474), 50))
    assert drawn.body['counts'] == dict(read=7473, rejected=0, left=7423, rows=50)


def test_bad_rows_are_named_and_good_ones_kept(ws, data, tmp_path):
    "Every ninth line is spoilt in one of nine ways: the others come through as they were"
    lines = (data/'gsm8k'/'test.jsonl').read_text().split('\n')[:180]
    r = json.loads(lines[0])
    spoilt = ['{"question": "x", "answer": ', '{"question": "x", "answer": null}', '{"question": "x", "answer": 5}',
              '{"question": "x", "answer": NaN}', '[]', '"text"',
              '{"question": "a", "question": "b", "answer": "c"}', '{"question": "\\ud800", "answer": "c"}', '{}']
    why = ['column', 'missing', 'a number, not text', 'not JSON', 'a list, not an object', 'text, not an object',
           'comes twice', 'surrogate', 'empty']
    bad = list(range(4, 180, 20))
    for i, s in zip(bad, spoilt, strict=True): lines[i] = s
    (tmp_path/'x.jsonl').write_text('\n'.join(lines)+'\n')
    v = ws.load(tmp_path/'x.jsonl')
    assert v.body['counts'] == dict(read=180, rejected=9, left=0, rows=171)
    assert [b['line'] for b in rows_of(ws, v, 'rejected.jsonl')] == [i+1 for i in bad]
    for b, w in zip(v.body['rejected'], why, strict=True): assert w in b['reason'], b
    kept = rows_of(ws, v)
    assert [r['_line'] for r in kept] == [i+1 for i in range(180) if i not in bad]
    assert kept[0]['messages'][0]['content'] == r['question']


def test_the_same_rows_in_four_kinds_of_file(ws, tmp_path):
    rows = [dict(prompt=f'Wie heißt "{i}", 张三?\nGenau.', completion=f'it is, {i}') for i in range(40)]
    (tmp_path/'a.jsonl').write_text('\n'.join(json.dumps(r) for r in rows))
    (tmp_path/'a.json').write_text(json.dumps(rows, ensure_ascii=False, indent=2))
    with open(tmp_path/'a.csv', 'w', newline='') as f:
        w = csv.DictWriter(f, ['prompt', 'completion'])
        w.writeheader()
        w.writerows(rows)
    import pyarrow as pa
    import pyarrow.parquet as pq
    pq.write_table(pa.Table.from_pylist(rows), tmp_path/'a.parquet')
    got = [[r['messages'] for r in rows_of(ws, ws.load(tmp_path/f'a.{t}', out=t))]
           for t in ('jsonl', 'json', 'csv', 'parquet')]
    assert got[0] == got[1] == got[2] == got[3] and len(got[0]) == 40


def test_our_own_rows_load_again_unchanged(ws, data, tmp_path):
    for path in ('alpaca_en_demo.json', 'dpo_en_demo.json', 'kto_en_demo.json', 'glaive_toolcall_en_demo.json'):
        a = ws.load(data/'llamafactory'/path, out='a')
        f = next(e for e in a.body['files'] if e['path'] == 'rows.jsonl')
        (tmp_path/'again.jsonl').write_bytes(ws.store.blobs.get(f['blob']))
        b = ws.load(tmp_path/'again.jsonl', out='b')
        def plain(v): return [{k: x for k, x in r.items() if k != '_line'} for r in rows_of(ws, v)]
        assert plain(a) == plain(b) and a.body['format'] == b.body['format']


@pytest.mark.parametrize('name,content,why', [
    ('a.jsonl', b'\x1f\x8b\x08\x00', 'cut short'), ('a.jsonl', '[{"a": 1}'.encode('utf-16'), 'UTF-16'),
    ('a.json', b'{"data": [1]}', 'Its keys: data'),
    ('a.json', b'[{"a"', 'line 1: the file ends inside this record'), ('a.json', b'['*200_000, 'nested'),
    ('a.json', '[{"问": "答"}]'.encode('gbk'), 'GB18030'), ('a.txt', b'', 'is empty'),
    ('a.json', b'<!DOCTYPE html><title>Sign in</title>', 'web page'), ('a.csv', b'a,a\n1,2\n', 'one name'),
    ('a.parquet', b'PAR1'+bytes(64), 'Nothing was loaded'),
    ('a.bin', bytes(range(256)), 'NUL'), ('a.jsonl', b'\x80\x04\x95\x00', 'pickle'), ('a.json', b'[]', 'it has none'),
    ('a.docx', b'hello', 'no JSON')])
def test_files_that_are_no_rows_are_refused_and_leave_nothing(ws, tmp_path, name, content, why):
    before = listing(ws)
    (tmp_path/name).write_bytes(content)
    with pytest.raises(Invalid, match=why): ws.load(tmp_path/name)
    assert listing(ws) == before


def test_places_that_are_no_files(ws, tmp_path):
    for p in (tmp_path/'no.json', tmp_path, '/dev/zero', 'x'*5000, '', '/'):
        with pytest.raises((Invalid, NotFound)): ws.load(p, out='x')
    with pytest.raises(Invalid): ws.load('a\0b.json', out='x')
    assert ws.ls() == []


def test_cleaning_adds_up_on_real_data(ws, data):
    v = ws.load(data/'llamafactory'/'alpaca_en_demo.json', out='alpaca')
    c = ws.clean(v, max_chars=2000)
    n = c.body['counts']
    steps = c.body['cleaning']
    assert n['read'] == 999 == n['rows']+n['removed'] and n['removed'] == sum(s['removed'] for s in steps) > 0
    assert [s['step'] for s in steps] == ['normalise', 'empty', 'length', 'duplicates']
    gone, kept = rows_of(ws, c, 'removed.jsonl'), rows_of(ws, c)
    assert sorted([r['line'] for r in gone]+[r['_line'] for r in kept]) == sorted(r['_line'] for r in rows_of(ws, v))
    assert all(g['why'] and g['step'] for g in gone)
    assert all(sum(len(m['content']) for m in r['messages']) <= 2000 for r in kept)
    assert [r['ref'] for r in ws.lineage(c) if r['direction'] == 'up'] == ['dataset:alpaca@1']


def test_parts_share_no_question_and_no_group(ws, data):
    v = ws.clean(ws.load(data/'gsm8k'/'test.jsonl', out='maths'))
    train, test = ws.split(v, test=0.2, seed=3)
    a, b = rows_of(ws, train), rows_of(ws, test)
    assert len(b) == round(0.2*v.body['rows'])
    assert sorted(r['_line'] for r in a+b) == sorted(r['_line'] for r in rows_of(ws, v))
    assert not {r['messages'][0]['content'] for r in a} & {r['messages'][0]['content'] for r in b}
    again = ws.split(v, test=0.2, seed=3)
    other = ws.split(v, test=0.2, seed=4, out='other')
    assert [str(x) for x in again] == [str(train), str(test)] and other[1].digest != test.digest
    assert (train.body['role'], test.body['role']) == ('training', 'held-out')


def test_tickets_split_by_their_own_column(ws):
    ws.samples(rows=240, seed=5)
    c = ws.clean('dataset:tickets')
    parts = {v.name: v for v in ws.split(c)}
    assert {k: v.body['role'] for k, v in parts.items()} == {'tickets-train': 'training', 'tickets-test': 'held-out',
                                                             'tickets-phrasings': 'new phrasings'}
    assert sum(v.body['rows'] for v in parts.values()) == c.body['rows'] == 240
    assert all('split' not in r for v in parts.values() for r in rows_of(ws, v))
