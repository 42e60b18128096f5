"Formats: what is read is written back as it was; what cannot be held is said; nothing goes without being counted."
import csv
import gzip
import io
import json
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

many = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def content(ws, v): return list(rows_of(ws.store, v, origin=False))


def there_and_back(row, name):
    got, lost = write(convert(row, name), name)
    assert (json.dumps(got, sort_keys=True), lost) == (json.dumps(row, sort_keys=True), [])


# --- what rows may look like ----------------------------------------------------------------------------------------

text = st.text(st.characters(exclude_categories=('Cs',)), max_size=30)
lines = st.lists(text, max_size=3).map('\n'.join)
said = lines.filter(lambda s: s and not s.lstrip().startswith('[') and not s.startswith('\n\nHuman:'))
value = st.recursive(st.none() | st.booleans() | st.integers(-2**60, 2**60) | st.floats(allow_nan=False, allow_infinity=False) | text,
                     lambda x: st.lists(x, max_size=3) | st.dictionaries(text, x, max_size=3), max_leaves=6)
taken = {k for f in FORMATS.values() for g in f.needs for k in g} | BESIDE | {
    'system', 'system_prompt', 'tools', 'input', 'context', 'history', 'images', 'videos', 'audios', 'image', 'video', 'audio', 'kto_tag', 'B', 'C', 'D', 'answer', 'label', 'text', 'content'}
names = st.text('abcxyz_é图', min_size=1, max_size=5).filter(lambda k: k not in taken)
extras = st.dictionaries(names, value, max_size=2)
arguments = st.dictionaries(text, value, max_size=3)
spelt = st.sampled_from([dict(ensure_ascii=False), dict(), dict(separators=(',', ':')), dict(indent=2), dict(indent=3)])


def dumped(o): return st.tuples(o, spelt).map(lambda x: json.dumps(x[0], **x[1]))


call = st.fixed_dictionaries({'name': st.sampled_from(['find', 'save']), 'arguments': arguments | dumped(arguments)})
openai_call = st.fixed_dictionaries({'id': st.sampled_from(['c1', 'c2']), 'type': st.just('function'), 'function': call})
tools = st.lists(st.fixed_dictionaries({'name': text, 'description': text, 'parameters': value}), min_size=1, max_size=2)


@st.composite
def openai(draw, answers=True):
    "Messages of role and content, with calls in parallel, ids, parts and more keys"
    out = [{'role': draw(st.sampled_from(['system', 'developer'])), 'content': draw(text)}] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 2))):
        c = draw(text)
        out.append({'role': 'user', 'content': draw(st.sampled_from([c, [{'type': 'text', 'text': c}], [{'type': 'text', 'text': c}, {'type': 'text', 'text': 'x'}]]))} | draw(st.sampled_from([{}, {'name': 'Ann'}])))
        if draw(st.booleans()):
            calls = draw(st.lists(openai_call, min_size=1, max_size=2))
            out.append({'role': 'assistant', 'tool_calls': calls} | draw(st.sampled_from([{}, {'content': None}, {'content': ''}, {'content': 'see'}])))
            out += [{'role': 'tool', 'content': draw(text), 'tool_call_id': x['id']} for x in calls]
        out.append({'role': 'assistant', 'content': draw(text)} | draw(st.sampled_from([{}, {'tool_calls': None}, {'weight': 0}])))
    return out if answers else out[:-1]


@st.composite
def sharegpt(draw, answers=True):
    "Messages of from and value, by any of the usual names"
    out = [{'from': 'system', 'value': draw(text)}] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 2))):
        out.append({'from': draw(st.sampled_from(['human', 'user'])), 'value': draw(text)})
        if draw(st.booleans()):
            if draw(st.booleans()): out.append({'from': 'gpt', 'value': draw(text)})
            out += [{'from': 'function_call', 'value': draw(dumped(call | st.lists(call, min_size=1, max_size=2)))}, {'from': draw(st.sampled_from(['observation', 'tool'])), 'value': draw(text)}]
        out.append({'from': draw(st.sampled_from(['gpt', 'assistant'])), 'value': draw(text)})
    return out if answers else out[:-1]


def rows_(must, may=None): return st.tuples(st.fixed_dictionaries(must, optional=may or {}), extras).map(lambda x: x[1] | x[0])


empty = st.sampled_from([None, ''])
system = {'system': said | empty}
choices = st.lists(lines, min_size=2, max_size=5)


def choice(q, c, right): return {'question': q, **dict(zip('ABCDE', c)), 'answer': 'ABCDE'[right % len(c)]}


def differ(k): return lambda r: r[k[0]] != r[k[1]]


pairs = {'prompt': said, 'chosen': said, 'rejected': said}
ROWS = {
    'alpaca': rows_({'instruction': lines, 'output': text}, {'input': lines | st.none(), 'history': st.lists(st.tuples(text, text).map(list), max_size=2), 'tools': dumped(tools) | st.just('')} | system),
    'sharegpt': rows_({'conversations': sharegpt()}, {'tools': dumped(tools) | empty | tools, 'messages': value}) | rows_({'conversations': openai()}),
    'messages': rows_({'messages': openai()}, {'tools': tools | dumped(tools) | empty}) | rows_({'messages': sharegpt()}) | rows_({'messages': dumped(openai())}),
    'prompt-completion': rows_({'prompt': said, 'completion': said}, system) | rows_({'prompt': openai(False), 'completion': said.map(lambda s: [{'role': 'assistant', 'content': s}])}) | rows_({'prompt': said, 'response': said}),
    'question-answer': rows_({'question': said, 'answer': said}, system) | rows_({'problem': said, 'solution': said}),
    'humaneval': rows_({'prompt': said, 'canonical_solution': said, 'test': text, 'entry_point': text}),
    'multiple-choice': rows_({}).flatmap(lambda r: st.builds(lambda q, c, n: r | choice(q, c, n), lines, choices, st.integers(0, 9))) |
                       st.builds(lambda q, c, n: {'question': q, 'choices': c, 'answer': n % len(c)}, lines, choices, st.integers(0, 9)) |
                       st.builds(lambda q, c, n: {f'column_{i}': x for i, x in enumerate(choice(q, c, n).values(), 1)}, lines, choices, st.integers(0, 9)),
    'multiple-choice-open': st.builds(lambda q, c: {'question': q, **dict(zip('ABCDE', c))}, lines, choices),
    'dpo': (rows_(pairs, system) | rows_(pairs | {'prompt': openai(False)}) | rows_({'conversations': sharegpt(False), 'chosen': said.map(lambda s: {'from': 'gpt', 'value': s}), 'rejected': said.map(lambda s: {'from': 'gpt', 'value': s})}) |
            rows_({'instruction': lines, 'input': lines, 'chosen': said, 'rejected': said}) | rows_({'question': said, 'chosen': said, 'rejected': said}, system) |
            st.tuples(openai(), said).map(lambda x: {'chosen': x[0], 'rejected': [*x[0][:-1], {'role': 'assistant', 'content': x[1]}]}).filter(lambda r: r['chosen'][-1]['content'] != r['rejected'][-1]['content'])
            ).filter(lambda r: r['chosen'] != r['rejected']),
    'alpaca-pair': rows_({'instruction': lines, 'input': lines, 'output': st.lists(said, min_size=2, max_size=2, unique=True)}),
    'ranking': rows_({'conversations': sharegpt(False), 'chosen': said.map(lambda s: {'from': 'gpt', 'value': s}), 'rejected': said.map(lambda s: {'role': 'assistant', 'content': s})}).filter(
        lambda r: r['chosen']['value'] != r['rejected']['content']),
    'kto': rows_({'messages': openai(), 'label': st.booleans()}) | rows_({'prompt': said, 'completion': said, 'label': st.booleans()}, system) | rows_({'instruction': lines, 'output': said, 'kto_tag': st.booleans()}) |
           rows_({'conversations': sharegpt(), 'label': st.booleans()}) | st.builds(lambda p, c, y: {'prompt': p, 'completion': c, 'label': y}, said, said, st.sampled_from(['true', 'False'])),
    'prompts': rows_({'prompt': said}, system) | rows_({'prompt': openai(False)}) | rows_({'messages': openai(False)}) | rows_({'instruction': lines, 'input': lines}, {'output': empty}),
    'chatml': st.builds(lambda q, a, end, between: {'text': f'<|im_start|>user\n{q}<|im_end|>{between}<|im_start|>assistant\n{a}<|im_end|>{end}'}, *([lines.filter(lambda s: '<|im_' not in s)]*2), st.sampled_from(['', '\n']), st.sampled_from(['', '\n'])),
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


@pytest.mark.parametrize('name', [n for n in ROWS if FORMATS[n].kind in ('messages', 'preference', 'unpaired', 'prompts')])
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


def test_masked_texts_do_not_live_on_in_what_is_remembered():
    odd = '{"name" :"find","arguments":{"who":"Ann Lee"}}'
    row = {'conversations': [{'from': 'human', 'value': 'Ann Lee?'}, {'from': 'function_call', 'value': odd}, {'from': 'observation', 'value': 'Ann Lee: 9'}, {'from': 'gpt', 'value': 'Ann Lee is 9'}],
           'tools': '[{"name" :"find","description":"as for Ann Lee"}]', 'messages': 'mine, Ann Lee', 'mail': 'Ann Lee'}
    there_and_back(row, 'sharegpt')
    new = change(convert(row, 'sharegpt'), lambda s: s.replace('Ann Lee', '*'), extra=True)
    assert 'Ann Lee' not in json.dumps(new) and 'Ann Lee' not in json.dumps(write(new, 'sharegpt')[0])
    assert json.loads(write(new, 'sharegpt')[0]['conversations'][1]['value']) == {'name': 'find', 'arguments': {'who': '*'}}


# --- how formats are told apart -------------------------------------------------------------------------------------

def test_detection_gives_its_evidence():
    u, a = {'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'a'}
    for rows, name, why in (([{'instruction': 'q', 'output': 'a'}]*7+[{'text': 'x'}]*3, 'alpaca', 'instruction and output in 7 of the first 10 rows (3 look like text)'),
                            ([{'question': 'q', 'answer': 'a', 'instruction': 'q', 'output': 'a'}], 'alpaca', 'ambiguous: question-answer fits 1 too, by question and answer'),
                            ([{'messages': [u, a], 'label': True}], 'kto', 'messages needs only messages'), ([{'messages': [u, a], 'label': 'x'}], 'messages', 'no other format fits any'),
                            ([{'messages': [u]}], 'prompts', 'no other format fits any'), ([{'a': 1}], 'table', 'no format fits'), ([], 'table', 'no rows'),
                            ([{'prompt': 'q'}], 'prompts', 'prompt in 1 of the first 1 rows'), ([{'text': 't', 'label': 'x'}], 'classification', 'text needs only text')):
        got, said = detect(rows)
        assert got == name and why in said, (got, said)


@pytest.mark.parametrize('name', ['alpaca', 'sharegpt', 'dpo', 'kto', 'multiple-choice', 'humaneval', 'prompts', 'chatml'])
def test_rows_of_a_format_are_told(name):
    @settings(max_examples=25, deadline=None)
    @given(ROWS[name])
    def check(row): assert detect([row])[0] == ('alpaca' if name == 'prompts' and row.get('output') == '' else name)
    check()


# --- real files -----------------------------------------------------------------------------------------------------

def raw(data):
    "Every public file: name, rows, format, how many"
    out = [(f, json.loads((data/'llamafactory'/f).read_text()), name, n) for f, name, n in (
        ('alpaca_en_demo.json', 'alpaca', 999), ('alpaca_zh_demo.json', 'alpaca', 1000), ('identity.json', 'alpaca', 91), ('dpo_en_demo.json', 'dpo', 300), ('kto_en_demo.json', 'kto', 300),
        ('glaive_toolcall_en_demo.json', 'sharegpt', 300))]
    out += [(f, [json.loads(x) for x in open(data/f, encoding='utf-8')], name, n) for f, name, n in (
        ('llamafactory/c4_demo.jsonl', 'text', 300), ('gsm8k/train.jsonl', 'question-answer', 7473), ('gsm8k/test.jsonl', 'question-answer', 1319))]
    with gzip.open(data/'humaneval'/'HumanEval.jsonl.gz') as f: out.append(('humaneval', [json.loads(x) for x in f], 'humaneval', 164))
    def table(b): return csv.reader(io.StringIO(b.decode('utf-8-sig'), newline=''))
    with zipfile.ZipFile(data/'mmlu'/'mmlu.zip') as z:
        for part, n in (('dev', 285), ('val', 1531), ('test', 14042)):
            out.append((f'mmlu {part}', [{f'column_{i}': x for i, x in enumerate(r, 1)} for f in z.namelist() if f'/{part}/' in f and f.endswith('.csv') for r in table(z.read(f))], 'multiple-choice', n))
    with zipfile.ZipFile(data/'ceval'/'ceval.zip') as z:
        for part, name, n in (('dev', 'multiple-choice', 260), ('val', 'multiple-choice', 1346), ('test', 'multiple-choice-open', 12342)):
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
                assert set(lost) <= {'where the input began', *(('tools',) if other == 'chatml' else ())}, (name, other, lost)
                a, b = ({k: v for k, v in x.items() if k not in ('_as', 'tools')} for x in (a, b))
                assert a == b, (name, other)
                held += 1
            tried.add((fmt, other, held > 0))
    assert {('alpaca', 'sharegpt', True), ('alpaca', 'chatml', True), ('sharegpt', 'messages', True), ('dpo', 'ranking', True), ('question-answer', 'alpaca', True), ('multiple-choice', 'messages', True)} <= tried
    assert ('alpaca', 'multiple-choice', False) in tried
