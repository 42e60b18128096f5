"Reading and import: every container gives the same rows, counts add up, hostile files cost no more than their chunk."
import bz2
import csv
import gzip
import io
import json
import lzma
import random
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmops.core import Invalid, LlmopsError, NotFound
from llmops.data.read import records
from llmops.data.read_bytes import MAX_LINE, Bad
from llmops.rows import rows

ROWS = [{'instruction': f'Say "{i}"\n你好 {{', 'input': '', 'output': ']}, {"\\'*(i % 3)+str(i)} for i in range(40)]


def read(path, name=''):
    "Good rows and refusals of a file"
    got = list(records(Path(path), name))
    return [r for _, _, r in got if not isinstance(r, Bad)], [r for _, _, r in got if isinstance(r, Bad)]


def lines(rs): return b''.join(json.dumps(r, ensure_ascii=False).encode()+b'\n' for r in rs)


# --- real files -------------------------------------------------------------------------------------------------------

REAL = [('llamafactory/alpaca_en_demo.json', '', 999, 'messages'),
        ('llamafactory/alpaca_zh_demo.json', '', 1000, 'messages'), ('llamafactory/identity.json', '', 91, 'messages'),
        ('llamafactory/dpo_en_demo.json', '', 300, 'preference'),
        ('llamafactory/kto_en_demo.json', '', 300, 'unpaired'),
        ('llamafactory/glaive_toolcall_en_demo.json', '', 300, 'messages'),
        ('llamafactory/c4_demo.jsonl', '', 300, 'text'), ('llamafactory/wiki_demo.txt', '', 30, 'text'),
        ('gsm8k/train.jsonl', '', 7473, 'messages'), ('gsm8k/test.jsonl', '', 1319, 'messages'),
        ('humaneval/HumanEval.jsonl.gz', '', 164, 'messages'), ('mmlu/mmlu.zip', '', 15858, 'messages'),
        ('mmlu/mmlu.zip', 'test', 14042, 'messages'), ('mmlu/mmlu.zip', 'data/dev/*', 285, 'messages'),
        ('mmlu/mmlu.zip', 'abstract_algebra', 116, 'messages'), ('ceval/ceval.zip', '', 13948, 'table'),
        ('ceval/ceval.zip', 'val', 1346, 'messages'), ('ceval/ceval.zip', 'dev', 260, 'messages'),
        ('ceval/ceval.zip', 'test', 12342, 'prompts')]


@pytest.mark.parametrize('path,name,n,kind', REAL, ids=[f'{Path(p).name}-{n}' for p, n, _, _ in REAL])
def test_public_files_come_in_with_exact_counts(ws, data, path, name, n, kind):
    v = ws.load(data/path, 'd', name=name)
    assert (v.body['format'], v.body['rows'], v.body['counts']) == (kind, n, dict(read=n, rejected=0, left=0, rows=n))
    s, = v.body['sources']
    assert s['file'] == Path(path).name and len(s['blake3']) == 64 and s['why']
    assert sum(p['rows'] for p in s.get('parts', [])) in (0, n)
    got = list(rows(ws.store, v))
    assert len(got) == n == len({(r['_file'], r['_line']) for r in got}) if path[-4:] != '.txt' else len(got) == n


def test_an_archive_keeps_member_split_and_subject(ws, data):
    v = ws.load(data/'mmlu'/'mmlu.zip', 'm', name='val')
    with zipfile.ZipFile(data/'mmlu'/'mmlu.zip') as z:
        names = [n for n in z.namelist() if '/val/' in n and n.endswith('.csv')]
        want = {n: list(csv.reader(io.TextIOWrapper(z.open(n), 'utf-8', newline=''))) for n in names}
    got = list(rows(ws.store, v))
    assert {r['_file'] for r in got} == set(names) and len(got) == sum(map(len, want.values()))
    assert {(r['_file'], r['subject']) for r in got} == {(n, Path(n).stem.removesuffix('_val')) for n in names}
    assert all(want[r['_file']][0][0] in r['messages'][0]['content']
               for r in got if r['_line'] == 1), 'the first line is a question, not a header'
    assert ws.load(data/'mmlu'/'mmlu.zip', 'm').body['columns'].keys() >= {'split', 'subject'}


def test_the_command_says_what_came_in(tmp_path):
    (tmp_path/'a.jsonl').write_bytes(lines(ROWS)+b'{"instruction": 1, "output": "x"}\n')
    (tmp_path/'b.jsonl').write_bytes(lines(ROWS[:3]))
    env = {'LLMOPS_STORE': str(tmp_path/'ws'), 'PATH': '/usr/bin:/bin', 'HOME': str(tmp_path)}
    def run(*a):
        return subprocess.run([str(Path(sys.executable).with_name('llmops')), *map(str, a)], env=env,
                              capture_output=True, text=True, cwd=tmp_path)
    r = run('data', 'import', 'a.jsonl', 'b.jsonl', 'dataset:x')
    assert (r.returncode == 0 and 'dataset:x@1: 43 rows' in r.stdout and '1 refused' in r.stdout
            and 'a.jsonl line 41' in r.stdout), r
    shown = json.loads(run('show', 'dataset:x', '--json').stdout)[0]
    assert (shown['rows'], shown['format'], shown['columns']) == (43, 'messages', {'messages': 'messages'})
    r = run('add', 'dataset:y', 'a.jsonl')
    assert r.returncode == 0 and 'dataset:y@1' in r.stdout, r


# --- every container --------------------------------------------------------------------------------------------------

def containers(at, rs):
    "The same rows in every kind of file"
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq
    import zstandard
    t, b = pa.Table.from_pylist(rs), lines(rs)
    out = {'a.jsonl': b, 'bom.jsonl': b'\xef\xbb\xbf'+b, 'crlf.jsonl': b.replace(b'\n', b'\r\n'),
           'a.json': json.dumps(rs).encode(), 'pretty.json': json.dumps(rs, indent=2, ensure_ascii=False).encode(),
           'wrapped.json': json.dumps({'version': '1', 'data': rs}).encode(),
           'columns.json': json.dumps({k: [r[k] for r in rs] for k in rs[0]}).encode(),
           'stream.json': '\n'.join(json.dumps(r, indent=1) for r in rs).encode(), 'a.jsonl.gz': gzip.compress(b),
           'liar.jsonl': gzip.compress(b), 'a.jsonl.bz2': bz2.compress(b), 'a.jsonl.xz': lzma.compress(b),
           'two.jsonl.zst': zstandard.compress(b[:b.index(b'\n')+1])+zstandard.compress(b[b.index(b'\n')+1:]),
           'noname': b}
    for n, x in out.items(): (at/n).write_bytes(x)
    for n, sep in (('a.csv', ','), ('a.tsv', '\t'), ('semi.csv', ';')):
        with open(at/n, 'w', newline='', encoding='utf-8') as f:
            w = csv.DictWriter(f, list(rs[0]), delimiter=sep)
            w.writeheader()
            w.writerows(rs)
    pq.write_table(t, at/'a.parquet', row_group_size=7)
    with pa.ipc.new_file(at/'a.arrow', t.schema) as w: w.write_table(t)
    with pa.ipc.new_stream(at/'s.arrow', t.schema) as w: w.write_table(t, 9)
    pl.DataFrame(rs).write_ipc(at/'a.feather', compression='zstd')
    with zipfile.ZipFile(at/'a.zip', 'w') as z: z.writestr('in/a.jsonl', b)
    with tarfile.open(at/'a.tar.gz', 'w:gz') as z:
        i = tarfile.TarInfo('a.jsonl')
        i.size = len(b)
        z.addfile(i, io.BytesIO(b))
    (at/'folder').mkdir()
    (at/'folder'/'part-0.jsonl').write_bytes(lines(rs[:5]))
    (at/'folder'/'part-1.jsonl').write_bytes(lines(rs[5:]))
    return sorted(p for p in at.iterdir())


def test_the_same_rows_in_every_container(tmp_path):
    for p in containers(tmp_path, ROWS):
        good, bad = read(p)
        assert good == ROWS and not bad, p.name


def test_excel_keeps_text_numbers_and_sheets(ws, tmp_path):
    import polars as pl
    import xlsxwriter
    with xlsxwriter.Workbook(str(tmp_path/'a.xlsx')) as book:
        pl.DataFrame({'prompt': ['1+1?', '你好\n"x"'], 'completion': ['2', 'b'], 'score': [0.5, 2]}).write_excel(
            book, 'first')
        pl.DataFrame({'prompt': ['c'], 'completion': ['d'], 'score': [1.5]}).write_excel(book, 'second')
    good, bad = read(tmp_path/'a.xlsx')
    assert ([(r['prompt'], r['completion'], r['score']) for r in good]
            == [('1+1?', '2', 0.5), ('你好\n"x"', 'b', 2.0), ('c', 'd', 1.5)])
    assert not bad
    v = ws.load(tmp_path/'a.xlsx', 'x', name='second')
    assert v.body['rows'] == 1 and v.body['format'] == 'messages'
    with pytest.raises(Invalid, match='Sheets: first, second'): ws.load(tmp_path/'a.xlsx', 'x', name='third')


def test_frames_and_datasets_objects(ws, tmp_path):
    import datasets
    import pandas as pd
    import polars as pl
    import pyarrow as pa
    digests = set()
    for i, obj in enumerate((pl.DataFrame(ROWS), pd.DataFrame(ROWS), pa.Table.from_pylist(ROWS),
                             datasets.Dataset.from_list(ROWS), pl.LazyFrame(ROWS),
                             datasets.Dataset.from_list(ROWS).to_iterable_dataset())):
        v = ws.load(obj, f'f{i}')
        assert v.body['counts'] == dict(read=40, rejected=0, left=0, rows=40)
        digests.add(next(f['blob'] for f in v.body['files'] if f['path'] == 'rows.jsonl'))
    assert len(digests) == 1, 'the same rows, whichever frame held them'
    dd = datasets.DatasetDict(train=datasets.Dataset.from_list(ROWS[:30]), test=datasets.Dataset.from_list(ROWS[30:]))
    dd.save_to_disk(tmp_path/'saved')
    for src in (dd, tmp_path/'saved'):
        got = [r.get('split') for r in rows(ws.store, ws.load(src, 'dd'))]
        assert sorted(got) == ['test']*10+['train']*30
    assert ws.load(tmp_path/'saved', 'tt', name='test').body['rows'] == 10
    with pytest.raises(Invalid, match='not text'): ws.load(7, 'x')


def test_types_that_json_lacks_are_said(ws, tmp_path):
    import datetime
    import decimal

    import pyarrow as pa
    import pyarrow.parquet as pq
    pq.write_table(pa.table({'text': ['a', 'b'], 'day': [datetime.date(2026, 1, 2), None],
                             'price': [decimal.Decimal('1.50')]*2, 'raw': [b'\x89PNG', None],
                             'x': [1.0, float('inf')]}), tmp_path/'a.parquet')
    v = ws.load(tmp_path/'a.parquet', 'x')
    r, = rows(ws.store, v, origin=False)
    assert r == {'text': 'a', 'day': '2026-01-02', 'price': '1.50', 'raw': 'data:image/png;base64,iVBORw==', 'x': 1.0}
    assert v.body['counts'] == dict(read=2, rejected=1, left=0, rows=1)
    assert 'inf is not a number' in v.body['rejected'][0]['reason']
    assert v.body['sources'][0]['notes']['changed'].keys() == {'day', 'price', 'raw'} and 'day' in v.say()


def test_llama_factory_says_what_columns_mean(ws, data, tmp_path):
    info = {'zh': {'file_name': 'a.json', 'columns': {'prompt': 'q', 'response': 'a', 'system': 's', 'history': 'h'}},
            'talk': {'file_name': 'b.json', 'formatting': 'sharegpt', 'columns': {'messages': 'm', 'tools': 't'},
                     'tags': {'role_tag': 'who', 'content_tag': 'what', 'user_tag': 'U', 'assistant_tag': 'A'}},
            'pairs': {'file_name': 'c.json', 'ranking': True, 'formatting': 'sharegpt',
                      'columns': {'messages': 'conversations', 'chosen': 'yes', 'rejected': 'no'}},
            'kto': {'file_name': 'd.json', 'columns': {'prompt': 'p', 'response': 'r', 'kto_tag': 'good'}},
            'pre': {'file_name': 'e.jsonl', 'columns': {'prompt': 'body'}}, 'hub': {'hf_hub_url': 'org/data'},
            'out': {'file_name': '../../../etc/passwd'}, 'gone': {'file_name': 'no.json'}}
    files = {'dataset_info.json': info, 'a.json': [dict(q='Hi', a='Hello', s='Be kind', h=[['1', '2']])],
             'b.json': [dict(m=[dict(who='U', what='Hi'), dict(who='A', what='Hello')], t='[]')],
             'c.json': [dict(conversations=[{'from': 'human', 'value': 'Hi'}], yes={'from': 'gpt', 'value': 'y'},
                             no={'from': 'gpt', 'value': 'n'})],
             'd.json': [dict(p='Hi', r='Hello', good=True)], 'e.jsonl': dict(body='Once', url='u')}
    for n, x in files.items(): (tmp_path/n).write_text(json.dumps(x))
    def one(name): return next(rows(ws.store, ws.load(tmp_path/'dataset_info.json', name=name), origin=False))
    assert [m['content'] for m in one('zh')['messages']] == ['Be kind', '1', '2', 'Hi', 'Hello']
    assert [(m['role'], m['content']) for m in one('talk')['messages']] == [('user', 'Hi'), ('assistant', 'Hello')]
    p = one('pairs')
    assert (p['prompt'][0]['content'], p['chosen'][0]['content'], p['rejected'][0]['content']) == ('Hi', 'y', 'n')
    k = one('kto')
    assert (k['prompt'][0]['content'], k['completion'][0]['content'], k['label']) == ('Hi', 'Hello', True)
    assert one('pre') == {'text': 'Once', 'url': 'u'} and ws.show('dataset:pre')
    for name, why in (('', 'names 8 datasets'), ('zhh', "Did you mean 'zh'"), ('hub', 'hf download org/data'),
                      ('out', 'leads out'), ('gone', 'no.json')):
        with pytest.raises(LlmopsError, match=why): ws.load(tmp_path, 'x', name=name)


def test_a_hub_folder_reads_its_readme(ws, tmp_path):
    (tmp_path/'h'/'data').mkdir(parents=True)
    (tmp_path/'h'/'README.md').write_text('---\nlicense: mit\nconfigs:\n- config_name: one\n  default: true\n'
                                          '  data_files:\n  - split: train\n    path: data/tr-*.jsonl\n'
                                          '  - split: test\n    path: [data/te.jsonl]\n- config_name: two\n'
                                          '  data_files: data/te.jsonl\n---\n')
    for n, a, b in (('tr-0', 0, 5), ('tr-1', 5, 9), ('te', 9, 12)):
        (tmp_path/'h'/'data'/f'{n}.jsonl').write_bytes(lines(ROWS[a:b]))
    (tmp_path/'h'/'load.py').write_text('raise SystemExit("never run")')
    assert [r['split'] for r in rows(ws.store, ws.load(tmp_path/'h', 'h'))] == ['train']*9+['test']*3
    assert [ws.load(tmp_path/'h', 'h', name=n).body['rows'] for n in ('two', 'test', 'train')] == [3, 3, 9]


def test_several_files_patterns_and_appending(ws, tmp_path):
    for i in range(3): (tmp_path/f'{i}.jsonl').write_bytes(lines(ROWS[i*10:i*10+10])+(b'broken\n' if i == 1 else b''))
    v = ws.load([tmp_path/'2.jsonl', tmp_path/'0.jsonl'], 'x')
    assert ([(r['_file'], r['_line']) for r in rows(ws.store, v)]
            == [('2.jsonl', i) for i in range(1, 11)]+[('0.jsonl', i) for i in range(1, 11)])
    v = ws.load(tmp_path/'*.jsonl', 'y')
    assert v.body['counts'] == dict(read=31, rejected=1, left=0, rows=30) and v.body['rejected'][0]['file'] == '1.jsonl'
    assert len(v.body['sources']) == 3
    w = ws.load(tmp_path/'0.jsonl', 'z')
    z = ws.load(tmp_path/'2.jsonl', 'z', append=True)
    assert [r['_line'] for r in rows(ws.store, z)] == [*range(1, 11)]*2 and z.body['rows'] == 20
    assert z.body['parents'][0]['ref'] == str(w)
    with pytest.raises(NotFound): ws.load(tmp_path/'*.nothing', 'x')


# --- broken and hostile -----------------------------------------------------------------------------------------------

def test_bad_rows_have_line_column_reason_and_text(ws, tmp_path):
    good = b'{"prompt": "a", "completion": "b"}\n'
    bad = {2: (b'{"prompt": "\xe4\xbd\xa0", "prompt": 1}', 17, 'comes twice'), 4: (b'{"prompt": NaN}', 12, 'NaN'),
           5: (b'{"prompt": "a" "b"}', 16, 'delimiter'), 7: ('{"prompt": "时间"}'.encode('gbk'), 14, 'GB18030'),
           8: (b'{"prompt": "\\ud800"}', 12, 'surrogate'), 9: (b'[1, 2]', 1, 'a list'),
           11: (b'{"prompt": 1e999}', 12, 'too large'), 12: (b'{"x": '+b'['*3000+b']'*3000+b'}', 206, 'deep')}
    (tmp_path/'a.jsonl').write_bytes(b''.join(bad[n][0]+b'\n' if n in bad else good for n in range(1, 15)))
    v = ws.load(tmp_path/'a.jsonl', 'x')
    assert v.body['counts'] == dict(read=14, rejected=8, left=0, rows=6)
    f = next(e for e in v.body['files'] if e['path'] == 'rejected.jsonl')
    got = [json.loads(x) for x in ws.store.blobs.get(f['blob']).splitlines()]
    assert [(r['file'], r['line'], r['column']) for r in got] == [('a.jsonl', n, c) for n, (_, c, _) in bad.items()]
    for r, (_, _, why) in zip(got, bad.values(), strict=True): assert why in r['reason'] and 0 < len(r['text']) <= 2000
    assert next(rows(ws.store, v, start=1))['_line'] == 3


# Our own cases: (text, may it be read). Whatever the decoder says, nothing crashes, and what is read means one thing.
JSON_CASES = [('{"a":1}', 1), ('{"a":-0}', 1), ('{"a":1E2}', 1), ('{"a":""}', 1), ('{"":1}', 1), ('{"a":"\\u0000"}', 1),
              ('{"a":"\\ud83d\\ude00"}', 1), ('{"a":"\u2028"}', 1), ('{"a":123456789012345678901234567890}', 1),
              ('{"a":1}\t', 1), (' {"a":1}', 1), ('{"a":"\x7f"}', 1), ('{"a":[[],{},null,true,false]}', 1),
              ('{"a":01}', 0), ('{"a":1.}', 0), ('{"a":.5}', 0), ('{"a":+1}', 0), ('{"a":0x1}', 0), ('{"a":1e}', 0),
              ('{"a":Infinity}', 0), ('{"a":-NaN}', 0), ('{a:1}', 0), ("{'a':1}", 0), ('{"a":1,}', 0), ('{"a" 1}', 0),
              ('{"a":}', 0), ('{,}', 0), ('{"a":1}}', 0), ('{"a":1}{"b":2}', 0), ('{"a":1} x', 0), ('{"a":"\t"}', 0),
              ('{"a":"\\x"}', 0), ('{"a":"\\u12"}', 0), ('{"a":"\\ude00\\ud83d"}', 0), ('{"a":tru}', 0),
              ('{"a":TRUE}', 0), ('{"a":1,"a":1}', 0), ('{"a":{"b":1,"b":1}}', 0), ('{"a":1,"\\u0061":2}', 0),
              ('{"a":"', 0), ('{"a":[1,2}', 0), ('{"a":1e400}', 0), ('{"a":-1e400}', 0), ('/**/{"a":1}', 0),
              ('\ufeff\ufeff{"a":1}', 0), ('null', 0), ('"a"', 0), ('1', 0), ('[]', 0), ('{"a":"\0"}', 0),
              ('{"a":1}\0', 0)]


def test_json_means_one_thing_or_is_refused(tmp_path):
    for i, (s, ok) in enumerate(JSON_CASES):
        (tmp_path/'a.jsonl').write_text('{"first": 1}\n'+s+'\n{"last": 1}\n', encoding='utf-8')
        good, bad = read(tmp_path/'a.jsonl')
        assert (len(good)+len(bad) == 3 and len(bad) == 1-ok and good[0] == {'first': 1}
                and good[-1] == {'last': 1}), (i, s, good, bad)
        if ok: assert good[1] == json.loads(s) and repr(good[1]) == repr(json.loads(s))
        else: assert bad[0].line == 2 and bad[0].column >= 1 and bad[0].reason


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-2**70, 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=['Cs']), max_size=8), lambda x: st.lists(x, max_size=3)
    | st.dictionaries(st.text(st.characters(exclude_categories=['Cs']), max_size=4), x, max_size=3), max_leaves=6)
some = st.lists(st.dictionaries(st.text('abc', min_size=1, max_size=2), plain, min_size=1, max_size=3),
                min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(some, st.sampled_from([None, 1, 4]), st.booleans())
def test_any_rows_come_back_from_json(tmp_path_factory, rs, indent, ascii_):
    p = tmp_path_factory.mktemp('h')/'a.json'
    p.write_text(json.dumps(rs, indent=indent, ensure_ascii=ascii_), encoding='utf-8')
    good, bad = read(p)
    assert [repr(r) for r in good] == [repr(r) for r in rs] and not bad
    q = p.with_name('b.jsonl')
    q.write_text('\n'.join(json.dumps(r, ensure_ascii=ascii_) for r in rs), encoding='utf-8')
    assert [repr(r) for r in read(q)[0]] == [repr(r) for r in rs]


cell = st.text(st.characters(exclude_categories=['Cs'], exclude_characters='\0\r'), max_size=12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(cell, cell, cell), min_size=3, max_size=8), st.sampled_from(',;\t|'))
def test_any_cells_come_back_from_csv(tmp_path_factory, rs, sep):
    p = tmp_path_factory.mktemp('h')/'a.csv'
    with open(p, 'w', newline='', encoding='utf-8') as f:
        csv.writer(f, delimiter=sep, quoting=csv.QUOTE_ALL).writerows([('name', 'question', 'answer'), *rs])
    from llmops.data.read_bytes import open_file
    from llmops.data.read_table import csv_rows
    src = open_file(p)
    chunks = list(csv_rows(src, header=True))
    assert src.notes['separator'] == sep and [tuple(r.values()) for c in chunks for _, r in c.rows] == rs
    assert not any(c.bad for c in chunks)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(['a.jsonl', 'a.json', 'pretty.json', 'wrapped.json', 'a.csv', 'a.jsonl.gz', 'two.jsonl.zst',
                        'a.jsonl.xz', 'a.parquet', 'a.arrow', 's.arrow', 'a.zip', 'a.tar.gz']), st.integers(0, 2**32))
def test_damaged_bytes_give_rows_refusals_or_a_sentence(tmp_path_factory, name, seed):
    at = _made(tmp_path_factory)
    r = random.Random(seed)
    b = bytearray((at/name).read_bytes())
    for _ in range(r.choice((1, 3, 30))): b[r.randrange(len(b))] = r.randrange(256)
    if r.random() < .3: del b[r.randrange(len(b)):]
    p = tmp_path_factory.mktemp('d')/name
    p.write_bytes(b)
    try: good, bad = read(p)
    except LlmopsError as e: assert 10 < len(str(e)) < 1000
    else:
        assert all(isinstance(x, dict) for x in good)
        assert all(x.line >= 1 and x.column >= 1 and x.reason and len(x.text) <= 2000 for x in bad)


_at = []


def _made(factory):
    if not _at:
        _at.append(factory.mktemp('made'))
        containers(_at[0], ROWS)
    return _at[0]


def test_a_lost_quote_costs_one_row_of_a_list(tmp_path):
    "Wherever one character is missing, all other rows come through"
    text = json.dumps(ROWS, indent=1).split('\n')
    for k in random.Random(3).sample(range(1, len(text)-1), 60):
        for c in '"{}':
            cut = text[k].replace(c, '', 1)
            if cut == text[k]: continue
            new = '\n'.join([*text[:k], cut, *text[k+1:]])
            try: json.loads(new)
            except ValueError: pass
            else: continue # It was in a text
            (tmp_path/'a.json').write_text(new)
            good, bad = read(tmp_path/'a.json')
            assert len(good) >= 38 and all(g in ROWS for g in good) and 1 <= len(bad) <= 2, (k, text[k], c, bad)


def test_archives_that_would_do_harm(ws, tmp_path):
    def made(name, *members):
        with zipfile.ZipFile(tmp_path/name, 'w', zipfile.ZIP_DEFLATED) as z:
            for n, b in members: z.writestr(n, b)
        return tmp_path/name
    big = bytes(1 << 26)
    with gzip.open(tmp_path/'bomb.jsonl.gz', 'wb', 1) as f:
        for _ in range(300): f.write(b'x'*(1 << 20))
    bad = [(made('slip.zip', ('../../x.jsonl', b'{}')), 'leads out'),
           (made('abs.zip', ('/etc/x.jsonl', b'{}')), 'leads out'),
           (made('bomb.zip', *((f'{i}.jsonl', big) for i in range(5))), '200 times'),
           (made('nested.zip', ('a.jsonl', made('in.zip', ('a.jsonl', b'{}')).read_bytes())), 'archive in an archive'),
           (made('none.zip', ('a.py', b'x')), 'no row|no JSON|no file'), (tmp_path/'bomb.jsonl.gz', '200 times')]
    link = tmp_path/'f'
    link.mkdir()
    (link/'a.jsonl').symlink_to('/etc/passwd')
    bad.append((link, 'leads out'))
    before = sorted(p.name for p in tmp_path.rglob('*') if 'ws' not in p.parts)
    for p, why in bad:
        with pytest.raises(Invalid, match=why): ws.load(p, 'x')
    assert ws.ls() == [] and sorted(p.name for p in tmp_path.rglob('*') if 'ws' not in p.parts) == before


HOSTILE = {'line.jsonl': (b'{"a": "b"}\n{"a": "', b'x'*(1 << 20), 260, b'"}\n{"a": "c"}\n', 2),
           'list.json': (b'[{"a": "b"},\n{"a": "', b'x'*(1 << 20), 260, b'"},\n{"a": "c"}]', 2),
           'deep.json': (b'', b'['*(1 << 20), 40, b'', 0),
           'quote.csv': (b'a,b\n1,2\n3,"', b'x'*(1 << 20), 260, b'\n4,5\n', 2),
           'wide.jsonl': (b'{"a": "b"}\n{"a": [', b'{},'*(1 << 18), 16, b'{}]}\n{"a": "c"}\n', 2),
           'text.txt': (b'one\n', b'x'*(1 << 20), 260, b'\ntwo', 2),
           'escapes.json': (b'[{"a": "', b'\\"'*(1 << 19), 60, b'"}, {"a": "c"}]', 1),
           'many.jsonl': (b'', b'{"a":1}\n'*(1 << 14), 30, b'', 30 << 14),
           'open.json': (b'[', b'{"a": [1, '*(1 << 16), 30, b'', 0)}


@pytest.mark.parametrize('name', HOSTILE)
def test_hostile_files_cost_no_more_than_twice_their_chunk(tmp_path, name):
    "A chunk is the longest record with what Python makes of it: 64 MB"
    first, many, n, last, rows_ = HOSTILE[name]
    with open(tmp_path/name, 'wb') as f:
        f.write(first)
        for _ in range(n): f.write(many)
        f.write(last)
    code = ('import sys, pyarrow\nfrom pathlib import Path\nfrom llmops.data.read import parts\n'
            'def rss(): return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])\n'
            'p, = parts([Path(sys.argv[1])], Path(sys.argv[2]))\nb, n, bad = rss(), 0, 0\n'
            'for c in p.chunks(): n, bad = n+len(c.rows), bad+len(c.bad)\nprint(n, bad, (rss()-b)//1024)')
    r = subprocess.run([sys.executable, '-c', code, str(tmp_path/name), str(tmp_path)], capture_output=True,
                       text=True, timeout=120)
    assert r.returncode == 0, r.stderr[-2000:]
    good, bad, mb = map(int, r.stdout.split())
    assert good == rows_ and (bad >= 1 or name == 'many.jsonl') and mb <= 128, r.stdout
    assert MAX_LINE*8 == 128 << 20


def test_counts_add_up_and_drawing_is_repeatable(ws, tmp_path):
    (tmp_path/'a.jsonl').write_bytes(lines(ROWS)+b'broken\n'+lines(ROWS))
    for n, seed in ((0, 0), (10, 0), (10, 5), (500, 5), (80, 1)):
        c = ws.load(tmp_path/'a.jsonl', 'x', rows=n, seed=seed).body['counts']
        assert c['read'] == 81 == c['rows']+c['rejected']+c['left'] and c['rows'] == (min(n, 80) or 80)
    assert (str(ws.load(tmp_path/'a.jsonl', 'y', rows=10, seed=5))
            == str(ws.load(tmp_path/'a.jsonl', 'y', rows=10, seed=5)) == 'dataset:y@1')


def test_columns_named_like_origin_are_renamed_and_said(ws, tmp_path):
    (tmp_path/'a.jsonl').write_text('{"text": "a", "_line": 77, "_file": "mine"}\n')
    v = ws.load(tmp_path/'a.jsonl', 'x')
    r, = rows(ws.store, v)
    assert (r['_line'], r['_file'], r['_line_'], r['_file_']) == (1, 'a.jsonl', 77, 'mine')
    assert v.body['renamed'] == {'_line': '_line_', '_file': '_file_'}


def test_encodings_are_read_or_refused_never_mangled(ws, tmp_path):
    s = '[{"text": "时间很长，天气很好"}]'
    for enc, why in (('utf-16', 'UTF-16'), ('utf-16-le', 'UTF-16'), ('gb18030', 'GB18030'), ('utf-32', 'UTF')):
        (tmp_path/'a.json').write_bytes(s.encode(enc))
        with pytest.raises(Invalid, match=why): ws.load(tmp_path/'a.json', 'x')
    (tmp_path/'mixed.csv').write_bytes('text,n\n好,1\n'.encode()+'时间很长,2\n'.encode('gbk')+'坏,3\n'.encode())
    good, bad = read(tmp_path/'mixed.csv')
    assert [r['n'] for r in good] == ['1', '3'] and [b.line for b in bad] == [3] and 'GB18030' in bad[0].reason


@pytest.mark.slow
def test_a_large_file_takes_bounded_memory(tmp_path):
    with open(tmp_path/'a.jsonl', 'wb') as f:
        for i in range(80):
            f.write(lines([{'prompt': f'{i} {j} '+'word '*80, 'completion': 'x'*100} for j in range(2000)]))
    code = ('import sys\nfrom llmops.verbs import open_workspace\nws = open_workspace(sys.argv[1])\n'
            'v = ws.load(sys.argv[2], "x")\nprint(v.body["rows"], '
            'int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])//1024)')
    r = subprocess.run([sys.executable, '-c', code, str(tmp_path/'ws'), str(tmp_path/'a.jsonl')],
                       capture_output=True, text=True)
    n, mb = map(int, r.stdout.split())
    assert n == 160_000 and mb < 300, r.stdout


def test_line_ends_of_old_macs_and_marks_in_the_middle(ws, tmp_path):
    row = b'{"instruction": "a", "output": "b"}'
    (tmp_path/'a.jsonl').write_bytes(row+b'\r'+b'{bad}\r'+row+b'\r')
    v = ws.load(tmp_path/'a.jsonl', 'a')
    assert v.body['counts'] == dict(read=3, rejected=1, left=0, rows=2)
    assert [r['line'] for r in v.body['rejected']] == [2]
    assert v.body['sources'][0]['notes'] == {'line_ends': 'CR'}
    (tmp_path/'b.csv').write_bytes(b'prompt,completion\ra,b\rc,"d, e"\r')
    assert [r['messages'][1]['content'] for r in rows(ws.store, ws.load(tmp_path/'b.csv', 'b'))] == ['b', 'd, e']
    (tmp_path/'c.jsonl').write_bytes((row+b'\n')+b'\xef\xbb\xbf'+row+b'\n'+row[:-1]+b', "n": '+b'1'*5000+b'}\n')
    v = ws.load(tmp_path/'c.jsonl', 'c')
    assert v.body['rejected'] == [dict(file='c.jsonl', line=2, column=1,
                                       reason='it starts with a byte order mark, in the middle of the file'),
                                  dict(file='c.jsonl', line=3, column=42, reason='a number has more than 4,300 digits')]


def test_the_fast_reader_counts_quotes_as_they_are():
    from llmops.data.read_json import _quotes
    r = random.Random(3)
    for _ in range(300):
        o = {''.join(r.choices('a"\\n', k=r.randrange(4)))+str(i): ''.join(r.choices('a"\\\n{', k=r.randrange(9)))
             for i in range(r.randrange(5))}
        assert _quotes(json.dumps(o).encode()) == 4*len(o)


def test_marks_of_templates_are_noted_with_their_lines(ws, tmp_path):
    said = ['plain', 'a <b>', '<|im_end|> x', '{{ name }}', '[INST] y', '</s>']
    (tmp_path/'a.jsonl').write_bytes(lines({'instruction': s, 'output': 'b'} for s in said))
    want = {'control tokens': dict(rows=3, lines=[3, 5, 6]), 'placeholders': dict(rows=1, lines=[4])}
    assert (ws.load(tmp_path/'a.jsonl', 'a').body['flags'] == want
            == ws.load(tmp_path/'a.jsonl', 'a', append=True).body['flags'])
