"Recipes: rows in another order give the same set, counts add up, a grown source gives what a full run gives."
import json
import random
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmops.core import Invalid, NotFound
from llmops.data.flow import run_steps
from llmops.data.recipe import check_recipe, content, row_key
from llmops.data.steps import change_texts, normal, row_texts
from llmops.rows import origin_of, rows

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Texts that collide, that normalise to the same, that hold what nobody sees
TEXT = st.one_of(st.sampled_from(['a', 'A', ' a', 'a\r\n', 'cafe\u0301', 'caf\u00e9', '', ' ', '\u200b', 'b\u200d',
                                  '你好', '你好 ', 'ａ', 'x'*30, 'mail a@b.example now']),
                 st.text(st.characters(blacklist_categories=('Cs',)), max_size=12))
ROW = st.one_of(
    st.fixed_dictionaries({'text': TEXT}, optional={'topic': st.sampled_from(['x', 'y', '']), 'n': st.integers(0, 3)}),
    st.fixed_dictionaries({'messages': st.tuples(TEXT, TEXT).map(lambda t: [dict(role='user', content=t[0]),
                                                                            dict(role='assistant', content=t[1])])}))
ROWS = st.lists(ROW, max_size=25)
STEP = st.sampled_from([
    {'step': 'normalise'}, {'step': 'normalise', 'form': 'NFKC', 'blanks': 'one', 'blank_lines': 1}, {'step': 'empty'},
    {'step': 'length', 'min': 1, 'max': 8},
    {'step': 'length', 'max': 6, 'over': 'cut'}, {'step': 'regex', 'pattern': 'a', 'do': 'replace', 'by': 'b'},
    {'step': 'regex', 'pattern': '[xyz]'},
    {'step': 'duplicates'}, {'step': 'duplicates', 'by': 'question'}, {'step': 'duplicates', 'by': 'row'},
    {'step': 'sample', 'share': .6, 'seed': 3}, {'step': 'sample', 'rows': 5}])
RECIPE = st.lists(STEP, min_size=1, max_size=4)


def cut(rs, sizes):
    "Rows in batches of odd sizes"
    out, i = [], 0
    for n in [*sizes, 10**6]:
        if rs[i:i+n]: out.append(rs[i:i+n])
        i += n
    return out


def outcome(r):
    return (Counter(row_key(x) for x in r.kept.rows()),
            Counter((g['step'], g['why'], json.dumps(g.get('row'), sort_keys=True)) for g in r.removed()))


def ran(steps, batches):
    with tempfile.TemporaryDirectory() as d:
        r = run_steps(None, check_recipe(steps), batches, at=Path(d))
        return outcome(r), r.report, r.rows, len(r.kept)


@QUICK
@given(ROWS, RECIPE, st.randoms(use_true_random=False), st.lists(st.integers(1, 9), max_size=4))
def test_the_same_rows_in_another_order_give_the_same_set_and_every_step_adds_up(rs, steps, rnd, sizes):
    one, report, n, kept = ran(steps, [rs] if rs else [])
    other = rs[:]
    rnd.shuffle(other)
    two = ran(steps, cut(other, sizes))[0]
    assert one[0] == two[0], 'the rows that stay'
    # Which rows go is the same too; of rows that sampling leaves out only where they stand is noted
    assert one[1] == two[1], 'the rows that go'
    at = len(rs)
    for s in report:
        assert s['rows'] == at and s['removed'] == sum(s['why'].values())
        at -= s['removed']
    assert (n, kept) == (len(rs), at) == (len(rs), sum(one[0].values())) and len(rs)-kept == sum(one[1].values())


@QUICK
@given(ROWS, ROWS, RECIPE, st.data())
def test_a_grown_source_gives_what_a_full_run_gives(old, more, steps, data):
    with tempfile.TemporaryDirectory() as d:
        base = Path(d)
        class Run:
            def __init__(self, name): self.store, self.n = SimpleNamespace(folder=base/name), 0
            def folder(self):
                self.n += 1
                (p := base/f'{self.store.folder.name}-{self.n}').mkdir(parents=True)
                return p
            def step(self, d): pass
        grown = data.draw(st.permutations(old+more)) if old+more else []
        grown = [r | {'topic': 'z'} if 'text' in r and data.draw(st.integers(0, 5)) == 0 else r for r in grown]
        one, plan = Run('one'), check_recipe(steps)
        run_steps(one, plan, [old])
        again, full = run_steps(one, plan, cut(grown, [3, 4])), run_steps(Run('two'), plan, [grown])
        assert again.report == full.report
        assert list(again.kept.rows()) == list(full.kept.rows()) and list(again.removed()) == list(full.removed())
        assert full.reused == 0
        if plan[0].spec.rowwise:
            known = {row_key(r) for r in old}
            assert again.reused == sum(row_key(r) in known for r in grown) == len(grown)-again.new


@QUICK
@given(st.text(st.characters(blacklist_categories=('Cs',)), max_size=30), st.sampled_from(['NFC', 'NFKC', 'none']),
       st.sampled_from(['keep', 'tails', 'one']), st.integers(0, 2))
def test_normalising_twice_changes_nothing_more(s, form, blanks, lines):
    f = normal(form, blanks=blanks, blank_lines=lines)
    assert f(f(s)) == f(s)


@pytest.mark.parametrize('s',
                         ['हिन्दी क्\u200dष', 'می\u200cخواهم', '👩\u200d💻 und 👨\u200d👩\u200d👧‍👦', 'עִבְרִית', 'ภาษาไทย',
                          'Ελληνικά', 'def f():\n\treturn  1', '|a  |b|\n|--|--|', '你好，世界　全角', 'Ünïcödé'])
def test_normalising_keeps_what_scripts_and_code_need(s):
    import unicodedata
    assert normal()(s) == unicodedata.normalize('NFC', s)


def test_texts_are_changed_where_they_are_and_nowhere_else():
    row = {'messages': [{'role': 'user', 'content': [{'type': 'image', 'blob': 'x'}, {'type': 'text', 'text': 'a'}],
                         'name': 'a'}, {'role': 'assistant', 'content': '', 'tool_calls': [{'id': 'a'}]}],
           'topic': 'a', '_file': 'a'}
    assert change_texts(row, lambda s: s.replace('a', 'b')) == row | {'messages': [row['messages'][0] | {
        'content': [{'type': 'image', 'blob': 'x'}, {'type': 'text', 'text': 'b'}]}, row['messages'][1]]}
    assert change_texts(row, str) is row and row_texts({'a': 'x', 'b': 3, 'c': ['y']}) == ['x']


@pytest.mark.parametrize('steps,say', [
    ([{'step': 'nromalise'}], "Did you mean 'normalise'"), ([{'step': 'length', 'mx': 3}], "Did you mean 'max'"),
    ([{'step': 'length', 'max': 'x'}], 'whole number'),
    (['empty', {'step': 'regex'}], 'Step 2 of the recipe, regex: regex needs pattern'), ([{'max': 3}], 'no "step"'),
    ([], 'list of steps'), ({'steps': []}, 'list of steps'), ([['empty']], 'no "step"'),
    ([{'step': 'tokens', 'model': 'model:none', 'max': 3}], 'model:none'), ([{'step': None}], 'no step'),
    ([{'step': '../x'}], 'no step'), (['empty', 7], 'Step 2')])
def test_a_wrong_recipe_is_refused_before_anything_runs(ws, tmp_path, steps, say):
    (tmp_path/'a.jsonl').write_text('{"text": "a"}\n{"text": "b "}')
    ws.load(tmp_path/'a.jsonl')
    (tmp_path/'r.json').write_text(json.dumps(steps))
    for how in ({'steps': steps} if isinstance(steps, list) and steps else None, {'recipe': tmp_path/'r.json'}):
        if how is None: continue
        with pytest.raises((Invalid, NotFound), match=say): ws.clean('dataset:a', **how)
    assert [r['ref'] for r in ws.ls(all=True)] == ['dataset:a@1']


@pytest.mark.parametrize('name,text', [('r.json', '{"steps": ['), ('r.json', '{"steps": [], "steps": []}'),
                                       ('r.yaml', 'steps: [\n'), ('r.yaml', '!!python/object/apply:os.system ["id"]'),
                                       ('r.toml', 'steps = ['), ('r.json', '7'), ('r.json', '{"step": "empty"}'),
                                       ('r.yaml', ''), ('r.json', '['*100_000), ('r.bin', '\0'),
                                       ('r.yaml', 'steps: [{step: split, parts: &a {x: 1}}, {step: split, parts: *a}]'),
                                       ('r.json', '['+' '*2_000_000+']'), ('r.json', '{"steps": {"a": 1}}')])
def test_files_that_hold_no_recipe(ws, tmp_path, name, text):
    (tmp_path/'a.jsonl').write_text('{"text": "a"}')
    ws.load(tmp_path/'a.jsonl')
    (tmp_path/name).write_text(text)
    with pytest.raises(Invalid): ws.clean('dataset:a', recipe=tmp_path/name)
    for other in (tmp_path/'none.json', tmp_path, '/dev/null', '/dev/zero', 'template:none', 'template:a b'):
        with pytest.raises((Invalid, NotFound)): ws.clean('dataset:a', recipe=other)
    assert [r['ref'] for r in ws.ls(all=True)] == ['dataset:a@1']


def faq(tmp_path, n, name='faq', more=()):
    rs = [dict(prompt=f'Question {i//2}?', completion=f'answer {i//2} {"x" if i % 4 else ""}') for i in range(n)]
    (tmp_path/f'{name}.jsonl').write_text('\n'.join(map(json.dumps, [*more, *rs])))
    return tmp_path/f'{name}.jsonl'


def said(ws, v): return [content(r) for r in rows(ws.store, v)]


def test_a_recipe_is_a_version_and_gives_the_same_again(ws, tmp_path):
    v = ws.load(faq(tmp_path, 60))
    one = ws.clean(v, out='dataset:one', max_chars=40, sample=20, seed=5)
    recipe = ws.store.get(one.body['recipe']['ref'])
    assert recipe.body['type'] == 'recipe' and recipe.digest == one.body['recipe']['digest']
    assert str(recipe) == 'template:one@1'
    assert [s['step'] for s in recipe.body['steps']] == ['normalise', 'empty', 'length', 'duplicates',
                                                         'sample'] == [s['step'] for s in one.body['cleaning']]
    (tmp_path/'same.json').write_text(json.dumps(recipe.body))
    for how in ('template:one', str(tmp_path/'same.json')):
        two = ws.clean(v, out='two', recipe=how)
        assert said(ws, two) == said(ws, one) and two.body['cleaning'] == one.body['cleaning']
    assert 'template:one@1' in [r['ref'] for r in ws.lineage('dataset:two@1') if r['direction'] == 'up']
    assert {'template:one@1', 'template:same@1'} <= {r['ref'] for r in ws.recipes()}


def test_every_row_is_kept_or_named_and_knows_where_it_came_from(ws, data):
    v = ws.load(data/'llamafactory'/'alpaca_zh_demo.json', out='zh')
    c = ws.clean(v, min_chars=20, max_chars=600, drop_pattern='http', dedup=True)
    src = {r['_row']: r for r in rows(ws.store, v)}
    f = next(e for e in c.body['files'] if e['path'] == 'removed.jsonl')
    gone = [json.loads(x) for x in ws.store.blobs.get(f['blob']).splitlines()]
    kept = list(rows(ws.store, c))
    assert len(gone)+len(kept) == 1000 and c.body['counts'] == dict(read=1000, removed=len(gone), rows=len(kept))
    assert sorted([g['line'] for g in gone]+[r['_line'] for r in kept]) == sorted(r['_line'] for r in src.values())
    for s in c.body['cleaning']:
        mine = [g for g in gone if g['step'] == s['step']]
        assert len(mine) == s['removed'] == sum(s['why'].values()) and Counter(g['why'] for g in mine) == s['why']
        assert len(s['examples']) == min(3, s['removed']+s['changed']) and all(g['row'] for g in mine)
    lines = {r['_line']: r for r in src.values()}
    assert all(r['_file'] == 'alpaca_zh_demo.json'
               and normal()(lines[r['_line']]['messages'][0]['content']) == r['messages'][0]['content'] for r in kept)


def test_a_new_version_of_the_source_costs_its_new_rows(ws, tmp_path):
    "Appended, changed and moved rows; the numbers say what was taken over, and a second run changes nothing"
    first = ws.clean(ws.load(faq(tmp_path, 200)), drop_pattern='77')
    assert 'incremental' not in first.body
    ws.load(faq(tmp_path, 200, more=[dict(prompt='New?', completion='yes'), dict(prompt=' New? ', completion='yes'),
                                     dict(prompt='77?', completion='no')]))
    second = ws.clean('dataset:faq', drop_pattern='77')
    full = ws.clean('dataset:faq', drop_pattern='77', out='full', incremental=False)
    assert second.body['incremental'] == dict(rows=203, reused=200, new=3) and 'incremental' not in full.body
    assert said(ws, second) == said(ws, full)
    assert ({k: second.body[k] for k in ('cleaning', 'counts', 'columns', 'statistics')}
            == {k: full.body[k] for k in ('cleaning', 'counts', 'columns', 'statistics')})
    assert ([str(ws.clean('dataset:faq', drop_pattern='77')),
             str(ws.clean('dataset:faq', drop_pattern='77', incremental=False, out='full'))]
            == ['dataset:faq-clean@2', 'dataset:full@1'])
    other = ws.clean('dataset:faq', drop_pattern='78', out='other')
    assert 'incremental' not in other.body, 'another recipe has nothing to take over'
    said_so = [e.data.get('message', '') for e in ws.store.events() if e.kind == 'step']
    assert '200 rows as an earlier run left them, 3 worked on' in said_so
    assert '203 rows as an earlier run left them, 0 worked on' in said_so


def test_tokens_are_counted_by_the_model(ws, tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    t = Tokenizer(models.WordLevel({'[UNK]': 0, 'a': 1}, unk_token='[UNK]'))
    t.pre_tokenizer = pre_tokenizers.Whitespace()
    (tmp_path/'m').mkdir()
    t.save(str(tmp_path/'m'/'tokenizer.json'))
    ws.store.put('model', 'm', dict(files=ws.store.blobs.put_folder(tmp_path/'m')))
    ws.store.put('model', 'none', dict(files=[]))
    (tmp_path/'t.jsonl').write_text('\n'.join(json.dumps(dict(text=x)) for x in ('a b c', 'a b c d e', 'a', 'a b')))
    v = ws.load(tmp_path/'t.jsonl')
    c = ws.clean(v, min_tokens=2, max_tokens=4, model='model:m')
    assert [r['text'] for r in said(ws, c)] == ['a b c', 'a b']
    assert c.body['cleaning'][2]['why'] == {'fewer than 2 tokens': 1, 'more than 4 tokens': 1}
    assert (ws.store.get(c.body['recipe']['ref']).body['steps'][2]
            == dict(step='tokens', model='model:m@1', min=2, max=4, of='all', over='drop'))
    assert 'model:m@1' in [r['ref'] for r in ws.lineage(c) if r['direction'] == 'up']
    cut = ws.clean(v, out='cut', steps=[dict(step='tokens', model='m', max=2, over='cut')])
    assert [r['text'] for r in said(ws, cut)] == ['a b', 'a b', 'a', 'a b']
    for how in (dict(max_tokens=3), dict(max_tokens=3, model='model:none')):
        with pytest.raises(Invalid, match='model'): ws.clean(v, **how)


@QUICK
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4), st.integers(0, 2)), min_size=1, max_size=40),
       st.sampled_from([{}, {'by': ['who']}, {'stratify': 'kind'}, {'time': 'day'}]), st.integers(0, 3),
       st.randoms(use_true_random=False))
def test_no_question_and_no_group_is_on_two_sides_whatever_the_order(rs, how, seed, rnd):
    from llmops.data.split import draw, look_at
    rs = [dict(text=f'q{a}', who=b, kind=f'k{c}', day=f'2026-01-{1+b:02}') for a, b, c in rs]
    want = dict(train=.6, valid=.2, test=.2)
    def sides(rs): return draw(look_at(cut(rs, [3]), seed, **how), want, 'time' in how).tolist()
    one = sides(rs)
    for k in ('text', *how.get('by', ())):
        assert all(len({p for p, r in zip(one, rs, strict=True) if r[k] == x}) == 1 for x in {r[k] for r in rs})
    for p, share in ((1, .2), (2, .2)): # More only where the smallest group is larger, and then one group
        assert (one.count(p) <= round(share*len(rs)) or len({r['text'] for i, r in zip(one, rs, strict=True) if i == p})
                == 1 or how.get('by') and one.count(p) <= 2*round(share*len(rs)))
    other = rs[:]
    rnd.shuffle(other)
    assert (Counter(zip(one, map(row_key, rs), strict=True))
            == Counter(zip(sides(other), map(row_key, other), strict=True)))


def test_few_large_groups_are_split_as_well_as_can_be(ws, tmp_path):
    (tmp_path/'g.jsonl').write_text(
        '\n'.join(json.dumps(dict(prompt=f'Question {i}?', completion='x', who=f'c{i%3}')) for i in range(60)))
    train, test = ws.split(ws.load(tmp_path/'g.jsonl'), test=.2, by=['who'])
    assert (train.body['rows'], test.body['rows']) == (40, 20)
    assert not {r['who'] for r in rows(ws.store, train)} & {r['who'] for r in rows(ws.store, test)}
    with pytest.raises(Invalid, match='none is left for the test'): ws.split('g', test=.1, by=['who'])


def test_parts_are_disjoint_complete_and_stratified(ws, data):
    v = ws.load(data/'crows_pairs'/'crows_pairs_anonymized.csv', out='crows')
    made = ws.split(v, parts=dict(train=.8, valid=.1, test=.1), stratify='bias_type', seed=2)
    assert [p.body['role'] for p in made] == ['training', 'validation', 'held-out']
    got = [[origin_of(ws.store, p, i+1)['_row'] for i in range(p.body['rows'])] for p in made]
    assert sorted(sum(got, [])) == list(range(1, 1509)) and [p.body['rows'] for p in made] == [len(g) for g in got]
    whole = Counter(r['bias_type'] for r in rows(ws.store, v))
    for p, share in zip(made, (.8, .1, .1), strict=True):
        n = Counter(r['bias_type'] for r in rows(ws.store, p))
        assert all(abs(n[k]-share*whole[k]) <= 2 for k in whole)
    (tmp := ws.folder/'parts.json').write_text('[{"step": "split", "parts": {"train": 0.5, "test": 0.5}}]')
    c = ws.clean(v, recipe=tmp, out='halves')
    a, b = (ws.store.get(f'dataset:halves-{p}') for p in ('train', 'test'))
    assert a.body['rows']+b.body['rows'] == c.body['rows'] == 1508 and a.body['role'] == 'training'
    assert 'split' not in said(ws, a)[0]


def test_time_decides_without_a_look_ahead(ws, tmp_path):
    rs = [dict(prompt=f'q{i}', completion='x', at=f'2025-{1+i%12:02}-{1+i//12:02}') for i in range(120)]
    random.Random(1).shuffle(rs)
    (tmp_path/'t.jsonl').write_text('\n'.join(map(json.dumps, rs)))
    train, test = ws.split(ws.load(tmp_path/'t.jsonl'), test=.25, time='at')
    assert test.body['rows'] == 30 and max(r['at'] for r in said(ws, train)) <= min(r['at'] for r in said(ws, test))


def test_nearly_the_same_questions_stay_together(ws, tmp_path):
    r = random.Random(3)
    words = [''.join(r.choices('abcdefghijklmnop', k=6)) for _ in range(400)]
    rs = []
    for i in range(60):
        q = ' '.join(r.choices(words, k=40))
        rs += [dict(prompt=q, completion='x', of=i), dict(prompt=f'{q} please', completion='y', of=i)]
    (tmp_path/'n.jsonl').write_text('\n'.join(map(json.dumps, rs)))
    v = ws.load(tmp_path/'n.jsonl')
    def crossed(parts):
        a, b = ({x['of'] for x in said(ws, p)} for p in parts)
        return len(a & b)
    assert crossed(ws.split(v, test=.3, near=True)) == 0 < crossed(ws.split(v, test=.3, out='loose'))


@QUICK
@given(st.lists(st.integers(1, 400), min_size=2, max_size=5), st.data())
def test_quotas_of_a_mixture_add_up(sizes, data):
    from llmops.data.mix import quotas, shares_in
    weights = data.draw(st.one_of(st.just([]), st.lists(st.floats(.01, 10), min_size=len(sizes), max_size=len(sizes))))
    share = shares_in(sizes, weights, data.draw(st.sampled_from([.5, 1., 3.])))
    assert abs(sum(share)-1) < 1e-9
    under, over = quotas(sizes, share, 0, 'interleave_under'), quotas(sizes, share, 0, 'interleave_over')
    assert all(0 <= q <= n for q, n in zip(under, sizes, strict=True))
    assert max(q-n for q, n in zip(over, sizes, strict=True)) >= 0
    assert any(q == n for q, n in zip(under, sizes, strict=True))
    assert all(q >= n-1 for q, n in zip(over, sizes, strict=True))
    n = data.draw(st.integers(1, 300))
    assert sum(quotas(sizes, share, n, 'interleave_over')) == n


def test_a_mixture_of_real_files(ws, data):
    a, b = (ws.load(data/'llamafactory'/'alpaca_en_demo.json', out='a'),
            ws.load(data/'llamafactory'/'identity.json', out='b'))
    v = ws.mix([a, b], weights=[.8, .2], rows=1000, strategy='interleave_over', seed=1)
    got = list(rows(ws.store, v))
    of = Counter(r['_file'] for r in got)
    assert of == {'alpaca_en_demo.json': 800, 'identity.json': 200}
    assert v.body['counts'] == dict(read=1090, repeated=109, left=199, rows=1000)
    assert [m['rows'] for m in v.body['mix']] == [800, 200]
    assert {p['ref'] for p in v.body['parents']} == {'dataset:a@1', 'dataset:b@1'}
    half = Counter(r['_file'] for r in got[:500])['identity.json']
    assert 70 < half < 130, 'they take turns'
    with pytest.raises(Invalid, match='one format'):
        ws.mix([a, ws.load(data/'llamafactory'/'dpo_en_demo.json', out='d')])


MEMORY = '''
import json, sys, tempfile
from pathlib import Path
from llmops.data.flow import run_steps
from llmops.data.recipe import check_recipe
def batches():
    for i in range(0, 40_000, 2000): yield [{'text': f'row {j} '+'word '*200} for j in range(i, i+2000)]
plan = check_recipe([{'step': 'normalise'}, {'step': 'empty'}, {'step': 'length', 'max': 10_000},
                     {'step': 'sample', 'share': .5}])
next(iter(batches()))
# kB of this process; ru_maxrss counts its parent's too
def peak(): return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
before = peak()
with tempfile.TemporaryDirectory() as d: r = run_steps(None, plan, batches(), at=Path(d))
print(len(r.kept), (peak()-before)/1024)
'''


def test_rows_are_not_held_in_memory():
    "Three times the rows, 80 MB more of text: the memory that is added stays what it was"
    took = {}
    for n in (40_000, 120_000):
        out = subprocess.run([sys.executable, '-c', MEMORY.replace('40_000', str(n))], capture_output=True, text=True,
                             check=True).stdout.split()
        assert int(out[0]) == n//2
        took[n] = float(out[1])
    assert took[40_000] < 35 and took[120_000] < took[40_000]+8, took


def test_what_is_masked_stands_nowhere_in_the_version(ws, tmp_path):
    "Neither in rows, nor in rows that an earlier step took out, nor in any example"
    secret = 'ann.lee77@mail.example.org'
    rs = [dict(prompt=f' Write to {secret} ', completion='done'), dict(prompt='x', completion=f'{secret} '+'long '*30),
          dict(prompt=secret, completion=''), dict(prompt='Hi', completion='yo')]
    (tmp_path/'p.jsonl').write_text('\n'.join(map(json.dumps, rs)))
    for extra in ({}, dict(drop_pattern='ann[.]lee')):
        c = ws.clean(ws.load(tmp_path/'p.jsonl'), max_chars=100, mask_pii=True, **extra)
        f = {e['path']: ws.store.blobs.get(e['blob']) for e in c.body['files']}
        assert 'ann.lee' not in json.dumps(c.body) and all(b'ann.lee' not in b for b in f.values())
        assert b'[EMAIL]' in f['removed.jsonl']
        assert c.body['counts']['removed'] == len(f['removed.jsonl'].splitlines())


def test_numbers_names_and_file_names_are_masked_too(ws, tmp_path):
    mail, tel = 'secret.person@example.com', 13812345678
    row = dict(messages=[dict(role='user', name=mail, content='hi'),
                         dict(role='assistant', content='ok', meta={'by': [mail]})],
               tools=[dict(type='function',
                           function=dict(name='f', parameters={'properties': {'a': {'default': mail}}}))],
               tel=tel, was=float(tel), who={mail: 1, 'a@qq.com': 2})
    p = tmp_path/f'list-{tel}-{mail}.jsonl'
    p.write_text('\n'.join(json.dumps(r) for r in (row, row, row | {'messages': [dict(role='user', content=''),
                                                                                 dict(role='assistant', content='')]})))
    ws.load(p, out='people')
    for _ in range(2): # The second run takes over what the first made
        v = ws.clean('people', mask_pii=True)
        all_ = json.dumps([v.body, list(rows(ws.store, v)), ws.history('dataset:people-clean'),
                           ws.store.state(f'run:{v.made_by}')], default=str)
        files = b''.join(ws.store.blobs.get(e['blob']) for e in v.body['files'])
        assert mail not in all_ and str(tel) not in all_ and mail.encode() not in files
        assert str(tel).encode() not in files
        assert v.body['rows'] == 1
        assert next(iter(rows(ws.store, v, origin=False)))['who'] == {'[EMAIL]': 1, '[EMAIL] 2': 2}


def test_what_is_cleaned_of_a_queue_is_no_queue(ws, tmp_path):
    (tmp_path/'f.jsonl').write_text(
        '\n'.join(json.dumps(dict(prompt=f'Question {i}?', completion=f'{i}')) for i in range(3)))
    ws.load(tmp_path/'f.jsonl')
    q = ws.label('f', task='dialogue', out='q')
    assert q.body['labelling']['task'] == 'dialogue' and 'labelling' not in ws.clean(q).body


def test_a_pattern_that_never_ends_is_refused(ws, tmp_path):
    "And one that only looks so is not"
    (tmp_path/'t.jsonl').write_text('\n'.join(json.dumps({'text': t}) for t in ('fine', 'a'*60+'!')))
    ws.load(tmp_path/'t.jsonl', out='t')
    with pytest.raises(Invalid, match='took longer than 5 seconds for row 2'): ws.clean('t', drop_pattern='^(a|a)*$')
    assert not [v for v in ws.store.find('dataset') if v.name == 't-clean']
    assert ws.clean('t', drop_pattern='(a+)!$').body['rows'] == 1


def test_the_template_prepares_a_real_file(ws, data, tmp_path):
    "From the file to what is handed over; the parts and the statistics are versions"
    import llmops.faces.notebook  # noqa: F401
    (tmp_path/'r.yaml').write_text('steps: [normalise, empty, {step: length, min: 20}, duplicates]\n')
    r = ws.run('prepare', data=str(data/'llamafactory'/'alpaca_zh_demo.json'), rows=200, name='zh',
               recipe=str(tmp_path/'r.yaml'), mask_pii=True, near=True, export=str(tmp_path/'out.jsonl'))
    assert r['status'] == 'done', r
    clean, train, test = (ws.store.get(f'dataset:zh-{p}') for p in ('clean', 'train', 'test'))
    assert [s['step'] for s in clean.body['cleaning']] == ['normalise', 'empty', 'length', 'duplicates', 'pii',
                                                           'near_duplicates']
    assert (train.body['rows']+test.body['rows'] == clean.body['rows']
            == clean.body['counts']['read']-clean.body['counts']['removed'])
    assert len((tmp_path/'out.jsonl').read_text().splitlines()) == train.body['rows']
    assert ws.store.get('report:zh-statistics').body['type'] == 'statistics'
