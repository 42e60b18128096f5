"""Datasets that can be trusted: figures that add up, differences against an oracle, cards that others read,
rows that come out as they went in, reports that are safe to open."""
import json
import random
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import llmops
from llmops.core import Invalid
from llmops.data.card import card_text
from llmops.data.diff import difference
from llmops.data.stats import Quick
from llmops.data.write import write_dataset
from llmops.faces.report import render
from llmops.rows import rows
from llmops.verbs import Run, Spec


def writer(ws):
    r = Run(ws.store, Spec('test', lambda run: None), {}, id='test', by='me')
    r.record = dict(started=0)
    return lambda name, rs, format='table', **kw: write_dataset(r, name, rs, format=format, **kw)


@pytest.fixture(scope='module')
def shared(tmp_path_factory):
    "One workspace for tests that only add to it"
    ws = llmops.open(tmp_path_factory.mktemp('trust')/'ws')
    yield ws, writer(ws)
    ws.store.close()


# --- statistics -------------------------------------------------------------------------------------------------------

text = st.text(st.characters(exclude_categories=['Cs']), max_size=30)
scalar = st.one_of(st.none(), st.booleans(), st.integers(-2**70, 2**70),
                   st.floats(allow_nan=False, allow_infinity=False), text)
value = st.recursive(scalar,
                     lambda v: st.one_of(st.lists(v, max_size=3), st.dictionaries(text, v, max_size=3)), max_leaves=6)
message = st.fixed_dictionaries({'role': st.sampled_from(['user', 'assistant', 'tool']), 'content': text})
row = st.fixed_dictionaries({}, optional={'messages': st.one_of(st.lists(message, min_size=1, max_size=4), value),
                                          'text': text, 'label': st.sampled_from(['a', 'b']), 'n': value})


@settings(max_examples=150, deadline=None)
@given(st.lists(row, max_size=40), st.integers(0, 40))
def test_statistics_count_what_a_loop_counts_and_parts_add_up(rs, cut):
    got = Quick().add_many(rs).result()
    assert got['rows'] == len(rs)
    json.dumps(got, allow_nan=False)
    for k in {k for r in rs for k in r}:
        c = got['columns'][k]
        there = [r[k] for r in rs if k in r]
        texts = [v for v in there if isinstance(v, str)]
        assert sum(c['types'].values()) == len(there) and c['missing'] == len(rs)-sum(v is not None for v in there)
        if texts:
            x = c['length']
            ns = sorted(map(len, texts))
            assert (x['min'], x['max'], sum(n for *_, n in x['histogram'])) == (ns[0], ns[-1], len(ns))
            assert x['median'] == ns[(len(ns)-1)//2]
        if 'values' in c:
            assert c['values'] == dict(
                Counter(str(v).lower() if isinstance(v, bool) else str(v) for v in there if v is not None))
    talk = [r['messages'] for r in rs if isinstance(r.get('messages'), list) and r['messages']
            and all(isinstance(m, dict) and isinstance(m.get('role'), str) for m in r['messages'])]
    if all(r.get('messages') in talk or not isinstance(r.get('messages'), list) for r in rs) and talk:
        assert got['messages']['roles'] == dict(Counter(m['role'] for said in talk for m in said))
    parts = Quick().add_many(rs[:cut]).merge(Quick().add_many(rs[cut:])).result()
    assert parts['rows'] == got['rows']
    assert ({k: (c['missing'], c.get('length'), c.get('values')) for k, c in parts['columns'].items()}
            == {k: (c['missing'], c.get('length'), c.get('values')) for k, c in got['columns'].items()})


def test_a_statistics_report_says_what_it_measured_and_shows_no_personal_data(ws):
    write = writer(ws)
    r = random.Random(0)
    said = [dict(text=f'{w} number {i} of the town, seen by {r.choice(["us", "them"])} at noon', label=w)
            for i in range(60) for w in ('museum', 'bridge')]
    said += [said[0], said[3], dict(text='Write to otto.kunde@example.org or call 13812345678', label='museum')]
    v = write('town', said, 'text')
    rep = ws.stats('town', sample=50, topics=4, seed=3)
    b = rep.body
    assert (b['type'], b['rows'], b['measured'], b['inputs']['data']['digest']) == ('statistics', 123, 50, v.digest)
    assert b['duplicates']['exact'] == dict(rows=2, groups=2, of=123) and b['statistics'] == v.body['statistics']
    full = ws.stats('town', sample=0, out='report:full')
    assert full.body['pii']['found'] == 1 and set(full.body['pii']['kinds']) == {'email', 'phone'}
    assert full.body['topics']['rows'] == 123
    assert 'otto' not in json.dumps(full.body) and '13812345678' not in json.dumps(full.body)
    assert ws.stats('town', sample=50, topics=4, seed=3).digest == rep.digest
    table = ws.figures(rep)
    assert {'rows', 'characters', 'tokens', 'duplicates', 'personal data', 'label label'} <= {x['what'] for x in table}
    assert all(x['ref'] == str(rep) for x in table)
    assert 'No model was named' in next(x['note'] for x in table if x['what'] == 'tokens')


def test_tokens_are_counted_by_the_models_own_tokenizer(ws, tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    t = Tokenizer(models.WordLevel({'a': 0, 'b': 1, '?': 2}, unk_token='?'))
    t.pre_tokenizer = pre_tokenizers.Whitespace()
    (tmp_path/'m').mkdir()
    t.save(str(tmp_path/'m'/'tokenizer.json'))
    m = ws.store.put('model', 'm', dict(files=ws.store.blobs.put_folder(tmp_path/'m'), context=3))
    writer(ws)('abc', [dict(text='a '*n) for n in (1, 2, 3, 4, 5)]+[dict(text='b c')], 'text')
    rep = ws.stats('abc', model=m, topics=0)
    got = rep.body['tokens']
    assert (got['rows'], got['total'], got['over'], got['length']['min'], got['length']['max']) == (6, 17, 2, 1, 5)
    assert rep.body['inputs']['model']['digest'] == m.digest
    few = ws.stats('abc', model=m, sample=3, topics=0).body['tokens']
    assert (few['rows'], few['total']) == (3, None) and abs(few['estimate']-few['length']['mean']*6) < 1
    assert 'text' in next(iter(pages(ws, rep)))
    assert '2 rows are longer than the model can read (3)' in next(iter(pages(ws, rep)))


# --- differences ------------------------------------------------------------------------------------------------------

key_rows = st.lists(st.tuples(st.integers(0, 30), st.sampled_from(['red', 'green', 'blue']), st.integers(0, 3)),
                    max_size=25, unique_by=lambda x: x[0])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key_rows, key_rows)
def test_differences_by_key_are_those_of_an_oracle(shared, a, b):
    ws, write = shared
    if not a or not b: return
    x, y = ([dict(k=k, c=c, n=n) for k, c, n in s] for s in (a, b))
    va, vb = write('left', x), write('right', y)
    d = difference(ws.store, va, vb, key='k', examples=30)
    was, now = {r['k']: r for r in x}, {r['k']: r for r in y}
    both = was.keys() & now.keys()
    want = dict(same=sum(was[k] == now[k] for k in both), changed=sum(was[k] != now[k] for k in both),
                removed=len(was.keys()-now.keys()), added=len(now.keys()-was.keys()))
    assert {k: d[k] for k in want} == want
    assert sorted(e['row']['k'] for e in d['examples'] if e['change'] == 'added') == sorted(now.keys()-was.keys())
    for e in (e for e in d['examples'] if e['change'] == 'changed'): assert x[e['a']-1]['k'] == y[e['b']-1]['k']


dull = st.lists(st.sampled_from(['one', 'two', 'three four', 'five']), min_size=1, max_size=15)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(dull, dull)
def test_without_a_key_equal_rows_are_counted_once_each_and_counts_add_up(shared, a, b):
    ws, write = shared
    va, vb = write('left', [dict(t=x) for x in a]), write('right', [dict(t=x) for x in b])
    d = difference(ws.store, va, vb)
    same = sum((Counter(a) & Counter(b)).values())
    assert d['same'] == same and d['same']+d['changed']+d['removed'] == len(a)
    assert d['same']+d['changed']+d['added'] == len(b)
    back = difference(ws.store, vb, va)
    assert (back['same'], back['removed']+back['changed'],
            back['added']+back['changed']) == (d['same'], d['added']+d['changed'], d['removed']+d['changed'])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(['keep', 'edit', 'drop']), min_size=3, max_size=30), st.randoms(use_true_random=False))
def test_rows_made_from_rows_are_found_again_whatever_became_of_them(shared, plan, r):
    ws, write = shared
    if set(plan) == {'drop'}: return
    va = write('before', [dict(t=f'row {i} of {r.randrange(5)}') for i in range(len(plan))])
    def made():
        for x, what in zip(rows(ws.store, va), plan, strict=True):
            if what != 'drop': yield x if what == 'keep' else {**x, 't': f'{r.random()} {r.random()}'}
    vb = write('after', list(made()), parents=[va])
    d = difference(ws.store, va, vb)
    assert (d['same'], d['changed'], d['removed'], d['added']) == (plan.count('keep'), plan.count('edit'),
                                                                   plan.count('drop'), 0)


def test_edits_of_a_file_are_told_apart_from_rows_that_went_and_came(ws, tmp_path):
    r = random.Random(5)
    nouns = 'river lamp violin garden tunnel engine market pepper winter marble'.split()
    first = [dict(instruction=f'Tell about the {r.choice(nouns)} and the {r.choice(nouns)} in house {i}',
                  output=' '.join(r.choices(nouns, k=12))) for i in range(300)]
    second = [dict(x) for i, x in enumerate(first) if i not in (10, 50, 51)] # three gone, so all lines below move
    for i in (3, 60, 200): second[i]['output'] += ' and a harbour'
    second += [dict(instruction=f'Something new {i}: {r.random()}', output=f'{r.random()}') for i in range(4)]
    for name, rs in (('v1', first), ('v2', second)):
        (tmp_path/f'{name}.jsonl').write_text(''.join(json.dumps(x)+'\n' for x in rs))
    ws.load(tmp_path/'v1.jsonl', out='tales'), ws.load(tmp_path/'v2.jsonl', out='tales')
    got = ws.diff('tales@1', 'tales@2', examples=10)
    assert [(x['change'], x['a'], x['b']) for x in got[:4]] == [('same', 294, 294), ('changed', 3, 3),
                                                                ('removed', 3, 0), ('added', 0, 4)]
    changed = [x for x in got if x['what'] == 'row' and x['change'] == 'changed']
    assert [(x['a'], x['b']) for x in changed] == [(4, 4), (64, 61), (204, 201)]
    assert all('{+ and a harbour+}' in x['text'] for x in changed)
    assert [x['a'] for x in got if x['what'] == 'row' and x['change'] == 'removed'] == [11, 51, 52]
    shown = {x['field']: (x['a'], x['b']) for x in ws.compare('dataset:tales@1', 'dataset:tales@2')}
    assert (shown['rows same'], shown['rows changed'], shown['rows removed'], shown['rows added'],
            shown['rows']) == ((294, 294), (3, 3), (3, 0), (0, 4), (300, 301))
    with pytest.raises(Invalid, match="no column 'nope'"): ws.diff('tales@1', 'tales@2', key='nope')


# --- cards ------------------------------------------------------------------------------------------------------------

def turn(q, a, **more): return [{'role': 'user', 'content': q}, {'role': 'assistant', 'content': a, **more}]
def ask(name, **args): return dict(tool_calls=[{'type': 'function', 'function': {'name': name, 'arguments': args}}])


PARADIGMS = {
    'messages': [dict(
        messages=turn('Where?', '', **ask('find', at=[31.230416111111111, -0.1], deep={'x': None, 'y': []}, n=2**60)),
        tools=[{'type': 'function', 'function': {'name': 'find', 'parameters': {'type': 'object', 'properties': {}}}}]),
                 dict(messages=turn('你好', '您好', **ask('find', at='Ulm'))),
                 dict(messages=turn('Hi', 'Hello'), topic='greeting')],
    'preference': [dict(prompt=turn('a', 'b')[:1], chosen=turn('a', 'b')[1:], rejected=turn('a', 'c')[1:]),
                   dict(prompt=turn('ü', 'b')[:1], chosen=turn('a', '', **ask('f', k=1.5))[1:],
                        rejected=turn('a', 'd')[1:])],
    'unpaired': [dict(prompt=turn('a', 'b')[:1], completion=turn('a', 'b')[1:], label=True),
                 dict(prompt=turn('a', 'b')[:1], completion=turn('a', '\u2028"')[1:], label=False)],
    'prompts': [dict(prompt=turn('a', '')[:1]), dict(prompt=turn('b\x00c', '')[:1])],
    'text': [dict(text='one\n'), dict(text='"123"'), dict(text='', n=1 << 80)],
    'table': [dict(a=1, b='x', c=[1, None]), dict(a=.5, b=None, c=[]), dict(a=None, d={'k': 'v'}),
              dict(a=True, b='{"not": "json for us"}')]}


@pytest.mark.parametrize('licence', ['', 'apache-2.0', 'My "own": terms\n---'])
@pytest.mark.parametrize('kind', list(PARADIGMS))
def test_cards_are_read_by_the_hubs_own_reader(shared, kind, licence):
    from huggingface_hub import DatasetCard
    ws, write = shared
    v = write(f'card-{kind}', PARADIGMS[kind], kind, licence=licence, role='held-out')
    for lang in ('en', 'zh'):
        c = DatasetCard(card_text(ws.store, v, lang, 'rows.jsonl'))
        assert ((c.data.license, getattr(c.data, 'license_name', None))
                == (('unknown', None) if not licence else ('other', licence) if 'own' in licence else (licence, None)))
        assert c.data.size_categories == ['n<1K']
        assert (c.data.dataset_info['splits'][0] | {'num_bytes': 0}
                == dict(name='test', num_examples=len(PARADIGMS[kind]), num_bytes=0))
        assert [f['name'] for f in c.data.dataset_info['features']] == sorted(v.body['columns'])
        assert c.data.configs[0]['data_files'] == [{'split': 'test', 'path': 'rows.jsonl'}]
        assert v.digest in c.text and ('nobody said' in c.text or '无人说明' in c.text) == (not licence)
    assert ws.card(str(v)) == card_text(ws.store, v)


def test_a_folder_that_leaves_has_its_card(shared, tmp_path):
    import datasets
    from huggingface_hub import DatasetCard
    ws, write = shared
    v = write('leaves', PARADIGMS['messages'], 'messages', licence='cc-by-4.0')
    for where, how in (('hf', 'datasets'), ('lf', 'llamafactory')):
        ws.export(v, str(tmp_path/where), type=how)
        c = DatasetCard.load(tmp_path/where/'README.md')
        assert c.data.license == 'cc-by-4.0' and v.digest in c.text
    assert (len(datasets.load_from_disk(str(tmp_path/'hf')))
            == len(datasets.load_dataset(str(tmp_path/'lf'), cache_dir=str(tmp_path/'cache'))['train']) == 3)


# --- out again --------------------------------------------------------------------------------------------------------

def bare(rs): return [{k: v for k, v in r.items() if v is not None} for r in rs]


@pytest.mark.parametrize('kind', list(PARADIGMS))
def test_checkout_gives_every_row_of_every_paradigm_as_it_went_in(shared, kind, tmp_path):
    import datasets
    datasets.disable_progress_bars()
    ws, write = shared
    want = PARADIGMS[kind]
    v = write(f'out-{kind}', want, kind)
    d = ws.checkout(v)
    assert bare(d) == bare(want)
    assert bare(d.map(lambda r: {'extra_': 1}, load_from_cache_file=False).remove_columns('extra_')) == bare(want)
    assert ([k for r in d for k, x in r.items() if isinstance(x, bool)]
            == [k for r in want for k, x in r.items() if isinstance(x, bool)]) # true is not 1
    assert [json.loads(x) for x in ws.checkout(v, as_='path').read_text().split('\n') if x] == want
    frame = ws.checkout(v, as_='pandas')
    assert [k for k in frame] == list(d.features) and len(frame) == len(want)
    with __import__('warnings').catch_warnings():
        __import__('warnings').simplefilter('ignore')
        assert ws.checkout(v, as_='polars').height == len(want)
    if kind == 'table':
        with pytest.raises(Invalid, match='llmops data convert'): ws.checkout(v, as_='trl')
    else:
        from llmops.data.checkout import TRL
        t = ws.checkout(v, as_='trl')
        assert set(t.column_names) <= set(TRL[kind])
        assert bare(t) == bare([{k: x for k, x in r.items() if k in TRL[kind]} for r in want])
    at = tmp_path/'folder'
    ws.checkout_to(v, at)
    if kind != 'text': # A whole number of 25 digits is no int64: `datasets` says so
        back = datasets.load_dataset(str(at), cache_dir=str(tmp_path/'cache'))['train']
        assert bare(back) == bare(want)


def test_all_parts_of_a_split_come_as_one(ws, tmp_path):
    import datasets
    datasets.disable_progress_bars()
    (tmp_path/'qa.jsonl').write_text(
        ''.join(json.dumps(dict(question=f'What is {i}?', answer=str(i)))+'\n' for i in range(40)))
    ws.load(tmp_path/'qa.jsonl', out='qa')
    ws.split('qa', test=.25)
    d = ws.checkout('qa-train', as_='trl', all_parts=True)
    assert isinstance(d, datasets.DatasetDict) and {k: len(x) for k, x in d.items()} == dict(train=30, test=10)
    assert d['train'].column_names == ['messages']
    got = ws.checkout_to('qa-train', tmp_path/'out')
    assert got['rows'] == dict(train=30, test=10) and sorted(got['files']) == ['README.md', 'test.jsonl', 'train.jsonl']
    back = datasets.load_dataset(str(tmp_path/'out'), cache_dir=str(tmp_path/'cache'))
    assert {k: len(x) for k, x in back.items()} == dict(train=30, test=10)
    assert back['test'][0]['messages'] == d['test'][0]['messages']


def test_a_row_is_traced_to_its_line(ws, tmp_path):
    lines = [json.dumps(dict(question=f'  What is {i}? ', answer=str(i))) for i in range(12)]
    lines.insert(4, '{broken')
    (tmp_path/'qa.jsonl').write_text('\n'.join(lines))
    ws.load(tmp_path/'qa.jsonl', out='qa')
    ws.clean('qa', out='tidy')
    for n in (1, 5, 12):
        got = ws.origin('tidy', n)
        assert [r['ref'] for r in got] == ['dataset:tidy@1', 'dataset:qa@1']
        line = got[-1]['line']
        assert got[-1]['file'] == 'qa.jsonl'
        assert json.loads(lines[line-1])['question'].strip() == got[0]['content']['messages'][0]['content'].strip()
        assert {r['line'] for r in got} == {line}


# --- reports ----------------------------------------------------------------------------------------------------------

class Tags(HTMLParser):
    "What a page would load or run"
    def __init__(self):
        super().__init__()
        self.bad = []
    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if tag in ('script', 'img', 'iframe', 'object', 'embed', 'link', 'base', 'form', 'video', 'audio', 'use',
                   'image', 'foreignobject'):
            self.bad.append(tag)
        self.bad += [f'{tag} {k}' for k, v in a.items()
                     if k.startswith('on') or k in ('src', 'href', 'xlink:href', 'srcset', 'action', 'formaction')
                     or 'url(' in (v or '') or 'javascript:' in (v or '') and k != 'title']


EVIL = ['"><script>alert(1)</script>', "' onload=alert(1) x='", '</style></title><img src=//x.example/a.png>',
        '<svg><use href="//x.example"/></svg>', '{{ 7*7 }}{% raw %}', '\u202ejavascript:alert(1)', 'a\x00b\x1f']


def pages(ws, *refs):
    for ref in refs:
        for lang in ('en', 'zh'):
            html = render(ws.store, ref, lang=lang)
            t = Tags()
            t.feed(html)
            assert t.bad == [], (ref, t.bad)
            assert "default-src 'none'" in html
            assert 'http://' not in re.sub(r'\[.*?\]', '', html.replace('http://www.w3.org', ''))
            assert '49' not in re.findall(r'\{\{ 7\*7 \}\}|>49<', html)
            yield html


def test_pages_of_hostile_rows_load_and_run_nothing(ws, tmp_path):
    write = writer(ws)
    said = ([{'messages': turn(e, e, name=e), 'label': e, f'c{n}': e} for n, e in enumerate(EVIL*6)]
            +[{'messages': turn('mail nora@example.org', 'ok')}])
    v = write('evil', said, 'messages', licence=EVIL[0], about=EVIL[2], source=EVIL[2],
              sources=[dict(file=e, type=e, format=e, why=e, blake3=e, size=1) for e in EVIL],
              rejected=[dict(line=3, column=7, reason=e, text=e, file=e) for e in EVIL],
              counts=dict(read=len(said)+7, rejected=7, rows=len(said)),
              split=dict(of=EVIL[0], parts={EVIL[0]: 3, EVIL[1]: 4}), labelling=dict(
                  task=EVIL[0], agreement=[dict(what=EVIL[0], measure=EVIL[2], value=.4, low=.1, high=.7, items=3)]))
    rep = ws.stats('evil', topics=3)
    ws.clean('evil', out='evil-clean')
    for html in pages(ws, v, rep, 'dataset:evil-clean'): assert '&lt;script&gt;' in html and 'nora@' not in html


def test_the_page_of_a_cleaning_shows_what_went_and_why_and_its_counts_add_up(ws, tmp_path):
    good = [dict(instruction=f'Say {w} {i} times', output=f'{w} '*i) for i in range(1, 20) for w in ('red', 'blue')]
    lines = [json.dumps(x) for x in good+good[:5]]
    lines[7:7] = ['{"instruction": "cut', 'null', '{"instruction": 4, "output": "x"}']
    (tmp_path/'say.jsonl').write_text('\n'.join(lines))
    v = ws.load(tmp_path/'say.jsonl', out='say')
    w = ws.clean('say', out='tidy')
    from llmops.faces.datapage import flow
    steps = flow(w.body)
    assert steps[0]['rows'] == v.body['rows'] == 43 and steps[-1]['rows']-steps[-1]['out'] == w.body['rows'] == 38
    assert all(a['rows']-a['out'] == b['rows'] for a, b in zip(steps, steps[1:], strict=False))
    first, clean = list(pages(ws, v))[0], list(pages(ws, w))[0]
    assert 'Refused rows: 3' in first and all(f'<td class="r">{n}</td>' in first for n in (8, 9, 10))
    assert 'Rows in, rows out' in clean and '−5' in clean and 'duplicates' in clean and '行的进出' in clean
    for html in (first, clean): assert '<svg' in html and 'Nobody said what the licence is' in html


def test_a_report_is_one_file_that_a_browser_opens_without_asking_for_more(ws, tmp_path):
    from playwright.sync_api import sync_playwright
    write = writer(ws)
    write('evil', [{'text': f'{e} {i}', 'label': e} for i, e in enumerate(EVIL*8)], 'text')
    rep = ws.stats('evil', topics=2)
    at = tmp_path/'page.html'
    at.write_text(render(ws.store, rep), encoding='utf-8')
    with sync_playwright() as p:
        b = p.chromium.launch(executable_path='/usr/bin/chromium' if Path('/usr/bin/chromium').exists() else None,
                              args=['--no-sandbox'])
        page, asked, said = b.new_page(), [], []
        page.on('request', lambda r: asked.append(r.url))
        page.on('dialog', lambda d: (said.append(d.message), d.dismiss()))
        page.goto(at.as_uri())
        page.get_by_text('中文', exact=True).click()
        assert page.locator('h2', has_text='个人信息').is_visible() and page.locator('svg').count() > 1
        b.close()
    assert asked == [at.as_uri()] and said == []
