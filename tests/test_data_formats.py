"Formats: what is read is written back as it was; what cannot be held is said; nothing goes without being counted."
import base64
import csv
import functools
import gzip
import io
import json
import shutil
import typing
import zipfile
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmops.core import Invalid
from llmops.data.export import Name
from llmops.data.formats import BESIDE, FORMATS, change, convert, detect, kind_of, texts, write
from llmops.rows import rows as rows_of

many = settings(max_examples=30, deadline=None,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def content(ws, v): return list(rows_of(ws.store, v, origin=False))


def there_and_back(row, name):
    got, lost = write(convert(row, name), name)
    assert (json.dumps(got, sort_keys=True), lost) == (json.dumps(row, sort_keys=True), [])


# --- what rows may look like ----------------------------------------------------------------------------------------

text = st.text(st.characters(exclude_categories=('Cs',)), max_size=30)
lines = st.lists(text, max_size=3).map('\n'.join)
said = lines.filter(lambda s: s and not s.lstrip().startswith('[') and not s.startswith('\n\nHuman:'))
value = st.recursive(
    st.none() | st.booleans() | st.integers(-2**60, 2**60) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda x: st.lists(x, max_size=3) | st.dictionaries(text, x, max_size=3), max_leaves=6)
taken = ({k for f in FORMATS.values() for g in f.needs for k in g} | BESIDE
         | {'system', 'system_prompt', 'tools', 'input', 'context', 'history', 'images', 'videos', 'audios', 'image',
            'video', 'audio', 'kto_tag', 'B', 'C', 'D', 'answer', 'label', 'text', 'content'})
names = st.text('abcxyz_é图', min_size=1, max_size=5).filter(lambda k: k not in taken)
extras = st.dictionaries(names, value, max_size=2)
arguments = st.dictionaries(text, value, max_size=3)
spelt = st.sampled_from([dict(ensure_ascii=False), dict(), dict(separators=(',', ':')), dict(indent=2), dict(indent=3)])


def dumped(o): return st.tuples(o, spelt).map(lambda x: json.dumps(x[0], **x[1]))


call = st.fixed_dictionaries({'name': st.sampled_from(['find', 'save']), 'arguments': arguments | dumped(arguments)})
openai_call = st.fixed_dictionaries({'id': st.sampled_from(['c1', 'c2']), 'type': st.just('function'),
                                     'function': call})
tools = st.lists(st.fixed_dictionaries({'name': text, 'description': text, 'parameters': value}),
                 min_size=1, max_size=2)


@st.composite
def openai(draw, answers=True):
    "Messages of role and content, with calls in parallel, ids, parts and more keys"
    out = ([{'role': draw(st.sampled_from(['system', 'developer'])), 'content': draw(text)}]
           if draw(st.booleans()) else [])
    for _ in range(draw(st.integers(1, 2))):
        c = draw(text)
        out.append({'role': 'user', 'content': draw(st.sampled_from(
            [c, [{'type': 'text', 'text': c}], [{'type': 'text', 'text': c}, {'type': 'text', 'text': 'x'}]]))}
                   | draw(st.sampled_from([{}, {'name': 'Ann'}])))
        if draw(st.booleans()):
            calls = draw(st.lists(openai_call, min_size=1, max_size=2))
            out.append({'role': 'assistant', 'tool_calls': calls}
                       | draw(st.sampled_from([{}, {'content': None}, {'content': ''}, {'content': 'see'}])))
            out += [{'role': 'tool', 'content': draw(text), 'tool_call_id': x['id']} for x in calls]
        out.append({'role': 'assistant', 'content': draw(text)}
                   | draw(st.sampled_from([{}, {'tool_calls': None}, {'weight': 0}])))
    return out if answers else out[:-1]


@st.composite
def sharegpt(draw, answers=True):
    "Messages of from and value, by any of the usual names"
    out = [{'from': 'system', 'value': draw(text)}] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 2))):
        out.append({'from': draw(st.sampled_from(['human', 'user'])), 'value': draw(text)})
        if draw(st.booleans()):
            if draw(st.booleans()): out.append({'from': 'gpt', 'value': draw(text)})
            out += [{'from': 'function_call', 'value': draw(dumped(call | st.lists(call, min_size=1, max_size=2)))},
                    {'from': draw(st.sampled_from(['observation', 'tool'])), 'value': draw(text)}]
        out.append({'from': draw(st.sampled_from(['gpt', 'assistant'])), 'value': draw(text)})
    return out if answers else out[:-1]


def rows_(must, may=None):
    return st.tuples(st.fixed_dictionaries(must, optional=may or {}), extras).map(lambda x: x[1] | x[0])


empty = st.sampled_from([None, ''])
system = {'system': said | empty}
choices = st.lists(lines, min_size=2, max_size=5)


def choice(q, c, right): return {'question': q, **dict(zip('ABCDE', c)), 'answer': 'ABCDE'[right % len(c)]}


def differ(k): return lambda r: r[k[0]] != r[k[1]]


pairs = {'prompt': said, 'chosen': said, 'rejected': said}
ROWS = {
    'alpaca': rows_({'instruction': lines, 'output': text},
                    {'input': lines | st.none(), 'history': st.lists(st.tuples(text, text).map(list), max_size=2),
                     'tools': dumped(tools) | st.just('')} | system),
    'sharegpt': (rows_({'conversations': sharegpt()},
                       {'tools': dumped(tools) | empty | tools | st.just([]) | st.just('[]'), 'messages': value})
                 | rows_({'conversations': openai()})),
    'messages': (rows_({'messages': openai()}, {'tools': tools | dumped(tools) | empty})
                 | rows_({'messages': sharegpt()}) | rows_({'messages': dumped(openai())})),
    'prompt-completion': (
        rows_({'prompt': said, 'completion': said}, system)
        | rows_({'prompt': openai(False), 'completion': said.map(lambda s: [{'role': 'assistant', 'content': s}])})
        | rows_({'prompt': said, 'response': said})),
    'question-answer': rows_({'question': said, 'answer': said}, system) | rows_({'problem': said, 'solution': said}),
    'humaneval': rows_({'prompt': said, 'canonical_solution': said, 'test': text, 'entry_point': text}),
    'multiple-choice': (
        rows_({}).flatmap(lambda r: st.builds(lambda q, c, n: r | choice(q, c, n), lines, choices, st.integers(0, 9)))
        | st.builds(lambda q, c, n: {'question': q, 'choices': c, 'answer': n % len(c)}, lines, choices,
                    st.integers(0, 9))
        | st.builds(lambda q, c, n: {f'column_{i}': x for i, x in enumerate(choice(q, c, n).values(), 1)},
                    lines, choices, st.integers(0, 9))),
    'multiple-choice-open': st.builds(lambda q, c: {'question': q, **dict(zip('ABCDE', c))}, lines, choices),
    'dpo': (rows_(pairs, system) | rows_(pairs | {'prompt': openai(False)})
            | rows_({'conversations': sharegpt(False), 'chosen': said.map(lambda s: {'from': 'gpt', 'value': s}),
                     'rejected': said.map(lambda s: {'from': 'gpt', 'value': s})})
            | rows_({'instruction': lines, 'input': lines, 'chosen': said, 'rejected': said})
            | rows_({'question': said, 'chosen': said, 'rejected': said}, system)
            | st.tuples(openai(), said).map(
                lambda x: {'chosen': x[0], 'rejected': [*x[0][:-1], {'role': 'assistant', 'content': x[1]}]}).filter(
                    lambda r: r['chosen'][-1]['content'] != r['rejected'][-1]['content'])
    ).filter(lambda r: r['chosen'] != r['rejected']),
    'alpaca-pair': rows_({'instruction': lines, 'input': lines,
                          'output': st.lists(said, min_size=2, max_size=2, unique=True)}),
    'ranking': rows_({'conversations': sharegpt(False), 'chosen': said.map(lambda s: {'from': 'gpt', 'value': s}),
                      'rejected': said.map(lambda s: {'role': 'assistant', 'content': s})}).filter(
                          lambda r: r['chosen']['value'] != r['rejected']['content']),
    'kto': (rows_({'messages': openai(), 'label': st.booleans()})
            | rows_({'prompt': said, 'completion': said, 'label': st.booleans()}, system)
            | rows_({'instruction': lines, 'output': said, 'kto_tag': st.booleans()})
            | rows_({'conversations': sharegpt(), 'label': st.booleans()})
            | st.builds(lambda p, c, y: {'prompt': p, 'completion': c, 'label': y}, said, said,
                        st.sampled_from(['true', 'False']))),
    'prompts': (rows_({'prompt': said}, system) | rows_({'prompt': openai(False)})
                | rows_({'messages': openai(False)})
                | rows_({'instruction': lines, 'input': lines}, {'output': empty})),
    'chatml': st.builds(lambda q, a, end, between: {'text': f'<|im_start|>user\n{q}<|im_end|>{between}'
                                                            f'<|im_start|>assistant\n{a}<|im_end|>{end}'},
                        *([lines.filter(lambda s: '<|im_' not in s)]*2), st.sampled_from(['', '\n']),
                        st.sampled_from(['', '\n'])),
    'classification': rows_({'text': text, 'label': text | st.integers(0, 9)}),
    'text': rows_({'text': text}) | rows_({'content': text}),
    'table': st.dictionaries(names, value, min_size=1, max_size=3),
}


def test_every_format_is_tried_and_named():
    assert set(ROWS) == set(FORMATS) and set(typing.get_args(Name)) == {'auto', *FORMATS}


@pytest.mark.parametrize('name', ROWS)
def test_what_is_read_is_written_as_it_was(name):
    @many
    @given(ROWS[name])
    def check(row):
        there_and_back(row, name)
        inside = convert(row, name)
        assert json.loads(json.dumps(inside)) == inside and FORMATS[name].kind in (kind_of(inside), 'table')
    check()


def masked(s): return '\n'.join(x and f'#{zlib.crc32(x.encode())}' for x in s.split('\n'))


@pytest.mark.parametrize('name',
                         [n for n in ROWS if FORMATS[n].kind in ('messages', 'preference', 'unpaired', 'prompts')])
def test_changed_texts_are_written_and_nothing_of_the_old_stays(name):
    @many
    @given(ROWS[name])
    def check(row):
        inside = convert(row, name)
        new = change(inside, masked, extra=True)
        assert not set(''.join(texts(new, extra=True))) - set('#0123456789\n')
        if name in ('chatml', 'multiple-choice', 'multiple-choice-open'): return
        assert change(inside, lambda s: s) == inside
        out, lost = write(new, name)
        again = convert(out, name)
        plain = {k: v for k, v in new.items() if k != '_as'}
        assert {k: v for k, v in again.items() if k != '_as'} == plain and not lost
    check()


OTHERS = {
    'dpo': [{'prompt': 'p', 'accepted': 'g', 'rejected': 'b'},
            {'question': 'p', 'response_j': 'g', 'response_k': 'b', 'id': 1},
            {'prompt': 'p', 'preferred': 'g', 'dispreferred': 'b'},
            {'messages': [{'role': 'user', 'content': 'p'}], 'chosen': {'role': 'assistant', 'content': 'g'},
             'rejected': {'role': 'assistant', 'content': 'b'}},
            {'input': {'messages': [{'role': 'user', 'content': 'p'}], 'tools': [], 'parallel_tool_calls': True},
             'preferred_output': [{'role': 'assistant', 'content': 'g'}],
             'non_preferred_output': [{'role': 'assistant', 'content': 'b'}]},
            {'chosen': '\n\nHuman: p\n\nAssistant: g', 'rejected': '\n\nHuman: p\n\nAssistant:'},
            {'chosen': '\n\nHuman:p\n\nAssistant:g', 'rejected': '\n\nHuman:p\n\nAssistant: b'}],
    'kto': [{'id': 1, 'instruction': 'p', 'input': '', 'output': 'g', 'kto_tag': 'false'}],
    'sharegpt': [{'conversations': [{'from': a, 'value': 'p'}, {'from': b, 'value': 'g'}]}
                 for a, b in [('human', 'bing'), ('Human', 'Assistant'), ('USER', 'ASSISTANT'), ('prompter', 'ai')]],
    'multiple-choice': [{'Question': 'p', 'option_a': '1', 'option_b': '2', 'correct_answer': 'B'},
                        {'question': 'p', 'A': '1', 'B': '2', 'C': '3', 'answer': 'c'},
                        {'题干': 'p', '选项A': '1', '选项B': '2', '正确答案': 'A'},
                        {'question': 'p', 'A': '1', 'B': '2', 'label': 'A'},
                        {'question': 'p', 'Option A': '1', 'Option B': '2', 'answerKey': 'B'}],
    'multiple-choice-open': [{'question': 'p', 'Choice A': '1', 'Choice B': '2'}],
}


@pytest.mark.parametrize('name', OTHERS)
def test_other_spellings_of_a_format_are_known(name):
    for row in OTHERS[name]:
        assert detect([row]*3)[0] == name
        there_and_back(row, name)
        inside = convert(row, name)
        assert kind_of(inside) == FORMATS[name].kind
        said = {'preference': ('prompt', 'chosen', 'rejected'), 'unpaired': ('prompt', 'completion'),
                'messages': ('messages',), 'prompts': ('prompt',)}[FORMATS[name].kind]
        assert ([m['role'] for k in said for m in inside[k]]
                == (['user', 'assistant', 'assistant'] if name == 'dpo'
                    else ['user'] if name == 'multiple-choice-open' else ['user', 'assistant']))


def test_masked_texts_do_not_live_on_in_what_is_remembered():
    odd = '{"name" :"find","arguments":{"who":"Ann Lee"}}'
    row = {'conversations': [{'from': 'human', 'value': 'Ann Lee?'}, {'from': 'function_call', 'value': odd},
                             {'from': 'observation', 'value': 'Ann Lee: 9'}, {'from': 'gpt', 'value': 'Ann Lee is 9'}],
           'tools': '[{"name" :"find","description":"as for Ann Lee"}]', 'messages': 'mine, Ann Lee', 'mail': 'Ann Lee'}
    there_and_back(row, 'sharegpt')
    new = change(convert(row, 'sharegpt'), lambda s: s.replace('Ann Lee', '*'), extra=True)
    assert 'Ann Lee' not in json.dumps(new) and 'Ann Lee' not in json.dumps(write(new, 'sharegpt')[0])
    assert (json.loads(write(new, 'sharegpt')[0]['conversations'][1]['value'])
            == {'name': 'find', 'arguments': {'who': '*'}})


# --- how formats are told apart -------------------------------------------------------------------------------------

def test_detection_gives_its_evidence():
    u, a = {'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'a'}
    for rows, name, why in (([{'instruction': 'q', 'output': 'a'}]*7+[{'text': 'x'}]*3, 'alpaca',
                             'instruction and output in 7 of the first 10 rows (3 look like text)'),
                            ([{'question': 'q', 'answer': 'a', 'instruction': 'q', 'output': 'a'}], 'alpaca',
                             'ambiguous: question-answer fits 1 too, by question and answer'),
                            ([{'messages': [u, a], 'label': True}], 'kto', 'messages needs only messages'),
                            ([{'messages': [u, a], 'label': 'x'}], 'messages', 'no other format fits any'),
                            ([{'messages': [u]}], 'prompts', 'no other format fits any'),
                            ([{'a': 1}], 'table', 'no format fits'), ([], 'table', 'no rows'),
                            ([{'prompt': 'q'}], 'prompts', 'prompt in 1 of the first 1 rows'),
                            ([{'text': 't', 'label': 'x'}], 'classification', 'text needs only text')):
        got, said = detect(rows)
        assert got == name and why in said, (got, said)


@pytest.mark.parametrize('name',
                         ['alpaca', 'sharegpt', 'dpo', 'kto', 'multiple-choice', 'humaneval', 'prompts', 'chatml'])
def test_rows_of_a_format_are_told(name):
    @settings(max_examples=25, deadline=None)
    @given(ROWS[name])
    def check(row): assert detect([row])[0] == ('alpaca' if name == 'prompts' and row.get('output') == '' else name)
    check()


# --- real files -----------------------------------------------------------------------------------------------------

@functools.cache
def raw(data):
    "Every public file: name, rows, format, how many"
    out = [(f, json.loads((data/'llamafactory'/f).read_text()), name, n) for f, name, n in (
        ('alpaca_en_demo.json', 'alpaca', 999), ('alpaca_zh_demo.json', 'alpaca', 1000),
        ('identity.json', 'alpaca', 91), ('dpo_en_demo.json', 'dpo', 300), ('kto_en_demo.json', 'kto', 300),
        ('glaive_toolcall_en_demo.json', 'sharegpt', 300))]
    out += [(f, [json.loads(x) for x in open(data/f, encoding='utf-8')], name, n) for f, name, n in (
        ('llamafactory/c4_demo.jsonl', 'text', 300), ('gsm8k/train.jsonl', 'question-answer', 7473),
        ('gsm8k/test.jsonl', 'question-answer', 1319))]
    with gzip.open(data/'humaneval'/'HumanEval.jsonl.gz') as f:
        out.append(('humaneval', [json.loads(x) for x in f], 'humaneval', 164))
    def table(b): return csv.reader(io.StringIO(b.decode('utf-8-sig'), newline=''))
    with zipfile.ZipFile(data/'mmlu'/'mmlu.zip') as z:
        for part, n in (('dev', 285), ('val', 1531), ('test', 14042)):
            out.append((f'mmlu {part}', [{f'column_{i}': x for i, x in enumerate(r, 1)} for f in z.namelist()
                                         if f'/{part}/' in f and f.endswith('.csv') for r in table(z.read(f))],
                        'multiple-choice', n))
    with zipfile.ZipFile(data/'ceval'/'ceval.zip') as z:
        for part, name, n in (('dev', 'multiple-choice', 260), ('val', 'multiple-choice', 1346),
                              ('test', 'multiple-choice-open', 12342)):
            found = [list(table(z.read(f))) for f in z.namelist() if f.startswith(part) and f.endswith('.csv')]
            out.append((f'ceval {part}', [dict(zip(t[0], r, strict=True)) for t in found for r in t[1:]], name, n))
    return out


def test_public_files_come_back_as_they_were(data):
    for name, rows, fmt, n in raw(data):
        assert detect(rows)[0] == fmt and len(rows) == n, name
        for r in rows: there_and_back(r, fmt)


def test_public_files_go_through_every_format_of_their_kind(data):
    "A file in one format, written in another that holds it and read again, says the same"
    tried = set()
    for name, rows, fmt, _ in raw(data):
        kind = FORMATS[fmt].kind
        for other in (k for k, f in FORMATS.items() if f.kind == kind and k not in ('table', 'classification')):
            held = 0
            for r in rows[:60]:
                a = convert(r, fmt)
                try: out, lost = write(a, other)
                except Invalid: continue
                b = convert(json.loads(json.dumps(out)), other)
                assert set(lost) <= {'where the input began',
                                     *(('tools',) if other == 'chatml' else ())}, (name, other, lost)
                a, b = ({k: v for k, v in x.items() if k not in ('_as', 'tools')} for x in (a, b))
                assert a == b, (name, other)
                held += 1
            tried.add((fmt, other, held > 0))
    assert {('alpaca', 'sharegpt', True), ('alpaca', 'chatml', True), ('sharegpt', 'messages', True),
            ('dpo', 'ranking', True), ('question-answer', 'alpaca', True),
            ('multiple-choice', 'messages', True)} <= tried
    assert ('alpaca', 'multiple-choice', False) in tried


# --- to disk and back -----------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def shared(tmp_path_factory):
    "One workspace for many small files"
    import llmops
    at = tmp_path_factory.mktemp('formats')
    ws = llmops.open(at/'ws')
    yield ws, at
    ws.store.close()


def exact(rows): return [json.dumps(r, sort_keys=True) for r in rows]


def read_back(path):
    b = path.read_bytes()
    if path.name.endswith('.gz'): b = gzip.decompress(b)
    return (json.loads(b) if '.json' in path.suffixes and '.jsonl' not in path.suffixes
            else [json.loads(x) for x in b.split(b'\n') if x])


@pytest.mark.parametrize('name', [n for n in ROWS if n != 'table'])
def test_files_are_exported_as_they_came(shared, name):
    ws, at = shared

    @settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(ROWS[name], min_size=1, max_size=6),
           st.sampled_from(['a.jsonl', 'a.json', 'a.jsonl.gz', 'a.json.gz']))
    def check(rows, file):
        (at/'in.json').write_text(json.dumps(rows))
        v = ws.load(at/'in.json', out=name, format=name)
        assert v.body['counts'] == dict(read=len(rows), rejected=0, left=0, rows=len(rows))
        assert v.body['format'] == FORMATS[name].kind
        out = ws.export(v, at/file, format=name, overwrite=True, strict=True)
        assert exact(read_back(at/file)) == exact(rows)
        assert (out['rows'], out['lost'], out['left_out']) == (len(rows), [], [])
        assert exact(read_back(at/file)) == exact(read_back(at/file)) and not list(at.glob('.*'))
    check()


@pytest.mark.parametrize('file', ['a.parquet', 'a.arrow', 'a.csv', 'a.tsv', 'a.csv.zst', 'a.xlsx', 'folder'])
@pytest.mark.parametrize('name', ['alpaca', 'sharegpt', 'dpo', 'kto', 'question-answer', 'multiple-choice'])
def test_every_type_of_file_holds_the_rows(shared, data, name, file):
    ws, at = shared
    src = {n: r for f, r, n, _ in reversed(raw(data)) if 'test' not in f}[name][:40]
    (at/'in.json').write_text(json.dumps(src))
    v = ws.load(at/'in.json', out=f'src-{name}')
    ws.export(v, at/file, overwrite=True)
    again = ws.load(at/file, out='again')
    assert content(ws, again) == content(ws, v) and again.body['sources'][0]['format'] == name


def test_nothing_is_left_behind_by_what_fails(ws, tmp_path):
    rows = [{'instruction': 'q', 'input': 'x', 'output': 'a'}, {'instruction': 'q', 'input': '', 'output': 'b'*40000}]
    (tmp_path/'a.jsonl').write_text('\n'.join(map(json.dumps, rows)))
    v = ws.load(tmp_path/'a.jsonl')
    before = sorted(p.name for p in tmp_path.iterdir())
    for name, how, why in (('b.xlsx', {}, 'row 2: output has 40,000 characters'),
                           ('b.jsonl', dict(format='messages', strict=True), 'lost in 1 rows: where the input began'),
                           ('b.doc', {}, 'no type of file'), ('b.txt', {}, 'has no text'),
                           ('no/b.jsonl', {}, 'is not a folder'), ('a.jsonl', {}, 'is there already'),
                           ('b.jsonl', dict(format='kto'), 'convert'), ('b.parquet.gz', {}, 'not packed'),
                           ('b.jsonl', dict(format='chatlm'), 'chatml'),
                           ('lf', dict(type='llamafactory', format='sharegpt', strict=True), 'began')):
        with pytest.raises(ValueError if name != 'no/b.jsonl' else LookupError, match=why):
            ws.export(v, tmp_path/name, **how)
    (tmp_path/'mine').mkdir()
    (tmp_path/'mine'/'letter').write_text('dear')
    for name, how, why in (('mine', dict(overwrite=True), 'of other things, which is never replaced'),
                           ('mine', dict(type='jsonl', overwrite=True), 'is a folder'),
                           ('a.jsonl', dict(type='llamafactory', overwrite=True), 'is a file')):
        with pytest.raises(Invalid, match=why): ws.export(v, tmp_path/name, **how)
    assert (tmp_path/'mine'/'letter').read_text() == 'dear'
    shutil.rmtree(tmp_path/'mine')
    assert sorted(p.name for p in tmp_path.iterdir()) == before and read_back(tmp_path/'a.jsonl') == rows
    ws.export(v, tmp_path/'a.jsonl', format='sharegpt', overwrite=True)
    assert [list(r) for r in read_back(tmp_path/'a.jsonl')] == [['conversations']]*2


def test_rows_that_do_not_fit_stay_out_and_are_counted(ws, tmp_path):
    u, a = {'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'a'}
    rows = [{'messages': [u, a]},
            {'messages': [u, a | {'tool_calls': [{'type': 'function', 'function': {'name': 'f', 'arguments': {}}}]}]},
            {'messages': [u, a | {'weight': 0}], 'instruction': 'mine'}]
    (tmp_path/'a.jsonl').write_text('\n'.join(map(json.dumps, rows)))
    r = ws.export(ws.load(tmp_path/'a.jsonl'), tmp_path/'b.json', format='alpaca')
    assert r['counts'] == dict(read=3, rows=2, left_out=1)
    assert r['left_out'] == [dict(why='a message calls a tool, for which alpaca has no place', rows=1, first=2)]
    assert {x['what']: x['rows'] for x in r['lost']} == {'what a message has beside role and content: weight': 1,
                                                         'the column instruction, whose name alpaca uses': 1}
    assert read_back(tmp_path/'b.json') == [{'instruction': 'q', 'input': '', 'output': 'a'}]*2


def test_llamafactory_folder_says_how_to_read_it(ws, data, tmp_path):
    at = tmp_path/'lf'
    for f, name, keys in (
            (('alpaca_en_demo.json', 'alpaca', {'prompt': 'instruction', 'query': 'input', 'response': 'output'}),
             ('dpo_en_demo.json', 'ranking', {'messages': 'conversations', 'chosen': 'chosen', 'rejected': 'rejected'}),
             ('kto_en_demo.json', 'kto', {'messages': 'messages', 'kto_tag': 'label'}),
             ('glaive_toolcall_en_demo.json', 'sharegpt', {'messages': 'conversations', 'tools': 'tools'}))):
        v = ws.load(data/'llamafactory'/f, out=f.split('_')[0])
        r = ws.export(v, at, type='llamafactory')
        e = json.loads((at/'dataset_info.json').read_text())[v.name]
        assert (r['format'], e['columns'], e.get('ranking', False)) == (name, keys, name == 'ranking')
        assert exact(read_back(at/e['file_name'])) == exact(json.loads((data/'llamafactory'/f).read_text())), f
        assert all(set(e['columns'].values()) <= set(row) for row in read_back(at/e['file_name']))
    assert len(json.loads((at/'dataset_info.json').read_text())) == 4
    with pytest.raises(Invalid, match="has an entry 'dpo' already"): ws.export('dataset:dpo', at, type='llamafactory')


def test_a_folder_of_datasets(ws, data, tmp_path):
    ds = pytest.importorskip('datasets', reason="needs the packages of the 'train' extra")
    v = ws.load(data/'llamafactory'/'glaive_toolcall_en_demo.json', out='g')
    ws.export(v, tmp_path/'hf', format='messages')
    got = ds.load_from_disk(str(tmp_path/'hf'))
    assert len(got) == 300 and {'messages', 'tools'} <= set(got.column_names)
    calls = [json.loads(c['function']['arguments']) for r in got for m in r['messages'] for c in m['tool_calls'] or ()]
    assert calls == [c['function']['arguments'] for r in content(ws, v) for m in r['messages']
                     for c in m.get('tool_calls') or ()]
    assert len(calls) > 150
    ds.disable_caching()


# --- pictures -------------------------------------------------------------------------------------------------------

def test_pictures_become_blobs_and_files_again(ws, tmp_path):
    src, png = tmp_path/'src', b'\x89PNG\r\n\x1a\n'
    (src/'img').mkdir(parents=True)
    for i in range(2): (src/'img'/f'{i}.png').write_bytes(png+bytes([i]))
    (tmp_path/'secret.png').write_bytes(png)
    (src/'img'/'out.png').symlink_to(tmp_path/'secret.png')
    (src/'img'/'text.png').write_text('no picture')
    url = 'data:image/png;base64,'+base64.b64encode(png+b'\2').decode()
    good = [{'messages': [{'role': 'user', 'content': f'<image>What is {i}?'}, {'role': 'assistant', 'content': 'x'}],
             'images': [f'img/{i}.png']} for i in range(2)]
    good.append(
        {'messages': [{'role': 'user', 'content': [{'type': 'text', 'text': 'q'},
                                                   {'type': 'image_url', 'image_url': {'url': url, 'detail': 'low'}}]},
                      {'role': 'assistant', 'content': 'x'}]})
    bad = [{**good[0], 'images': [p]} for p in ('../secret.png', 'img/out.png', str(tmp_path/'secret.png'),
                                                'img/none.png')]+[{**good[0], 'images': ['img/0.png', 'img/1.png']}]
    (src/'a.json').write_text(json.dumps([*good, *bad]))
    v = ws.load(src/'a.json', out='pics')
    assert v.body['counts'] == dict(read=8, rejected=5, left=0, rows=3)
    parts = [p for r in content(ws, v) for p in r['messages'][0]['content'] if p['type'] == 'image']
    assert ([(p['media'], p.get('name'), ws.store.blobs.get(p['blob'])) for p in parts]
            == [('image/png', f'img/{i}.png', png+bytes([i])) for i in range(2)]+[('image/png', None, png+b'\2')])
    assert {p['blob'] for p in parts} == {f['blob'] for f in v.body['files'] if f['path'].startswith(
        'media/')}, 'the store must know them, or it would collect them'
    ws.export(v, tmp_path/'b.json')
    assert read_back(tmp_path/'b.json') == good and (tmp_path/'img'/'1.png').read_bytes() == png+b'\1'
    assert (ws.export(v, tmp_path/'lf', type='llamafactory')['lost']
            == [dict(what='what a part has beside its file: detail', rows=1)])
    rows = read_back(tmp_path/'lf'/'pics.jsonl')
    assert [r['conversations'][0]['value'] for r in rows] == ['<image>What is 0?', '<image>What is 1?', 'q<image>']
    assert all((tmp_path/'lf'/r['images'][0]).read_bytes().startswith(png) for r in rows)
    (tmp_path/'img'/'1.png').write_bytes(b'mine')
    with pytest.raises(Invalid, match='there already and differs'): ws.export(v, tmp_path/'c.json')
    assert not (tmp_path/'c.json').exists() and (tmp_path/'img'/'1.png').read_bytes() == b'mine'


# --- one paradigm into another --------------------------------------------------------------------------------------

def adds_up(v):
    c = v.body['counts']
    assert c['rows'] == v.body['rows'] == c['read']-c['removed']-c['merged']+c['added']
    return c


def test_public_files_convert_to_what_fits_and_back(ws, data):
    lf = data/'llamafactory'
    dpo = ws.load(lf/'dpo_en_demo.json', out='dpo')
    kto = ws.convert(dpo, 'kto', out='kto')
    assert adds_up(kto) == dict(read=300, removed=0, merged=0, added=300, rows=600)
    back = ws.convert(kto, 'dpo', out='back')
    assert adds_up(back) == dict(read=600, removed=0, merged=300, added=0, rows=300)
    assert content(ws, back) == content(ws, dpo)
    for v in (dpo, kto):
        assert ([r['messages'] for r in content(ws, ws.convert(v, 'messages', out='m'))]
                == [r['prompt']+r['chosen'] for r in content(ws, dpo)])
    good = ws.convert(ws.load(lf/'kto_en_demo.json', out='k'), 'messages', out='good')
    n = sum(r['label'] for r in json.loads((lf/'kto_en_demo.json').read_text()))
    assert adds_up(good) == dict(read=300, removed=300-n, merged=0, added=0, rows=n)
    assert good.body['convert']['removed'] == {'the answer is not a good one': 300-n}
    tools = ws.load(lf/'glaive_toolcall_en_demo.json', out='g')
    turns = ws.convert(tools, 'messages', turns=True, out='turns')
    assert adds_up(turns)['rows'] == sum(m['role'] == 'assistant' for r in content(ws, tools) for m in r['messages'])
    assert ([r['_line'] for r in rows_of(ws.store, turns)]
            == sorted(r['_line'] for r in rows_of(ws.store, turns))), 'each row knows the line that it came from'
    flat = content(ws, ws.convert(tools, 'messages', plain_tools=True, out='flat'))
    assert all(set(m) == {'role', 'content'} for r in flat for m in r['messages'])
    assert not any('tools' in r for r in flat)
    assert sum('<tool_call>' in m['content'] for r in flat for m in r['messages'][1:]) == 211
    for f, kinds in (('alpaca_zh_demo.json', ('messages', 'prompts', 'text', 'table')), ('c4_demo.jsonl', ('table',)),
                     ('wiki_demo.txt', ('table',)), ('identity.json', ('sharegpt', 'chatml', 'prompts'))):
        v = ws.load(lf/f, out='v')
        for to in kinds: assert adds_up(ws.convert(v, to, out='x'))['rows'] == v.body['rows']
    with pytest.raises(Invalid, match='What fits: table'): ws.convert(ws.load(lf/'c4_demo.jsonl', out='c4'), 'messages')


def test_questions_with_choices_convert(ws, data):
    v = ws.load(data/'ceval'/'ceval.zip', out='ceval')
    m = ws.convert(v, 'messages', out='m')
    assert adds_up(m) == dict(read=13948, removed=12342, merged=0, added=0, rows=1606)
    assert m.body['convert']['removed'] == {'there is no answer': 12342}
    assert all(r['messages'][-1]['content'] in 'ABCD' and '\nB. ' in r['messages'][0]['content']
               for r in content(ws, m))
    assert adds_up(ws.convert(v, 'prompts', out='p'))['rows'] == 13948


def test_ratings_become_pairs_and_labels(ws, tmp_path):
    rows = [{'question': f'q{i}', 'answer': f'a{i}{j}', 'score': s}
            for i, scores in enumerate(([5, 1, 3], [2, 2], [4], ['x', 1])) for j, s in enumerate(scores)]
    (tmp_path/'a.jsonl').write_text('\n'.join(map(json.dumps, rows)))
    v = ws.load(tmp_path/'a.jsonl')
    p = ws.convert(v, 'preference', rating='score')
    assert adds_up(p) == dict(read=8, removed=6, merged=1, added=0, rows=1)
    assert [(r['chosen'][0]['content'], r['rejected'][0]['content']) for r in content(ws, p)] == [('a00', 'a01')]
    assert p.body['convert']['removed'] == {'neither the best nor the worst answer': 1,
                                            'all answers to the prompt have one rating': 2,
                                            'no other answer to the prompt': 2, 'score is text, not a number': 1}
    k = ws.convert(v, 'unpaired', rating='score', good=3)
    assert [r['label'] for r in content(ws, k)] == [True, False, True, False, False, True, False]
    assert adds_up(k)['removed'] == 1
    for how, why in ((dict(to='kto'), 'cannot be made'), (dict(to='kto', rating='score'), '--good'),
                     (dict(to='dpo', rating='none'), "no column 'none'"),
                     (dict(to='prompts', turns=True), 'make conversations')):
        with pytest.raises(Invalid, match=why): ws.convert(v, **how)


# --- what it is for -------------------------------------------------------------------------------------------------

def test_tool_calls_train_a_model(ws, data, tmp_path):
    pytest.importorskip('trl', reason="training needs the packages of the 'train' extra")
    from pathlib import Path
    base = Path(__file__).resolve().parent.parent/'assets'/'tiny-qwen'
    shutil.copytree(base, tmp_path/'tools')
    template = ("{%- if tools %}{{ tools | tojson }}{%- endif %}{%- for m in messages %}<|im_start|>{{ m.role }}\n"
                "{%- if m.role == 'assistant' %}{%- generation %}{{ m.content }}"
                "{%- for c in m.tool_calls or [] %}{% for k, v in c.function.arguments.items() %}{{ k }}={{ v | tojson "
                "}};{% endfor %}{%- endfor %}<|im_end|>{%- endgeneration %}"
                "{%- else %}{{ m.content }}<|im_end|>{%- endif %}\n"
                "{%- endfor %}{%- if add_generation_prompt %}<|im_start|>assistant\n{%- endif %}")
    (tmp_path/'tools'/'chat_template.jinja').write_text(template)
    v = ws.load(data/'llamafactory'/'glaive_toolcall_en_demo.json', out='g', rows=6)
    m = ws.sft(ws.add('model:tools', str(tmp_path/'tools')), v, max_steps=1, batch=1)
    assert m.body['recipe']['rows']['used'] == 6
    t = ws.convert(v, 'text', model='model:tools', out='t')
    from transformers import AutoTokenizer
    tok = AutoTokenizer.from_pretrained(tmp_path/'tools')
    assert ([r['text'] for r in content(ws, t)]
            == [tok.apply_chat_template(r['messages'], tools=r['tools'], tokenize=False) for r in content(ws, v)])
    plain = ws.add('model:plain', str(base))
    with pytest.raises(Invalid, match='--plain-tools'): ws.sft(plain, v, max_steps=1, batch=2)
    assert ws.sft(plain, ws.convert(v, 'messages', plain_tools=True, out='flat'), max_steps=1, batch=1,
                  max_length=400).body['recipe']['max_steps'] == 1


def test_histories_and_short_last_columns_survive_csv_and_excel(ws, tmp_path):
    rows_in = [dict(instruction=f'q{i}', input='', output='a', history=[['x', 'y']], i=i) for i in range(4)]
    (tmp_path/'a.json').write_text(json.dumps(rows_in))
    v = ws.load(tmp_path/'a.json', 'a')
    for name in ('b.csv', 'b.xlsx'):
        ws.export(v.ref, tmp_path/name, format='alpaca')
        w = ws.load(tmp_path/name, 'b')
        assert w.body['format'] == 'messages' and w.body['rows'] == 4
        got = list(rows_of(ws.store, w, origin=False))
        want = [r | {'i': str(r['i'])} if name == 'b.csv' else r for r in rows_of(ws.store, v, origin=False)]
        assert json.dumps(got, sort_keys=True) == json.dumps(want, sort_keys=True)


@pytest.mark.parametrize('pack', ['gz', 'bz2', 'xz', 'zst', ''])
def test_a_packed_file_is_whole_and_closed_when_it_is_closed(tmp_path, pack):
    from llmops.data.export_files import open_packed
    from llmops.data.read_bytes import open_file
    f = open_packed(tmp_path/'a', pack)
    raw = getattr(f, 'fileobj', None)
    f.write(b'{"text": "a"}\n'*999)
    f.close()
    assert f.closed and (raw is None or raw.closed)
    src = open_file(tmp_path/'a')
    assert b''.join(iter(src.read, b'')) == b'{"text": "a"}\n'*999 and not src.cut
    src.close()
