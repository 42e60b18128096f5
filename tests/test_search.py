"A search: its space is checked, each trial is a run, it goes on after kill -9, and the best is proven on data that it did not see."
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from llmops.core import Failed, Invalid

pytest.importorskip('optuna', reason='a search needs optuna: pip install llmops-workbench[train]')
from llmops.training.study import trials_of  # noqa: E402

WORDS = ('cat dog sun tree blue red milk bread rain snow hand foot door wall fish bird ship road lamp book moon '
         'star leaf stone '
         'river house glass paper green white black horse').split()
ASK = ('Please shout {}', 'Write {} in capitals', 'How does one yell {}?', 'Say {} loudly', 'Make {} large',
       'Give me {} in big letters', 'Shouting, {} is', 'Loud form of {}')
SPACE = 'lr=1e-4..1e-2:log method=full,lora'
FIXED = 'max_steps=4 batch=4 eval_steps=1 max_length=64 save_steps=-1'


def talk(w, i):
    return dict(messages=[dict(role='user', content=ASK[i % len(ASK)].format(w)),
                          dict(role='assistant', content=w.upper())])


@pytest.fixture
def tiny(ws, tmp_path):
    "A model and three datasets that share no row"
    from conftest import ROOT

    def put(name, words):
        (tmp_path/f'{name}.jsonl').write_text('\n'.join(json.dumps(talk(w, i)) for i, w in enumerate(words)))
        return ws.load(tmp_path/f'{name}.jsonl', out=name)
    return dict(model=ws.add('model:tiny', str(ROOT/'assets/tiny-qwen')), data=put('shout', WORDS[:16]),
                evaluation=put('valid', WORDS[16:24]), test=put('unseen', WORDS[24:]))


def told(rows): return [(r['number'], r['status'], r['values'], r.get('curve')) for r in rows]


def test_each_trial_is_a_run_and_the_best_is_proven_on_unseen_rows(ws, tiny):
    best, report = ws.search(**tiny, space=SPACE, fixed=FIXED, trials=6, startup=2, seed=1, out='model:shouter',
                             max_new_tokens=6)
    rows, body = trials_of(ws.store, 'shouter'), report.body
    runs = [ws.store.state(f'run:{r["run"]}', 'run') for r in rows]
    search = ws.store.state(f'same:{runs[0]["parent"]}', 'x') or ws.store.state(f'run:{runs[0]["parent"]}', 'run')
    assert search['verb'] == 'search' and {r['parent'] for r in runs} == {search['id']}
    assert {r['verb'] for r in runs} == {'sft'}
    assert [r['status'] for r in runs] == [dict(done='done', pruned='stopped')[r['status']] for r in rows]
    assert len(rows) == 6
    assert 'pruned' in [r['status'] for r in rows], 'nothing was ended early'
    assert all(len(r['curve']) < 4 for r in rows if r['status'] == 'pruned')
    assert all(len(r['curve']) == 4 for r in rows if r['status'] == 'done')
    assert ([(r['args']['lr'], r['args']['method']) for r in runs]
            == [(r['values']['lr'], r['values']['method']) for r in rows])
    top = min((r for r in rows if r['status'] == 'done'), key=lambda r: r['value'])
    assert best.body['files'] == ws.store.get(top['model']).body['files']
    assert body['best'] == top['number'] == best.body['search']['trial']
    assert body['counts'] == dict(done=sum(r['status'] == 'done' for r in rows),
                                  pruned=sum(r['status'] == 'pruned' for r in rows), failed=0)
    assert body['test']['rows'] == len(WORDS[24:]) and body['test']['best'] < body['test']['base']
    assert [g['name'] for g in body['gates']] == ['unseen data', 'lower loss', 'no leak'] and body['passed'] is True
    assert ({k: body['inputs'][k]['digest'] for k in ('data', 'evaluation', 'test')}
            == {k: tiny[k].digest for k in ('data', 'evaluation', 'test')})
    assert set(body['importance']) <= {'lr', 'method'} and abs(sum(body['importance'].values())-1) < .01
    assert [str(v) for v in (best, report)] == search['result']
    assert ws.trials('shouter')[0]['lr'] == rows[0]['values']['lr']
    again = ws.search(**tiny, space=SPACE, fixed=FIXED, trials=6, startup=2, seed=1, out='model:shouter',
                      max_new_tokens=6)
    assert again[0] == best and len(trials_of(ws.store, 'shouter')) == 6  # All was known: nothing is trained again


KILLED = '''
import sys, llmops
ws = llmops.open(sys.argv[1])
ws.search(model='model:tiny', data='dataset:shout', evaluation='dataset:valid', test='dataset:unseen', space=sys.argv[2], fixed=sys.argv[3], trials=3, startup=2, seed=3, out='s', max_new_tokens=4)
'''


def test_a_killed_search_goes_on_where_it_was(ws, tiny, tmp_path):
    "kill -9 in the second trial: the first is not trained again, and all three are what they would have been"
    args = [sys.executable, '-c', KILLED, str(tmp_path/'ws'), SPACE, FIXED]
    p = subprocess.Popen(args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        end = time.monotonic()+240
        while time.monotonic() < end and p.poll() is None:
            rows = trials_of(ws.store, 's')
            if len(rows) == 2 and rows[1]['status'] == 'running': break
            time.sleep(.05)
        assert p.poll() is None and rows[0]['status'] != 'running' and rows[1]['status'] == 'running'
    finally:
        os.killpg(p.pid, signal.SIGKILL)
        p.wait()
    first, lost = rows[0]['run'], rows[1]['run']
    done = subprocess.run(args, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = trials_of(ws.store, 's')
    assert rows[0]['run'] == first and rows[1]['run'] != lost and [r['tries'] for r in rows] == [1, 2, 1]
    assert ws.store.state(f'run:{lost}', 'run')['status'] == 'failed'
    ws.search(**tiny, space=SPACE, fixed=FIXED, trials=3, startup=2, seed=3, out='quiet', max_new_tokens=4)
    assert told(trials_of(ws.store, 'quiet')) == told(rows) and ws.store.verify() == []
    assert told(trials_of(ws.store, 'quiet')) != []
    with pytest.raises(Invalid, match="The study 's' was begun with another seed: 3, not 4"):
        ws.search(**tiny, space=SPACE, fixed=FIXED, trials=3, startup=2, seed=4, out='s')


@pytest.mark.parametrize('how,words', [
    (dict(space='lrr=1,2'), "sft has no field 'lrr'. Did you mean 'lr'"),
    (dict(space='lr=.01'), 'holds nothing to search'), (dict(space='lr=1..3'), 'lr must lie between 0 and 1'),
    (dict(space='rank=0,8'), 'rank must be a whole number from 1'),
    (dict(space='method=full,lroa'), "Did you mean 'lora'"), (dict(space='data=a,b'), "no field 'data'"),
    (dict(space='lr=1e-2..1e-4'), 'The first must be smaller'), (dict(space='evaluation=a,b'), 'same for all trials'),
    (dict(fixed='lr=.1'), 'lr is both searched and fixed'),
    (dict(fixed='rank=1,2'), 'belongs into space'), (dict(verb='merge'), 'does not train'),
    (dict(verb='sftt'), "Did you mean 'sft'"), (dict(trials=0), 'whole numbers from 1'),
    (dict(tuner='optna'), "Did you mean 'optuna'"), (dict(jobs=2), '--tuner ray'),
    (dict(test='dataset:shout'), 'are the same rows'), (dict(evaluation='dataset:unseen'), 'are the same rows')])
def test_what_cannot_be_searched_is_refused_before_anything_runs(ws, tiny, how, words):
    with pytest.raises((Invalid, LookupError), match=words.replace('.', r'\.')):
        ws.search(**tiny | dict(space=SPACE, fixed=FIXED, trials=2, out='s') | how)
    assert [v.name for v in ws.store.find('model')] == ['tiny'] and trials_of(ws.store, 's') == []


@pytest.mark.parametrize('a,b', [('test', 'data'), ('test', 'evaluation'), ('evaluation', 'data')])
def test_rows_that_stand_in_two_datasets_are_refused(ws, tiny, tmp_path, a, b):
    "One row of another dataset, inside a longer one"
    other = [r for r in map(json.loads, (tmp_path/f'{tiny[b].name}.jsonl').read_text().splitlines())][2]
    quoted = dict(messages=[dict(role='user', content=f'Once more, as before: {other["messages"][0]["content"]}'),
                            other['messages'][1]])
    longer = dict(messages=[dict(role='user',
                                 content='Please shout as loudly as you can the words of all the animals on the farm'),
                            dict(role='assistant', content='CATTLE AND SHEEP')])
    (tmp_path/'leaky.jsonl').write_text((tmp_path/f'{tiny[a].name}.jsonl').read_text() + '\n' + json.dumps(quoted)
                                        + '\n' + json.dumps(other) + '\n' + json.dumps(longer))
    with pytest.raises(Invalid, match=rf'rows of .* \({"test" if a == "test" else "evaluation"}\) stand in .* \({b}\)'):
        ws.search(**tiny | {a: ws.load(tmp_path/'leaky.jsonl', out='leaky')}, space=SPACE, fixed=FIXED,
                  trials=1, out='s')


def test_failed_trials_are_counted_and_named(ws, tiny):
    "A trial that diverges, and one whose rank the modules cannot have, are the study's affair, not its end"
    with pytest.raises(Failed, match=r'None of 1 trials came to its end: 1 failed.*Trial 0: '):
        ws.search(**tiny, space='targets=nothing_like_it,none_such', fixed=FIXED+' method=lora', trials=1, out='s')
    best, report = ws.search(**tiny, space='targets=all-linear,none_such', fixed=FIXED+' method=lora', trials=4,
                             startup=9, seed=2, out='t', max_new_tokens=4)
    bad = [r for r in report.body['trials'] if r['status'] == 'failed']
    assert report.body['counts']['failed'] == len(bad) > 0
    assert all(r['values'] == dict(targets='none_such') and 'none_such' in r['error'] for r in bad)
    assert {ws.store.state(f'run:{r["run"]}', 'run')['status'] for r in bad} == {'failed'}


def test_data_that_is_not_given_is_split_off(ws, data):
    "Real rows: three parts that share none"
    from conftest import ROOT
    ws.add('model:tiny', str(ROOT/'assets/tiny-qwen'))
    ws.load(data/'llamafactory'/'identity.json', out='identity')
    best, report = ws.search('model:tiny', 'dataset:identity', space='lr=1e-3,5e-3',
                             fixed='max_steps=3 batch=4 eval_steps=1 max_length=96 save_steps=-1', trials=2, out='me',
                             rows=4, max_new_tokens=4)
    sets = {k: ws.store.get(report.body['inputs'][k]['ref']) for k in ('data', 'evaluation', 'test')}
    assert [v.name for v in sets.values()] == ['me-train', 'me-valid', 'me-test']
    assert sum(v.body['rows'] for v in sets.values()) > 60
    assert report.body['counts']['done'] + report.body['counts']['pruned'] == 2 and report.body['gates'][0]['passed']


def test_a_score_can_be_what_is_compared(ws, tiny):
    best, report = ws.search(**tiny, space='lr=1e-5,5e-3', fixed=FIXED, trials=2, metric='score', pruner='none',
                             out='s', scorer='exact', max_new_tokens=6)
    rows = report.body['trials']
    assert [r['status'] for r in rows] == ['done']*2 and all(0 <= r['value'] <= 1 for r in rows)
    assert report.body['best'] == max(rows, key=lambda r: (r['value'], -r['number']))['number']
    assert report.body['metric'] == 'score'


def test_the_template_runs_on_real_rows_and_its_page_draws_every_trial(ws, data):
    from conftest import ROOT

    from llmops.faces.notebook import run_template
    from llmops.faces.report import render
    ws.load(data/'llamafactory'/'identity.json', out='identity')
    out = run_template(
        ws, 'search', dict(source=str(ROOT/'assets/tiny-qwen'), data='dataset:identity', name='me',
                           space='lr=1e-3,5e-3 rank=4..8:4', trials=3, startup=2, rows=4, max_new_tokens=4,
                           fixed='max_steps=3 batch=4 eval_steps=1 max_length=96 save_steps=-1 method=lora'), wait=True)
    assert out['status'] == 'done', out
    body = ws.store.get('report:me-search').body
    assert len(body['trials']) == 3 and ws.store.get('model:me').body['search']['trial'] == body['best']
    assert set(body['space']) == {'lr', 'rank'}
    page = render(ws.store, 'report:me-search')
    assert page.count('class="trial ') == 3 and '全部试验' in page
    assert 'http' not in page.replace('http-equiv', '').replace('http://www.w3.org', '')
