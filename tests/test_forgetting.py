"What a model forgot: found without being told where to look, tested together, kept by a mixture, and run again from the report."
import json
import random
import re

import pytest

from llmops.core import Invalid
from llmops.evaluation import stats
from llmops.evaluation.evaluate import answers_of
from llmops.evaluation.forgetting import conclude, matrix
from llmops.faces.report import render

WORDS = 'cat dog sun tree blue red milk bread rain snow hand foot door wall fish bird ship road lamp book'.split()


def keep_rows(ws, tmp_path, name, pairs, **more):
    "Register question and answer pairs as a dataset, by a file"
    (tmp_path/f'{name}.jsonl').write_text('\n'.join(
        json.dumps(dict(messages=[dict(role='user', content=q), dict(role='assistant', content=a)])) for q, a in pairs))
    v = ws.load(tmp_path/f'{name}.jsonl', out=name)
    return ws.store.put('dataset', name, v.body | more, v.made_by) if more else v


# --- figures ---------------------------------------------------------------------------------------------------------

def test_holm_equals_statsmodels():
    multitest = pytest.importorskip('statsmodels.stats.multitest')
    r = random.Random(0)
    for _ in range(200):
        ps = [r.choice((r.random(), r.random()/50, .05, 0., 1.)) for _ in range(r.randint(1, 30))]
        assert stats.holm(ps) == pytest.approx(list(multitest.multipletests(ps, method='holm')[1]), abs=1e-12)


def rows_of(data, n, *shares, r):
    return [dict(data=data, scorer='exact', ok=[float(r.random() < s) for s in shares]) for _ in range(n)]


def test_models_that_are_the_same_are_seldom_said_to_have_forgotten():
    "Of 200 matrices of ten tasks between models of equal skill, at most about 5 % name any cell; a real loss is found"
    r, wrong, found = random.Random(3), 0, 0
    names = [f't{i}' for i in range(10)]
    tasks = [dict(data=t, role='', why='measured', report='', taught=[]) for t in names]
    for _ in range(200):
        m = matrix([x for t in names for x in rows_of(t, 60, .6, .6, r=r)], tasks, ['base', 'tuned'])
        wrong += any(c['verdict'] in ('gained', 'forgotten') for t in m for c in t['after'])
        m = matrix([x for t in names for x in rows_of(t, 60, .9, .3 if t == 't4' else .9, r=r)], tasks,
                   ['base', 'tuned'])
        found += m[4]['after'][0]['verdict'] == 'forgotten'
    assert wrong <= 20 and found >= 195


def test_the_whole_table_is_corrected_at_once():
    "Two models by three tasks are six tests, not twice three"
    r = random.Random(5)
    rows = [x for t in 'abc' for x in rows_of(t, 80, .8, .6, .75, r=r)]
    tasks = [dict(data=t, role='', why='measured', report='', taught=[]) for t in 'abc']
    m = matrix(rows, tasks, ['base', 'one', 'two'])
    cells = [c for t in m for c in t['after']]
    assert [c['p_holm'] for c in cells] == pytest.approx(stats.holm([c['p'] for c in cells]))
    for t in m:
        for i, c in enumerate(t['after'], 1):
            alone = stats.compare([x['ok'][i] for x in rows if x['data'] == t['data']],
                                  [x['ok'][0] for x in rows if x['data'] == t['data']])
            assert (c['p'], c['diff'], c['diff_ci']) == (alone['p'], alone['diff'], alone['ci'])
            assert c['diff_ci_all'][0] < c['diff_ci'][0] and c['diff_ci_all'][1] > c['diff_ci'][1]
    assert conclude(m)['counts'] | {} == {v: sum(c['verdict'] == v for c in cells)
                                          for v in ('gained', 'kept', 'forgotten', 'undecided')}


# --- a small world: the shipped model, and two tasks it can learn in a minute ------------------------------------------

def shout(w): return f'Say the word {w} loudly.', f'{w} is loud'
def twice(w): return f'Say the word {w} two times.', f'{w} {w}'


def words(r, n):
    from llmops.training.skills import word
    return [w for w in dict.fromkeys(word(r) for _ in range(3*n)) if 2 < len(w) < 7][:n]


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    "A base that can say a word two times; from it one model that was taught to shout only, and one that was taught a mixture"
    import llmops
    from conftest import ROOT
    at = tmp_path_factory.mktemp('world')
    ws = llmops.open(at/'ws')
    new = words(random.Random(1), 400)
    for name, pair in (('old', twice), ('new', shout)):
        keep_rows(ws, at, name, [pair(w) for w in new])
        ws.split(f'dataset:{name}', parts=dict(train=.6, test=.4))
    tiny = ws.add('model:tiny', str(ROOT/'assets'/'tiny-qwen'))
    how = dict(max_steps=40, batch=20, seed=1)
    ws.sft(tiny, 'dataset:old-train', out='base', **how)
    ws.evaluate('base', 'dataset:old-test', baseline=tiny)
    ws.sft('base', 'dataset:new-train', out='only', **how)
    ws.mix(['dataset:new-train', 'dataset:old-train'], out='both', temperature=2.)
    ws.sft('base', 'dataset:both', out='mixed', **how)
    return ws, ws.forgetting(['only', 'mixed'], margin=.15)


def verdicts(report):
    return {(t['data'], c['model']): c['verdict'] for t in report.body['tasks'] for c in t['after']}


def test_one_task_alone_takes_the_other_and_a_mixture_keeps_it(world):
    ws, report = world
    old, new, only, mixed = 'dataset:old-test@1', 'dataset:new-test@1', 'model:only@1', 'model:mixed@1'
    assert report.body['columns'] == ['model:base@1', only, mixed]
    said = verdicts(report)
    assert (said[old, only], said[new, only], said[new, mixed]) == ('forgotten', 'gained', 'gained')
    assert said[old, mixed] != 'forgotten'
    gain = {(g['task'], g['model']): g for g in ws.gains(report)}
    assert gain[old, only]['after'] < .2 and gain[old, mixed]['after'] > gain[old, only]['after'] + .4
    assert gain[old, only]['p'] < 1e-6
    assert ([gain[x]['share'] for x in ((old, only), (new, only), (old, mixed), (new, mixed))]
            == pytest.approx([0, 1, .5, .5], abs=.01))
    assert ([(g['name'], g['passed']) for g in report.body['gates']]
            == [('nothing forgotten', False), ('tuned task gained', True)])


def cell(data, model, word, taught=()):
    return dict(data=data, taught=list(taught), before=dict(mean=.5),
                after=[dict(model=model, mean=.5, p_holm=.5, verdict=word)])


@pytest.mark.parametrize('own, other, passed',
                         [('gained', 'kept', True), ('gained', 'undecided', None), ('undecided', 'kept', None),
                          ('kept', 'kept', False), ('gained', 'forgotten', False), ('gained', '', None)])
def test_what_is_undecided_is_neither_passed_nor_failed(own, other, passed, ws):
    from llmops.evaluation.forgetting import conclude
    tasks = [cell('new', 'm', own, ['m']), *([cell('old', 'm', other)] if other else [])]
    said = conclude(tasks)
    assert said['passed'] is passed
    v = ws.store.put('report', 'x', dict(type='forgetting', title='x', columns=['b', 'm'], tasks=[], inputs={},
                                         settings={}, engine={}, **said))
    want = {True: ('pass', '✓ Passed', '✓ 通过'), False: ('fail', '✗ Failed', '✗ 未通过'),
            None: ('none', '? Undecided', '? 未定')}[passed]
    for lang, words in (('en', want[1]), ('zh', want[2])):
        tone, badge = re.search(r'<section class="verdict (\w+)"><div class="badge">(.*?)</div>',
                                render(ws.store, v, lang)).groups()
        assert tone == want[0] and words.split()[0] in badge and words.split()[1] in badge


def test_what_was_measured_is_found_and_not_asked_again(world):
    ws, report = world
    old, new = report.body['tasks']
    assert (old['data'], old['why'], old['report']) == ('dataset:old-test@1', 'measured', 'report:base-evaluation@1')
    assert (new['data'], new['why'], new['taught']) == ('dataset:new-test@1', 'taught',
                                                        ['model:only@1', 'model:mixed@1'])
    assert 'report:base-evaluation@1' in [r['ref']
                                          for r in ws.store.state(f'run:{report.made_by}', 'run')['reads'].values()]
    steps = []
    again = ws.call('forgetting', dict(model=['only', 'mixed'], margin=.15, out='twice'), progress=steps.append)
    assert again.digest == report.digest
    assert [s['message'].partition(': ')[2] for s in steps] == ['all answers are known']*3
    assert ws.call('forgetting', dict(model=['only', 'mixed'], margin=.15, rows=20, fresh=True,
                                      out='few')).body['tasks'][0]['n'] == 20


def test_it_runs_again_from_the_report(world):
    ws, report = world
    out = ws.rerun(report, first=12)
    assert (out['outcome'], out['rows']) == ('reproduced', [])
    rows = answers_of(ws.store, report)
    rows[3]['answers'][1] += '!'
    blob = ws.store.blobs.put_bytes('\n'.join(map(json.dumps, rows)).encode())
    other = ws.store.put('report', 'edited', report.body | dict(answers=dict(report.body['answers'], **blob)))
    out = ws.rerun(other, first=12)
    assert out['outcome'] == 'drifted'
    assert [(d['data'], d['row'], d['who']) for d in out['rows']] == [('dataset:old-test@1', 3, 'model:only@1')]
    out = ws.rerun(report, model='model:tiny')
    assert (out['outcome'], out['differs'][0]['input']) == ('not comparable', 'after.0')


def test_what_cannot_be_asked_is_said(world, tmp_path):
    ws, report = world
    for f, words in ((lambda: ws.forgetting('model:tiny'), 'does not say what it was made from'),
                     (lambda: ws.forgetting(['only', 'only']), 'comes twice'),
                     (lambda: ws.forgetting('only', before='only'), 'compared with itself'),
                     (lambda: ws.forgetting('only', margin=0), 'margin a share'),
                     (lambda: ws.gains('report:base-evaluation'), 'not forgetting')):
        with pytest.raises(Invalid, match=words): f()


# --- pages -----------------------------------------------------------------------------------------------------------

def clean(html):
    return '<script' not in html and not __import__('re').findall(r'(?:src|href)=', html)


def test_the_page_draws_the_matrix_in_both_languages(world):
    ws, report = world
    html = render(ws.store, report)
    assert clean(html) and html.count('class="cell forgotten"') == 1 and html.count('class="cell gained"') == 2
    assert '1 of 4 cells forgotten: 2 tasks, 2 models' in html and '4 个单元中有 1 个被遗忘' in html
    assert '已遗忘：' in html
    assert 'Forgotten: right before, wrong after (model:only@1)' in html and f'llmops rerun {report}' in html


def test_the_page_of_a_model_shows_its_training_stage_by_stage(world):
    ws, _ = world
    html = render(ws.store, 'model:mixed', 'zh')
    assert '提升与遗忘，见 report:' in html and 'llmops forgetting model:base@1' in render(ws.store, 'model:base')
    assert clean(html) and all(f'<section id="{x}">' in html for x in ('training', 'stages', 'recipe', 'environment'))
    stages = html[html.index('<section id="stages">'):html.index('<section id="recipe">')]
    assert stages.index('model:base@1') < stages.index('model:mixed@1') and 'dataset:both@1' in stages
    assert 'max_steps 40' in html and 'torch ' in html and 'template:mixed@1' in html and '学习率' in html


def test_a_training_that_went_on_is_one_curve_and_a_divergence_is_marked(ws):
    from llmops.faces.pages import run_page
    from llmops.verbs import load_all
    load_all()
    def ran(id, status, steps, **more):
        ws.store.append_many([('run.start', f'run:{id}',
                               dict(id=id, verb='sft', status=status, reads={}, writes=[], args={}, by='t', parent='',
                                    started=1., ended=9., host='elsewhere', **more)),
                              *(('step', f'run:{id}', d) for d in steps)])
    ran('a', 'failed', [dict(step=s, total=60, loss=4-s/20, lr=1e-3) for s in (10, 20, 30, 40)])
    ws.store.append('resume', 'run:a', run='b', step=20)
    ran('b', 'failed', [*(dict(step=s, total=60, loss=2-s/40, lr=1e-4) for s in (30, 40, 50)),
                        dict(step=50, samples=[dict(prompt='Say <b>.', text='<img src=x>')])],
        resumes='a', error='The loss is no longer a number at step 57 of 60: the training diverged. '
        'Take a smaller learning rate than 0.001')
    page = run_page(ws.store, 'b')
    loss = next(s for s in page['series'] if s['name'] == 'loss')
    assert loss['points'] == [[10, 3.5], [20, 3.0], [30, 1.25], [40, 1.0], [50, .75]]
    assert page['series'][0]['name'] == 'loss'
    assert page['training']['resumes'] == 'a'
    assert page['training']['samples'] == [dict(step=50, prompt='Say <b>.', text='<img src=x>')]
    assert run_page(ws.store, 'a')['training']['resumed'] == 'b'
    assert not run_page(ws.store, 'a')['training']['can_resume']
    html = render(ws.store, 'run:b')
    assert clean(html.replace('&lt;img src=x&gt;', '')) and 'resumed from step 20' in html
    assert 'The training diverged and was ended' in html and '训练发散' in html
