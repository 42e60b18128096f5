"Labelling: who gets what, answers that stand, agreement, and the way back to training rows"
import json
import random
import subprocess
import sys
import threading
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmops.core import Denied, Invalid, LlmopsError
from llmops.data import agreement
from llmops.data.collect import made, standing
from llmops.data.label import MIME, Queue, assigned, ledger
from llmops.data.label_tasks import TASKS, as_seen, settle
from llmops.rows import rows
from llmops.store import Store
from llmops.verbs import Workspace, call, load_all

load_all()


def chat(q, a, **more): return dict(messages=[dict(role='user', content=q), dict(role='assistant', content=a)], **more)


def dataset(ws, items, name='rows', folder=None):
    "Rows as a dataset of the workspace"
    p = (folder or ws.store.folder)/f'{name}.jsonl'
    p.write_text(''.join(json.dumps(r, ensure_ascii=False)+'\n' for r in items), encoding='utf-8')
    return ws.load(p, name)


@pytest.fixture
def ws(store, tmp_path):
    w = Workspace(store)
    w.files = tmp_path
    return w


@pytest.fixture
def lite(tmp_path):
    s = Store(tmp_path/'store')
    yield Workspace(s)
    s.close()


# --- who gets what ---------------------------------------------------------------------------------------------------

@settings(max_examples=60, deadline=None)
@given(st.integers(1, 120), st.integers(1, 7), st.data(), st.integers(0, 9))
def test_every_item_gets_its_people_and_loads_are_level(items, people, data, seed):
    names = tuple(f'p{i}' for i in range(people))
    overlap, share = data.draw(st.integers(1, people)), data.draw(st.sampled_from((0., .3, 1.)))
    got = assigned(items, names, overlap, share, seed)
    assert Counter(map(len, got)) == Counter([overlap]*round(share*items)+[1]*(items-round(share*items)))
    assert all(len(set(x)) == len(x) for x in got)
    load = Counter(a for x in got for a in x)
    assert max(load.values())-min(load.get(n, 0) for n in names) <= 1
    assert got == assigned.__wrapped__(items, names, overlap, share, seed)


def test_a_person_sees_his_items_in_his_own_order_and_goes_on_where_he_stopped(ws):
    d = dataset(ws, [chat(f'q{i}', f'a{i}') for i in range(12)], folder=ws.files)
    q = ws.label(d, 'dialogue', annotators=['anna', 'ben'], overlap=2)
    order = {w: [r['item'] for r in ws.label_mine(q, w)] for w in ('anna', 'ben')}
    assert sorted(order['anna']) == sorted(order['ben']) == list(range(1, 13))
    assert order['anna'] != order['ben'] != list(range(1, 13))
    got = ws.label_next(q, 'anna')
    assert got['item'] == order['anna'][0]
    for n in range(5): got = ws.label_save(q, got['item'], {'rating': n % 5+1}, 'anna', 1.5)['next']
    # Another day
    again = Workspace(Store(ws.store.url, blobs=ws.store.blobs.url) if '://' in ws.store.url else Store(ws.store.url))
    assert again.label_next(q, 'anna')['item'] == got['item'] == order['anna'][5]
    assert again.label_progress(q) == [dict(annotator='anna', done=5, skipped=0, open=7, total=12, seconds=1.5),
                                       dict(annotator='ben', done=0, skipped=0, open=12, total=12, seconds=None)]
    assert again.label_next(q, 'anna', after=order['anna'][8])['item'] == order['anna'][9]
    assert again.label_next(q, 'anna', after=order['anna'][11])['item'] == order['anna'][5] # Round
    again.store.close()


LABEL = '''
import sys
from llmops.store import Store
from llmops.verbs import Workspace, call, load_all
load_all()
url, blobs, queue, who = sys.argv[1:]
ws = Workspace(Store(url, blobs=blobs or None))
got, mine = ws.label_next(queue, who), []
while got and got['item']:
    mine.append(got['item'])
    got = ws.label_save(queue, got['item'], {'rating': 3}, who, 1)['next']
print(*mine)
'''


def test_people_who_come_at_once_share_out_the_items_exactly(ws):
    d = dataset(ws, [chat(f'q{i}', f'a{i}') for i in range(15)], folder=ws.files)
    q = ws.label(d, 'dialogue', overlap=2)
    url, blobs = ws.store.url, '' if '://' not in ws.store.url else str(ws.store.blobs.url)
    running = [subprocess.Popen([sys.executable, '-c', LABEL, url, blobs, str(q), f'p{i}'], stdout=subprocess.PIPE,
                                text=True) for i in range(3)]
    mine = [list(map(int, p.communicate(timeout=120)[0].split())) for p in running]
    assert all(len(set(m)) == len(m) for m in mine)
    assert Counter(i for m in mine for i in m) == dict.fromkeys(range(1, 16), 2)
    assert ledger(ws.store, q).count() == dict(items=15, labelled=15, skipped=0, open=0)
    assert ws.label_next(q, 'late')['done'] and not ws.store.verify()


def test_threads_that_ask_for_the_last_place_get_it_once(ws):
    d = dataset(ws, [chat('q', 'a')], folder=ws.files)
    q = ws.label(d, 'dialogue', overlap=2)
    got, start = [], threading.Barrier(6)
    def one(who):
        start.wait()
        r = ws.label_next(q, who)
        if r['item']: got.append(ws.label_save(q, r['item'], {'rating': 1}, who)['saved'])
        ws.store.close()
    threads = [threading.Thread(target=one, args=(f'p{i}',)) for i in range(6)]
    for t in threads: t.start()
    for t in threads: t.join()
    assert len(got) == 2
    with pytest.raises(Denied, match='has its 2 answers'): ws.label_save(q, 1, {'rating': 5}, 'p9')


def test_an_item_that_nobody_finishes_is_free_again(lite, monkeypatch):
    import llmops.data.label_answer as la
    q = lite.label(dataset(lite, [chat('q', 'a')]), 'dialogue', hold=1)
    assert lite.label_next(q, 'anna')['item'] == lite.label_next(q, 'anna')['item'] == 1
    assert lite.label_next(q, 'ben')['done']
    import time
    later = time.time()+61
    monkeypatch.setattr(la, 'now', lambda: later)
    monkeypatch.setattr('llmops.data.label.now', lambda: later)
    assert lite.label_next(q, 'ben')['item'] == 1
    with pytest.raises(Denied, match='being answered'): lite.label_save(q, 1, {}, 'anna')
    assert lite.label_save(q, 1, {}, 'ben')['saved'] == dict(item=1, revision=1, state='done')


# --- what is refused -------------------------------------------------------------------------------------------------

def test_what_does_not_fit_is_refused_and_leaves_nothing(ws):
    d = dataset(ws, [chat(f'q{i}', f'a{i}') for i in range(4)], folder=ws.files)
    q = ws.label(d, 'classification', annotators=['anna', 'ben'], classes=['yes', 'no'])
    mine = ws.label_mine(q, 'anna')[0]['item']
    ws.label_save(q, mine, {'classes': ['yes']}, 'anna')
    seq = ws.store.head()
    for args, what in (
            ((q, mine, {'classes': ['yes']}, 'ben'), 'not for ben, but for anna'),
            ((q, mine, {'classes': ['no']}, 'anna'), r'revision 1, not 0'),
            ((q, mine, {'classes': ['maybe']}, 'anna', 0, 1), "'maybe' is not one of the classes"),
            ((q, mine, {'classes': []}, 'anna', 0, 1), 'exactly one'),
            ((q, mine, {'choice': 'A'}, 'anna', 0, 1), "'choice' is no part"),
            ((q, mine, [], 'anna', 0, 1), 'The answer is list'),
            ((q, 0, {'classes': ['yes']}, 'anna'), 'items 1 to 4, not 0'),
            ((q, 5, {'classes': ['yes']}, 'anna'), 'items 1 to 4, not 5'),
            ((q, mine, {'classes': ['yes']}, 'a:b', 0, 1), 'cannot be an annotator'),
            ((q, mine, {'classes': ['yes']}, 'anna', -1, 1), 'seconds is -1'),
            ((d, 1, {'classes': ['yes']}, 'anna'), 'not a labelling queue')):
        with pytest.raises(LlmopsError, match=what): ws.label_save(*args)
    with pytest.raises(Denied, match='ben cannot answer for anna'):
        call(ws.store, 'label_save',
             dict(queue=q, item=mine, value={'classes': ['no']}, annotator='anna', revision=1), by='ben')
    with pytest.raises(Invalid, match='nothing to take back'):
        ws.label_undo(q, next(r['item'] for r in ws.label_mine(q, 'anna') if r['state'] == 'open'), 'anna')
    assert ws.store.head() == seq
    ws.label_finish(q)
    for f in (lambda: ws.label_next(q, 'anna'), lambda: ws.label_save(q, mine, {'classes': ['no']}, 'anna', 0, 1),
              lambda: ws.label_skip(q, mine, 'anna', 1), lambda: ws.label_undo(q, mine, 'anna', 1)):
        with pytest.raises(Denied, match='is finished'): f()
    assert ws.label_finish(q, undo=True)['finished'] is False and ws.label_next(q, 'anna')['item']


def test_two_windows_of_one_person_do_not_overwrite_each_other(ws):
    q = ws.label(dataset(ws, [chat('q', 'a')], folder=ws.files), 'correction', annotators=['anna'])
    one = two = ws.label_next(q, 'anna')
    assert ws.label_save(q, 1, {'text': 'first'}, 'anna', revision=one['revision'])['saved']['revision'] == 1
    with pytest.raises(Invalid, match='answered by anna meanwhile'):
        ws.label_save(q, 1, {'text': 'second'}, 'anna', revision=two['revision'])
    assert ws.label_item(q, 1, 'anna')[0]['value'] == {'text': 'first'}
    seq = ws.store.head()
    assert ws.label_save(q, 1, {'text': 'first'}, 'anna', revision=0)['saved'] == dict(item=1, revision=1, state='done')
    assert ws.store.head() == seq # The same, sent again
    assert ws.label_save(q, 1, {'text': 'second'}, 'anna', revision=1)['saved']['revision'] == 2
    # Nothing is lost
    assert [e.data['value'] for e in ws.store.events('label', q)] == [{'text': 'first'}, {'text': 'second'}]
    before = {a: ws.store.state(a) for a in (str(q), f'{q}#1')}
    ws.store.rebuild()
    assert {a: ws.store.state(a) for a in before} == before


# --- blind -----------------------------------------------------------------------------------------------------------

def test_nothing_that_a_person_gets_names_the_sides(ws):
    said = lambda t, m: [dict(role='assistant', content=t, model=m, name=m)]
    pairs = [dict(prompt=[dict(role='user', content=f'q{i}')], chosen=said(f'x{i}', 'secret-big'),
                  rejected=said(f'y{i}', 'secret-small'), winner='secret-big') for i in range(40)]
    q = ws.label(dataset(ws, pairs, folder=ws.files), 'preference', annotators=['anna', 'ben'], overlap=2)
    left = {'anna': [], 'ben': []}
    for who in left:
        got = ws.label_next(q, who)
        while got and got['item']:
            left[who].append((got['item'], got['content']['sides'][0]['messages'][0]['content'][0]))
            r = ws.label_save(q, got['item'], {'choice': 'A'}, who)
            told = json.dumps([got, r, ws.label_item(q, got['item'], who), ws.label_mine(q, who, 3)])
            assert not [w for w in ('secret', 'chosen', 'rejected', 'winner', 'first', 'second', '"seed"') if w in told]
            got = r['next']
    assert all(8 < sum(s == 'x' for _, s in v) < 32 for v in left.values()) # Sides are mixed
    assert dict(left['anna']) != dict(left['ben'])
    for told in (ws.label_queue(q), ws.label_progress(q), ws.label_disagreements(q, 'chen')):
        assert not [w for w in ('secret', 'chosen', 'rejected', '"first"', '"second"', '"seed"',
                                'anna' if 'answers' in told[0] else 'secret') if w in json.dumps(told)]
    with pytest.raises(Invalid, match='blind comparison shows no further columns'):
        ws.label(dataset(ws, pairs, 'more', ws.files), 'preference', show=['winner'])
    want = {i: s for i, s in left['anna']} # All chose A: what stood there is what won
    got = {r['prompt'][0]['content'][1:]: r['chosen'][0]['content'][0]
           for r in rows(ws.store, ws.collect(q, policy='all', to='dpo')) if r['labels']['by'] == ['anna']}
    assert got == {str(i-1): s for i, s in want.items()}


@given(st.integers(0, 99), st.integers(1, 99), st.text('abc', min_size=1, max_size=5),
       st.sampled_from(('A', 'B', 'tie', 'neither')))
def test_sides_come_back_for_everybody(seed, item, who, choice):
    plan = dict(task='preference', seed=seed)
    assert as_seen(plan, item, who, settle(plan, item, who, {'choice': choice})) == {'choice': choice}


# --- agreement -------------------------------------------------------------------------------------------------------

@settings(max_examples=40, deadline=None)
@given(st.integers(2, 6), st.integers(2, 60), st.integers(0, 10**6))
def test_figures_equal_those_of_the_libraries(k, n, seed):
    sk, kd = pytest.importorskip('sklearn.metrics'), pytest.importorskip('krippendorff')
    r = np.random.default_rng(seed)
    a = r.integers(0, k, n)
    b = np.where(r.random(n) < .7, a, r.integers(0, k, n))
    got = agreement.cohen(a, b, k)
    if got is None: assert len(set(a) | set(b)) == 1
    else: assert got == pytest.approx(sk.cohen_kappa_score(a, b, labels=range(k)), abs=1e-9)
    gaps = np.array([np.bincount(r.integers(0, k, r.integers(0, 5)), minlength=k) for _ in range(n)])
    for level in ('nominal', 'ordinal', 'interval'):
        got = agreement.krippendorff(gaps, level)
        if got is not None:
            assert got == pytest.approx(kd.alpha(value_counts=gaps, value_domain=range(k), level_of_measurement=level),
                                        abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 6), st.integers(2, 6), st.integers(2, 60), st.integers(0, 10**6))
def test_fleiss_equals_statsmodels(k, people, n, seed):
    sm = pytest.importorskip('statsmodels.stats.inter_rater')
    r = np.random.default_rng(seed)
    counts = np.array([np.bincount(r.integers(0, k, people), minlength=k) for _ in range(n)])
    got = agreement.fleiss(counts)
    if got is not None: assert got == pytest.approx(sm.fleiss_kappa(counts, method='fleiss'), abs=1e-9)


def test_intervals_hold_what_they_promise():
    "Over many samples of a known world about 95 % of the intervals hold its α"
    r, k, hits = np.random.default_rng(0), 3, 0
    def world(n):
        truth = r.integers(0, k, n)
        said = np.where(r.random((3, n)) < .8, truth, r.integers(0, k, (3, n)))
        return np.array([np.bincount(said[:, i], minlength=k) for i in range(n)])
    real = agreement.krippendorff(world(200_000))
    for i in range(120):
        c = world(80)
        low, high = agreement.bootstrap(lambda w, c=c: agreement.krippendorff(c, w=w), 80, 200, i)
        hits += low <= real <= high
    assert .86 <= hits/120 <= 1


def test_a_queue_tells_agreement_by_class_and_person_and_what_to_decide(ws):
    texts = [dict(text=f'letter {i}') for i in range(30)]
    q = ws.label(dataset(ws, texts, folder=ws.files), 'classification', annotators=['anna', 'ben', 'chen'], overlap=3,
                 classes=['low', 'mid', 'high'], ordered=True)
    r = random.Random(1)
    for i in range(1, 31):
        c = i % 3
        for who, err in (('anna', 0), ('ben', .1), ('chen', .5)):
            ws.label_save(q, i, {'classes': [('low', 'mid', 'high')[(c+1) % 3 if r.random() < err else c]]}, who)
    got = {(x['what'], x['measure']): x for x in ws.label_agreement(q, resamples=200)}
    assert {x for x, _ in got} == {'all', 'class:low', 'class:mid', 'class:high', 'annotator:anna', 'annotator:ben',
                                   'annotator:chen'}
    assert got['all', 'krippendorff']['level'] == 'ordinal' and got['all', 'fleiss']['items'] == 30
    assert got['all', 'krippendorff']['answers'] == 90
    assert all(x['low'] <= x['value'] <= x['high'] for x in got.values())
    assert got['annotator:chen', 'cohen']['value'] < got['annotator:ben', 'cohen']['value']
    assert got['annotator:chen', 'cohen']['value'] < got['annotator:anna', 'cohen']['value']
    open_ = ws.label_disagreements(q, 'dora')
    assert [d['item'] for d in open_] == [i for i in range(1, 31) if len(
        {json.dumps(a['value']) for a in next((d['answers'] for d in open_ if d['item'] == i), [{'value': 0}])}) > 1]
    with pytest.raises(Denied, match='let somebody else decide'):
        ws.label_adjudicate(q, open_[0]['item'], {'classes': ['low']}, 'anna')
    assert ws.label_adjudicate(q, open_[0]['item'], {'classes': ['high']}, 'dora', 'it is')['left'] == len(open_)-1
    assert ws.label_adjudicate(q, open_[1]['item'], annotator='dora', drop=True)['saved']['state'] == 'dropped'
    with pytest.raises(Denied, match='decided already'):
        ws.label_save(q, open_[0]['item'], {'classes': ['low']}, 'anna', revision=1)
    with pytest.raises(Invalid, match='Give the answer that shall stand'):
        ws.label_adjudicate(q, open_[2]['item'], annotator='dora')
    assert ledger(ws.store, q).count() == dict(items=30, labelled=29, skipped=1, open=0)
    v = ws.collect(q, policy='adjudicated')
    one = next(x for x in rows(ws.store, v) if x['text'] == f'letter {open_[0]["item"]-1}')
    assert one['label'] == 'high' and one['labels']['decided'] == 'adjudicated'
    assert one['labels']['by'] == ['anna', 'ben', 'chen', 'dora']
    assert v.body['rows'] == 30-len(open_)+1
    assert v.body['counts'] == dict(read=30, used=v.body['rows'], rows=v.body['rows'],
                                    left={'people disagree': len(open_)-2, 'left out by a third person': 1})


# --- from answers to rows --------------------------------------------------------------------------------------------

ANSWER = dict(dialogue=st.fixed_dictionaries(
    {}, optional=dict(rating=st.integers(1, 5), tags=st.lists(st.sampled_from(('t1', 't2')), max_size=2, unique=True))),
              preference=st.fixed_dictionaries(dict(choice=st.sampled_from(('first', 'second', 'tie', 'neither')))),
              classification=st.fixed_dictionaries(
                  dict(classes=st.lists(st.sampled_from(('a', 'b', 'c')), min_size=1, max_size=1))),
              correction=st.fixed_dictionaries(dict(text=st.sampled_from(('x', 'y')))))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(TASKS), st.data())
def test_what_stands_is_what_most_said(task, data):
    values = data.draw(st.lists(ANSWER[task], min_size=1, max_size=5))
    said = {f'p{i}': dict(value=v) for i, v in enumerate(values)}
    for policy in ('majority', 'adjudicated', 'drop', 'all'):
        got, why = standing(task, said, None, policy)
        assert bool(got) != bool(why) and all(0 <= g['agreement'] <= 1 for g in got)
        if policy == 'all': assert [g['value'] for g in got] == values
        elif got and task in ('classification', 'correction'):
            assert 2*values.count(got[0]['value']) > len(values)
            assert policy == 'majority' or len({json.dumps(v) for v in values}) == 1
    assert standing(task, said, dict(who='z', value=values[0], drop=True),
                    'majority') == ([], 'left out by a third person')


@settings(max_examples=8, deadline=None)
@given(st.lists(st.sampled_from(('save', 'skip', 'undo', 'edit')), min_size=1, max_size=40), st.integers(0, 99))
def test_counts_always_add_up(tmp_path_factory, moves, seed):
    ws, r = Workspace(Store(tmp_path_factory.mktemp('counts'))), random.Random(seed)
    q = ws.label(dataset(ws, [chat(f'q{i}', f'a{i}') for i in range(6)]), 'dialogue',
                 annotators=['anna', 'ben'], overlap=2)
    for m in moves:
        item, who = r.randint(1, 6), r.choice(('anna', 'ben'))
        rev = ws.label_item(q, item, who)[0]['revision']
        try:
            if m in ('save', 'edit'):
                ws.label_save(q, item, {'rating': r.randint(1, 5)} if m == 'save'
                              else {'messages': chat(f'q{item-1}', 'better')['messages']}, who, revision=rev)
            elif m == 'skip': ws.label_skip(q, item, who, rev)
            else: ws.label_undo(q, item, who, rev)
        except Invalid: assert m == 'undo'
    c = ledger(ws.store, q).count()
    assert c['labelled']+c['skipped']+c['open'] == c['items'] == 6
    assert all(p['done']+p['skipped']+p['open'] == p['total'] == 6 for p in ws.label_progress(q))
    if not c['labelled']:
        with pytest.raises(Invalid, match='Nobody has answered|has all its answers yet'): ws.collect(q)
    else:
        for to in ('sft', 'dpo', 'kto', 'table'):
            try: v = ws.collect(q, to)
            except Invalid as e:
                assert 'gives a row for' in str(e)
                continue
            assert v.body['counts']['used']+sum(v.body['counts']['left'].values()) == 6
            assert v.body['rows'] == v.body['counts']['rows']
            assert {k: v.body['labelling'][k] for k in c} == c
    ws.store.close()


def test_rows_know_where_they_came_from_and_who_said_so(ws):
    d = dataset(ws, [chat(f'q{i}', f'a{i}', shop=i) for i in range(5)], folder=ws.files)
    q = ws.label(d, 'correction', annotators=['anna'], rows=3, seed=4)
    kept = [r['_row'] for r in rows(ws.store, d) if r['shop'] in {x['shop'] for x in rows(ws.store, q)}]
    for i in (1, 2, 3):
        ws.label_save(q, i, {'text': f'better {i}' if i != 2 else ws.label_item(q, 2, 'anna')[0]['content']['text']},
                      'anna')
    dpo = ws.collect(q, 'dpo')
    from llmops.rows import origin_of
    assert [origin_of(ws.store, q, i) for i in (1, 2, 3)] == [dict(_file='rows.jsonl', _line=n, _from=str(d), _row=n)
                                                              for n in kept]
    assert ([origin_of(ws.store, dpo, i) for i in (1, 2)]
            == [dict(_file='rows.jsonl', _line=kept[i], _from=str(q), _row=i+1) for i in (0, 2)])
    assert [(r['chosen'][0]['content'], r['rejected'][0]['content'], r['labels']) for r in rows(ws.store, dpo)] == [
        (f'better {i}', f'a{kept[i-1]-1}', {'by': ['anna'], 'agreement': 1.0}) for i in (1, 3)]
    assert dpo.body['counts'] == dict(read=3, used=2, rows=2, left={'nothing was corrected': 1})
    assert ws.collect(q, 'sft', unchanged=False).body['rows'] == 2 and ws.collect(q, 'sft').body['rows'] == 3
    assert {x['ref'] for x in ws.lineage(dpo) if x['direction'] == 'up'} == {str(q), str(d)}


def test_every_pair_of_task_and_kind_gives_rows_or_a_reason():
    row = chat('q', 'a') | dict(text=None) | dict(chosen='x', rejected='y', prompt='p')
    plan = dict(pair=['chosen', 'rejected'], column='', multi=False, scale=5)
    stands = lambda v: dict(value=v, by=['anna'], agreement=1., decided='')
    better = [row['messages'][0], dict(role='assistant', content='b')]
    pref = plan | dict(task='preference', column='prompt')
    assert [r['label'] for r in made(pref, row, stands({'choice': 'second'}), 'kto')] == [True, False]
    assert [r['completion'][0]['content'] for r in made(pref, row, stands({'choice': 'second'}), 'kto')] == ['y', 'x']
    assert [r['label'] for r in made(pref, row, stands({'choice': 'neither'}), 'kto')] == [False, False]
    assert made(pref, row, stands({'choice': 'second'}), 'sft')[0]['messages'][-1]['content'] == 'y'
    assert made(plan | dict(task='classification'), row, stands({'classes': ['c']}),
                'sft')[0]['messages'][-1]['content'] == 'c'
    assert made(plan | dict(task='dialogue'), row, stands({'messages': better, 'rating': 5}),
                'dpo')[0]['chosen'][0]['content'] == 'b'
    from llmops.data.collect import _No
    for task, value, to in (('preference', {'choice': 'tie'}, 'dpo'), ('preference', {'choice': 'tie'}, 'kto'),
                            ('dialogue', {}, 'kto'), ('dialogue', {'rating': 3}, 'kto'), ('dialogue', {}, 'dpo')):
        with pytest.raises(_No): made(pref if task == 'preference' else plan | dict(task=task), row, stands(value), to)


# --- where it is seen ------------------------------------------------------------------------------------------------

def test_a_notebook_and_a_terminal_show_a_queue(lite):
    d = dataset(lite, [chat('<b>q</b>', 'a')], '标注')
    assert lite.label(d) == dict(ref='dataset:标注@1', format='messages', rows=1,
                                 can=['dialogue', 'correction', 'classification'], queues=[],
                                 next='llmops data label dataset:标注@1 --task dialogue --annotators anna,ben')
    q = lite.label(d, 'dialogue', annotators=['<i>'])
    assert isinstance(q, Queue) and lite.label(d)['queues'] == [str(q)]
    got = q._repr_mimebundle_()
    assert {k: got[MIME][k] for k in ('queue', 'task', 'items', 'labelled', 'skipped', 'open', 'finished')} == dict(
        queue=str(q), task='dialogue', items=1, labelled=0, skipped=0, open=1, finished=False)
    assert '<i>' not in got['text/html'] and '&lt;i&gt;' in got['text/html'] and 'llmops lab' in got['text/plain']
    assert lite.labeller(str(q))._repr_mimebundle_() == got == lite.label(q)._repr_mimebundle_()
    assert [x['queue'] for x in lite.labelling()] == [str(q)]


# --- Label Studio ----------------------------------------------------------------------------------------------------

def labelled(ws, task):
    "A queue of a task that two people answered, with a note and a skipped item"
    if task == 'preference': items = [dict(prompt=f'q{i}', a=f'x{i}', b=f'y{i}', model='secret') for i in range(6)]
    elif task == 'classification': items = [dict(text=f'文本 {i}') for i in range(6)]
    else: items = [chat(f'q😀{i}', f'a{i}', shop=i) for i in range(6)]
    more = dict(preference=dict(pair=['a', 'b']), classification=dict(classes=['好', 'bad', '"so" & <so>'], multi=True),
                dialogue=dict(tags=['t1', 't2'], spans=['s']), correction={})[task]
    q = ws.label(dataset(ws, items, task), task, annotators=['anna', 'ben'], overlap=2, **more)
    edited = [dict(role='user', content='q new'), dict(role='assistant', content='b'),
              dict(role='user', content='and?'), dict(role='assistant', content='c')]
    span = lambda i: dict(turn=0, start=1, end=3, label='s', text=f'😀{i-1}')
    value = dict(preference=lambda i, w: {'choice': ('A', 'B', 'tie', 'neither')[(i+(w == 'ben')) % 4],
                                          **({'rating': 2} if i == 4 and w == 'anna' else {})},
                 classification=lambda i, w: {'classes': [['好'], ['bad', '"so" & <so>'], []][i % 3]},
                 correction=lambda i, w: {'text': f'new\n{i} {w}'},
                 dialogue=lambda i, w: {'rating': i % 5+1, 'tags': ['t2'], 'spans': [span(i)], **(
                     {'messages': edited} if i == 2
                     else {'messages': chat(f'q😀{i-1}', 'better')['messages']} if i == 3 else {})})[task]
    for i in range(1, 6):
        for w in ('anna', 'ben'): ws.label_save(q, i, value(i, w), w, i+.5, note='so' if i == 1 else '')
    ws.label_skip(q, 6, 'anna')
    ws.label_adjudicate(q, 1, {'rating': 5} if task == 'dialogue' else value(2, 'anna'), 'chen')
    return q


def all_answers(ws, q):
    out = {}
    for i in range(1, 7):
        for w in ('anna', 'ben', 'chen'):
            got = ws.label_item(q, i, w)[0]
            if got['state'] != 'open':
                out[i, w] = (got['state'], settle(q.body['labelling'], i, w, got['value']) if got['value'] else None,
                             got['note'], (ws.store.state(f'{q}#{i}', f'done:{w}') or {}).get('seconds'))
        out[i] = (ws.store.state(f'{q}#{i}', 'done') or {}).get('value')
    return out


@pytest.mark.parametrize('task', TASKS)
def test_a_queue_goes_through_label_studio_and_comes_back(lite, task, tmp_path):
    q = labelled(lite, task)
    want = all_answers(lite, q)
    wrote = lite.label_export(q, tmp_path/'p.json')
    project = json.loads((tmp_path/'p.json').read_text())
    assert wrote == dict(file='p.json', config='p.xml', tasks=6, annotations=12)
    if task == 'preference':
        assert 'secret' not in (tmp_path/'p.json').read_text() and {t['data']['left'][0] for t in project} == {'x', 'y'}
    same = lite.label_import(tmp_path/'p.json', queue=str(q)) # All of it is here already
    assert lite.store.events('label.import')[-1].data['taken'] == 0 and all_answers(lite, q) == want
    assert ({k: lite.store.events('label.import')[-1].data[k] for k in ('same', 'other', 'unread')}
            == dict(same=12, other=0, unread={}))
    fresh = lite.label(q.body['labelling']['source'], task, annotators=['anna', 'ben'], overlap=2, out='fresh',
                       **{k: q.body['labelling'][k]
                          for k in ('pair', 'classes', 'multi', 'tags', 'spans') if q.body['labelling'][k]})
    for t in project: t['data']['queue'] = str(fresh)
    (tmp_path/'f.json').write_text(json.dumps(project))
    (tmp_path/'f.xml').write_text((tmp_path/'p.xml').read_text())
    lite.label_import(tmp_path/'f.json', queue=str(fresh))
    assert all_answers(lite, fresh) == want
    new = lite.label_import(tmp_path/'p.json', out='new') # As a project of its own
    assert ledger(lite.store, new).count() == ledger(lite.store, q).count() | dict(labelled=5, skipped=1, open=0)
    if task != 'preference':
        assert all_answers(lite, new) == want
        assert list(rows(lite.store, new, origin=False)) == list(rows(lite.store, q, origin=False))
    else:
        for i in range(1, 6):
            for w in ('anna', 'ben'):
                a, b = lite.label_item(q, i, w)[0], lite.label_item(new, i, w)[0]
                said = [next((s['messages'][0]['content'] for s in z['content']['sides']
                              if s['side'] == z['value']['choice']), z['value']['choice']) for z in (a, b)]
                assert said[0] == said[1]
    assert same.body == q.body


def test_a_foreign_project_comes_in_and_what_has_no_place_is_named(lite, tmp_path):
    config = '''<View><!-- theirs --><Text name="t" value="$body"/>
      <Labels name="ner" toName="t"><Label value="PER"/><Label value="LOC"/></Labels>
      <Choices name="mood" toName="t"><Choice value="good"/><Choice value="bad"/></Choices>
      <Rating name="stars" toName="t" maxRating="4"/><RectangleLabels name="box" toName="t"/></View>'''
    r = lambda name, type_, **v: dict(id=name, from_name=name, to_name='t', type=type_, value=v)
    tasks = [dict(id=9, data=dict(body='😀 Ann in Rome', source='web'), predictions=[dict(result=[])],
                  drafts=[dict(result=[])], annotations=[
                      dict(completed_by=7, lead_time=2.25, updated_at='2025-01-02T03:04:05Z',
                           result=[r('ner', 'labels', start=3, end=6, text='Ann', labels=['PER']),
                                   r('mood', 'choices', choices=['good']), r('stars', 'rating', rating=3),
                                   r('box', 'rectanglelabels', x=1),
                                   r('ner', 'labels', start=3, end=99, text='no', labels=['LOC'])]),
                      dict(completed_by=dict(id=8, email='b@x.org'), was_cancelled=True, result=[])]),
        dict(id=10, data=dict(body='Bob', source='mail'), annotations=[])]
    (tmp_path/'their project.json').write_text(json.dumps(tasks))
    (tmp_path/'c.xml').write_text(config)
    q = lite.label_import(tmp_path/'their project.json', config=str(tmp_path/'c.xml'))
    assert ({k: q.body['labelling'][k] for k in ('task', 'tags', 'spans', 'scale', 'items')}
            == dict(task='dialogue', tags=['good', 'bad'], spans=['PER', 'LOC'], scale=4, items=2))
    assert lite.label_item(q, 1, '7')[0]['value'] == dict(rating=3, tags=['good'],
                                                          spans=[dict(turn=0, start=2, end=5, label='PER', text='Ann')])
    assert lite.label_item(q, 1, 'b@x.org')[0]['state'] == 'skipped'
    assert lite.store.state(f'{q}#1', 'done:7')['seconds'] == 2.25
    assert lite.store.events('label.import')[-1].data['unread'] == {
        'predictions (kept in the file)': 1, 'drafts (kept in the file)': 1, 'rectanglelabels box': 1, 'labels ner': 1}
    assert [x['source'] for x in rows(lite.store, q)] == ['web', 'mail']
    assert json.loads(lite.store.blobs.get(q.body['original']['blob'])) == tasks and not lite.store.verify()
    # The template for analysing dialogues
    r2 = lambda name, type_, **v: dict(from_name=name, to_name='dialog', type=type_, value=v)
    (tmp_path/'d.xml').write_text('<View><HyperText name="dialog" value="$dialogs"/><Choices name="c" '
                                  'toName="dialog"><Choice value="Bad"/><Choice value="Good"/></Choices><TextArea '
                                  'name="answer"/></View>')
    (tmp_path/'d.json').write_text(json.dumps([dict(id=1, data=dict(dialogs='hi?'), annotations=[dict(
        completed_by=1, result=[r2('c', 'choices', choices=['Bad']), r2('answer', 'textarea', text=['hello'])])])]))
    v = lite.collect(lite.label_import(tmp_path/'d.json'))
    assert ([(x['messages'], x['labels']['tags']) for x in rows(lite.store, v)]
            == [(chat('hi?', 'hello')['messages'], ['Bad'])])
    (tmp_path/'i.xml').write_text('<View><Image name="i" value="$image"/><Choices name="c" toName="i"><Choice '
                                  'value="Cat"/><Choice value="Dog"/></Choices></View>')
    (tmp_path/'i.json').write_text(json.dumps([dict(id=1, data=dict(image='https://x.org/i.png'), annotations=[])]))
    with pytest.raises(Invalid, match='task 1: no text or conversation is shown'): lite.label_import(tmp_path/'i.json')
    plain = [dict(id=1, data=dict(text='x'), annotations=[
        dict(completed_by=1, result=[dict(from_name='c', to_name='t', type='choices', value=dict(choices=['spam']))])]),
             dict(id=2, data=dict(text='y'),
                  annotations=[dict(completed_by=2, result=[dict(from_name='c', to_name='t', type='choices',
                                                                 value=dict(choices=['ham']))])])]
    (tmp_path/'plain.json').write_text(json.dumps(plain))
    v = lite.collect(lite.label_import(tmp_path/'plain.json')) # Without a configuration
    assert ([(x['text'], x['label'], x['labels']['by'], x['_file'], x['_line']) for x in rows(lite.store, v)]
            == [('x', 'spam', ['1'], 'plain.json', 1), ('y', 'ham', ['2'], 'plain.json', 2)])


@pytest.mark.parametrize('text, what',
                         [('[', 'is not JSON'), ('[]', 'holds no tasks'), ('[1]', 'task 1 has no data'),
                          ('[{"data": {"n": 1}, "annotations": [{"result": [{"type": "choices", "from_name": "c", '
                           '"value": {"choices": ["a"]}}]}]}]', 'no text or conversation'),
                          ('[{"data": {"text": "x"}}]', 'no task here has a place'),
                          ('[{"data": {"text": "x"}, "annotations": [{"result": [{"type": "brush", "from_name": "b", '
                           '"value": {}}]}]}]', 'asks for brush')])
def test_a_broken_project_is_refused_in_a_sentence(lite, tmp_path, text, what):
    (tmp_path/'p.json').write_text(text)
    with pytest.raises(Invalid, match=what): lite.label_import(tmp_path/'p.json')
    assert not lite.labelling()


# --- feedback --------------------------------------------------------------------------------------------------------

def otlp(spans):
    return dict(resourceSpans=[dict(resource=dict(attributes=[]), scopeSpans=[dict(scope={}, spans=spans)])])


def span(n, question, answer, events=(), **attributes):
    text = lambda k, v: dict(key=k, value=dict(stringValue=v) if isinstance(v, str)
                             else dict(doubleValue=v) if isinstance(v, float) else dict(intValue=str(v)))
    at = str((1763820000+n)*10**9)
    said = {'llm.input_messages.0.message.role': 'user', 'llm.input_messages.0.message.content': question,
            'llm.output_messages.0.message.role': 'assistant', 'llm.output_messages.0.message.content': answer}
    return dict(traceId=f'{n:032x}', spanId=f'{n:016x}', name='chat', startTimeUnixNano=at, endTimeUnixNano=at,
                attributes=[text(k, v) for k, v in (said | attributes).items()],
                events=[dict(name='gen_ai.evaluation.result', timeUnixNano=at,
                             attributes=[text(f'gen_ai.evaluation.{k}', v) for k, v in e.items()]) for e in events])


def test_feedback_is_chosen_by_name_person_score_time_and_release_and_counts_add_up(lite, tmp_path):
    judge = lambda name, **kw: {'name': name, **{f'score.{k}' if k != 'explanation' else k: v for k, v in kw.items()}}
    spans = [span(1, 'q1', 'a1', [judge('thumb', value=1.), judge('topic', label='Billing')],
                  **{'llmops.release': 'release:shop@1'}),
             span(2, 'q2', 'a2', [judge('thumb', value=0., explanation='no')], **{'llmops.release': 'release:shop@2'}),
             span(3, 'q3', 'a3', **{'user.rating': 2}), span(4, '', ''),
             span(5, 'q5', 'x'*16384, [judge('thumb', value=0.)]), span(2, 'q2', 'a2', [judge('thumb', value=0.)])]
    f = tmp_path/'s.jsonl'
    f.write_text(''.join(json.dumps(otlp([s]))+'\n' for s in spans))
    def got(**how):
        v = lite.feedback(str(f), **how)
        c = v.body['counts']
        assert c['rows'] == v.body['rows']
        assert (c['read'] == c['rows']+sum(c['left'].values())
                == len(lite.rated(str(f), **{k: how[k] for k in ('about', 'since', 'until') if k in how})))
        return [r['_span'][-1] for r in rows(lite.store, v)]
    assert got() == ['1', '2', '3'] and got(all=True) == ['1', '2', '3']
    assert got(name='thumb') == ['1', '2'] and got(name='thumb', most=.5) == ['2'] and got(least=1.) == ['1', '3']
    assert got(label='billing') == ['1']
    assert got(annotator='human') == ['3'] and got(annotator='CODE') == ['1', '2']
    assert got(about='release:shop') == ['1', '2'] and got(about='release:shop@2') == ['2']
    assert got(since='2025-11-22T14:00:02Z') == ['2', '3'] and got(until='2025-11-22T14:00:01Z') == ['1']
    lite.rate(f'{4:016x}', label='bad')
    lite.rate(f'{3:016x}', 5, name='stars', about='release:shop@1')
    assert got(name='stars') == ['3']
    assert [e.data['score'] for e in lite.store.events('feedback', 'release:shop@1')] == [5.]
    with pytest.raises(Invalid, match='the answer is empty'): got(label='bad')
    assert (lite.feedback(str(f), name='thumb').body['counts']['left']
            == {'no annotation that fits': 2, 'a text was cut off by the tracer at 16384 characters': 1,
                'the same span again': 1})


@pytest.mark.parametrize('text, what', [
    ('', 'there are no spans'), ('{}', 'neither resourceSpans nor'), ('[]', 'neither resourceSpans nor'),
    ('{"resourceSpans": [{"scopeSpans": [{"spans": [{"attributes": [{"key": "a", "value": {"intValue": "x"}}]}]}]}]}',
     'not OTLP as its specification'), ('{"resourceSpans": []}\n{"resourceSpans": [1', 'line 2'),
    ('{"resourceSpans": [{"scopeSpans": 5}]}', 'not OTLP as'), ('\x00', 'JSON')])
def test_a_broken_file_of_traces_is_refused_in_a_sentence(lite, tmp_path, text, what):
    (tmp_path/'s.json').write_text(text)
    with pytest.raises(Invalid, match=what): lite.feedback(str(tmp_path/'s.json'))
    with pytest.raises(Invalid, match='cannot be read'): lite.feedback(str(tmp_path/'none.json'))


def test_labels_go_to_a_file_and_to_the_release_once(lite, tmp_path):
    (tmp_path/'s.json').write_text(json.dumps(
        otlp([span(i, f'q{i}', f'a{i}', **{'user.rating': 1, 'llmops.release': 'release:shop@1'}) for i in (1, 2)])))
    d = lite.feedback(str(tmp_path/'s.json'))
    q = lite.label(d, 'correction', annotators=['anna'])
    with pytest.raises(Invalid, match='Nobody has answered'): lite.label_send(q, 'store')
    lite.label_save(q, 1, {'text': 'better'}, 'anna', note='why')
    assert lite.label_send(q, str(tmp_path/'back.json')) == dict(queue=str(q), to='file', sent=1, again=0, without=0)
    log = json.loads((tmp_path/'back.json').read_text())['resourceLogs'][0]['scopeLogs'][0]['logRecords'][0]
    assert (log['eventName'], log['traceId'], log['spanId']) == ('gen_ai.evaluation.result', f'{1:032x}', f'{1:016x}')
    with pytest.raises(Invalid, match='is there already'): lite.label_send(q, str(tmp_path/'back.json'))
    again = lite.feedback(str(tmp_path/'s.json'), judgements=str(tmp_path/'back.json'), annotator=f'{q}:anna')
    assert ([(r['_span'], r['feedback']) for r in rows(lite.store, again)]
            == [(f'{1:016x}', [dict(name='label', kind='HUMAN', label='reviewed', explanation='better',
                                    identifier=f'{q}:anna', at=r['feedback'][0]['at'])])
                for r in rows(lite.store, again)])
    assert [lite.label_send(q, 'store')['sent'] for _ in range(2)] == [1, 0]
    lite.label_save(q, 1, {'text': 'best'}, 'anna', revision=1)
    assert lite.label_send(q, 'store')['sent'] == 1
    assert [r['feedback'][0]['explanation']
            for r in rows(lite.store, lite.feedback(str(tmp_path/'s.json'), name='label'))] == ['best']
    assert [e.data['to'] for e in lite.store.events('label.sent', 'release:shop@1')] == ['file', 'store', 'store']
    plain = lite.label(dataset(lite, [chat('q', 'a')]), 'correction', annotators=['anna'])
    lite.label_save(plain, 1, {'text': 'b'}, 'anna')
    with pytest.raises(Invalid, match='is about a span'): lite.label_send(plain, 'store')


def test_what_was_collected_before_is_not_taken_for_what_is_true_now(lite):
    q = lite.label(dataset(lite, [chat(f'q{i}', f'a{i}') for i in range(2)]), 'dialogue')
    lite.label_save(q, 1, {'rating': 5}, 'anna')
    assert lite.call('collect', dict(queue=q), reuse=True).body['rows'] == 1
    lite.label_save(q, 2, {'rating': 5}, 'anna')
    assert lite.call('collect', dict(queue=q), reuse=True).body['rows'] == 2


def test_items_with_some_of_their_answers_count_when_asked_or_when_the_queue_is_finished(lite):
    q = lite.label(dataset(lite, [chat('q', 'a'), chat('p', 'b')]), 'dialogue', annotators=['anna', 'ben'], overlap=2)
    lite.label_save(q, 1, {'rating': 5}, 'anna')
    with pytest.raises(Invalid, match='1 have some. Take those too: llmops data collect'): lite.collect(q)
    assert lite.collect(q, partial=True).body['rows'] == 1
    lite.label_finish(q)
    v = lite.collect(q)
    assert v.body['rows'] == 1 and v.body['counts'] == dict(read=2, used=1, rows=1, left={'open': 1})


def test_the_command_line_says_what_there_is_and_what_comes_next(tmp_path):
    (tmp_path/'c.jsonl').write_text(json.dumps(chat('q', 'a'))+'\n')
    code = """
import sys
from llmops.faces.cli import main
for a in (['init', '.'], ['data', 'import', 'c.jsonl', '--out', 'c'], ['data', 'label', 'dataset:c'],
          ['data', 'label', 'dataset:c', '--task', 'dialogue', '--annotators', 'anna,ben', '--overlap', '2',
           '--out', 'dataset:Q'],
          ['data', 'label', 'dataset:Q', '--json'],
          ['data', 'label-save', 'dataset:Q', '1', '--value', '{"rating": 4}', '--annotator', 'anna', '--json'],
          ['data', 'label', 'dataset:Q'], ['data', 'collect', 'dataset:Q', '--partial', '--json'],
          ['data', 'label-disagreements', 'dataset:Q'], ['data', 'label-agreement', 'dataset:Q'],
          ['data', 'label-save', 'dataset:Q', '1', '--value', '{"rating": 2}', '--annotator', 'ben', '--json'],
          ['data', 'label-disagreements', 'dataset:Q'], ['data', 'collect', 'dataset:Q'], ['data', 'pii', 'dataset:c']):
    print('>', *a)
    main(a)
"""
    import os
    r = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True,
                       env={k: v for k, v in os.environ.items() if not k.startswith('LLMOPS_')})
    said = [x.split('\n', 1)[1] for x in r.stdout.split('> ')[1:]]
    assert r.returncode == 0, r.stderr
    assert 'People can do: dialogue, correction, classification' in said[2]
    assert 'Make a queue:  llmops data label dataset:c@1 --task dialogue' in said[2]
    assert said[3] == said[6].replace('anna: 1 of 1', 'anna: 0 of 1') == (
        'dataset:Q@1: dialogue, 1 items = 0 labelled + 0 skipped + 1 open\n'
        'anna: 0 of 1; ben: 0 of 1\n'
        'Answer in Lab:  llmops lab  (tab Label); or show it in a notebook:  ws.labeller("dataset:Q@1")\n')
    assert ({k: json.loads(said[4])[0][k] for k in ('ref', 'queue', 'task', 'items', 'open', 'finished')}
            == dict(ref='dataset:Q@1', queue='dataset:Q@1', task='dialogue', items=1, open=1, finished=False))
    assert json.loads(said[5])[0]['saved'] == dict(item=1, revision=1, state='done')
    assert json.loads(said[7])[0]['name'] == 'Q-sft'
    # Not "nothing yet"
    assert said[8:10] == ['Nobody disagrees about an item so far\n', 'No item has the answers of two people yet\n']
    assert [x.split() for x in said[11].splitlines()] == [['item', 'text', 'said'],
                                                          ['1', 'q', 'rating', '4,', 'rating', '2']]
    assert said[12:] == ['dataset:Q-sft@2: 1 rows for sft from 1 of 1 items of dataset:Q@1\n',
                         'No personal data was found\n']


def test_a_row_that_cannot_be_shown_is_left_out_and_named_not_given_to_a_person(lite):
    d = dataset(lite, [dict(q='a', x='1', y='2'), dict(q='b', x='1'), dict(q='c', x='', y='2'),
                       dict(q='d', x='3', y='4')], 'pairs')
    q = lite.label(d, 'preference', pair=['x', 'y'], column='q')
    assert q.body['counts'] == dict(read=4, removed=2, rows=2) and q.body['labelling']['items'] == 2
    removed = json.loads('['+','.join(lite.store.blobs.get(
        next(f['blob'] for f in q.body['files'] if f['path'] == 'removed.jsonl')).decode().split('\n')[:-1])+']')
    assert removed == [dict(step='label', why='the row has no y', row=2, line=2),
                       dict(step='label', why='the row has no x', row=3, line=3)]
    with pytest.raises(Invalid, match='None of 4 rows can be labelled: the row has no z'):
        lite.label(dataset(lite, [dict(q=c, z=None) for c in 'abcd'], 'none'), 'classification',
                   classes=['a', 'b'], column='z')
    pairs = dataset(lite, [dict(prompt='q', chosen='x', rejected='y')], 'dpo')
    for task in ('dialogue', 'correction'):
        with pytest.raises(Invalid, match='two answers each: choose the better by --task preference'):
            lite.label(pairs, task)
    with pytest.raises(Invalid, match='dialogue needs conversations'):
        lite.label(dataset(lite, [dict(text='x')], 'text'), 'dialogue')


def test_open_items_of_somebody_who_left_go_to_another(ws):
    q = ws.label(dataset(ws, [chat(f'q{i}', f'a{i}') for i in range(8)], folder=ws.files), 'dialogue',
                 annotators=['anna', 'ben', 'chen'], overlap=2)
    left = {p['annotator']: p['total'] for p in ws.label_progress(q)}
    mine = [r['item'] for r in ws.label_mine(q, 'anna')]
    ws.label_save(q, mine[0], {'rating': 3}, 'anna')
    both = [i for i in mine[1:] if i in {r['item'] for r in ws.label_mine(q, 'ben')}]
    # Nobody answers twice
    assert ws.label_hand(q, 'anna', 'ben') == dict(queue=str(q), handed=len(mine)-1-len(both), stayed=len(both))
    assert ws.label_hand(q, 'anna', 'dora') == dict(queue=str(q), handed=len(both), stayed=0)
    assert ({p['annotator']: p['total'] for p in ws.label_progress(q)}
            == left | dict(anna=1, ben=left['ben']+len(mine)-1-len(both), dora=len(both)))
    with pytest.raises(Denied, match='is not for anna'): ws.label_save(q, mine[1], {'rating': 3}, 'anna')
    assert ws.label_hand(q, 'dora', 'anna', most=1)['handed'] == 1 and len(ws.label_mine(q, 'anna')) == 2 # And back
    for who in ('anna', 'ben', 'chen', 'dora'):
        got = ws.label_next(q, who)
        while got and got['item']: got = ws.label_save(q, got['item'], {'rating': 4}, who)['next']
    assert ledger(ws.store, q).count() == dict(items=8, labelled=8, skipped=0, open=0)
    assert all(len(e) == 2 for e in ledger(ws.store, q).people.values())
    before = ws.store.state(q)
    ws.store.rebuild()
    assert ws.store.state(q) == before
    with pytest.raises(Invalid, match='zoe is not one of'): ws.label_hand(q, 'zoe', 'ben')
    free = ws.label(dataset(ws, [chat('q', 'a')], 'free', ws.files), 'dialogue')
    with pytest.raises(Invalid, match='names nobody'): ws.label_hand(free, 'anna', 'ben')


def test_the_page_of_a_queue_has_one_line_for_a_row_of_answers(lite):
    from llmops.faces.report import render
    q = lite.label(dataset(lite, [dict(text=f'letter {i}') for i in range(30)]), 'classification', classes=['a', 'b'],
                   annotators=['anna'])
    for i in range(1, 31): lite.label_save(q, i, {'classes': ['a']}, 'anna')
    html = render(lite.store, str(q))
    assert html.count('<td class="nowrap">label</td>') == 1 and '×30' in html
