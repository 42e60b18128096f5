"""What an evaluation of a classifier or a reward model must say: how often it is right, class by class, how sure that is, and the same again."""
import json

import pytest

pytest.importorskip('trl', reason="training needs the packages of the 'train' extra")

from conftest import ROOT

from llmops.core import Invalid
from llmops.evaluation.evaluate import answers_of
from llmops.faces.report import render

SAYS = ['I see the {}.', 'The {} is here.', 'Look, a {}!', 'Where is the {}?', 'This {} is old.', 'My {} and I.']
KINDS = dict(animal='cat dog bird fish horse cow'.split(), house='door wall lamp bed'.split())


def lines(at, name, rows):
    (at/f'{name}.jsonl').write_text('\n'.join(map(json.dumps, rows)))
    return at/f'{name}.jsonl'


def kinds(forms): return [dict(text=s.format(w), label=k) for s in forms for k, ws in KINDS.items() for w in ws]


def pairs(words):
    return [dict(prompt=[dict(role='user', content=f'Is the {w} nice?')],
                 chosen=[dict(role='assistant', content='Yes, it is very nice.')],
                 rejected=[dict(role='assistant', content='No. Go away.')]) for w in words]


@pytest.fixture
def base(ws): return ws.add('model:tiny', str(ROOT/'assets'/'tiny-qwen'))


def test_a_classifier_is_evaluated_class_by_class_beside_another_and_again(ws, base, tmp_path):
    from sklearn.metrics import f1_score
    data, new = (ws.load(lines(tmp_path, 'train', kinds(SAYS[:4])), out='kinds'),
                 ws.load(lines(tmp_path, 'new', kinds(SAYS[4:])), out='new'))
    good, poor = (ws.classify(base, data, out=n, max_steps=s, batch=20, seed=1) for n, s in (('good', 40), ('poor', 1)))
    v = ws.evaluate(good, [new], baseline=poor)
    r, rows = v.body['results'][0], answers_of(ws.store, v)
    assert (r['n'], r['scorer'], len(rows)) == (20, 'exact', 20) and r['model'] >= .8 > r['baseline']
    assert r['model'] == pytest.approx(ws.score(good, new).body['scores']['accuracy'], abs=1e-3)
    assert r['model_ci'][0] < r['model']
    want, said = ([x[k] for x in rows] for k in ('expected', 'answer'))
    assert [c['name'] for c in r['classes']] == ['animal', 'house'] and [c['n'] for c in r['classes']] == [12, 8]
    assert [c['f1'] for c in r['classes']] == pytest.approx(list(f1_score(want, said, average=None)), abs=1e-4)
    assert r['macro_f1'] == pytest.approx(f1_score(want, said, average='macro'), abs=1e-4)
    assert r['macro_f1_ci'][0] <= r['macro_f1'] <= r['macro_f1_ci'][1]
    html = render(ws.store, v)
    assert 'Class by class, dataset:new@1' in html and '逐类结果' in html and 'mean of the classes' in html
    assert ws.rerun(v)['outcome'] == 'reproduced'
    seen = ws.evaluate(good, [data], out='seen').body
    assert (next(g for g in seen['gates'] if g['name'] == 'no leak')['values']['overlap']
            == 40), 'rows that it learned are a leak'
    with pytest.raises(Invalid, match="judged by texts with their class: dataset:pairs@1 has no column 'text'"):
        ws.evaluate(good, [ws.load(lines(tmp_path, 'p', pairs('abc')), out='pairs')])
    with pytest.raises(Invalid, match='model:tiny@1 is not the kind of judge'): ws.evaluate(good, [new], baseline=base)
    with pytest.raises(Invalid, match='answers nothing in words.*llmops evaluate model:good@1'): ws.forgetting(good)
    with pytest.raises(Invalid, match='judges texts and writes no answers.*llmops train score --model'):
        ws.release(good)


def test_a_reward_model_is_evaluated_by_pairs(ws, base, tmp_path):
    words = [w for k in KINDS.values() for w in k]
    data, new = (ws.load(lines(tmp_path, n, pairs(x)), out=n)
                 for n, x in (('train', words[:7]), ('test', words[7:]+['sun', 'moon', 'boat'])))
    v = ws.evaluate(ws.reward(base, data, out='judge', max_steps=30, batch=7), [new])
    r, rows = v.body['results'][0], answers_of(ws.store, v)
    assert r['n'] == len(rows) == 6 and r['model'] == sum(x['margin'] > 0 for x in rows)/6 >= 5/6 and r['margin'] > 0
    assert {x['expected'] for x in rows} == {'chosen'} and v.body['passed'] in (True, False)
    assert 'Proven' not in render(ws.store, v)


def test_an_adapter_that_judges_says_to_merge_it(ws, base, tmp_path):
    data = ws.load(lines(tmp_path, 'train', kinds(SAYS[:2])), out='kinds')
    tuned = ws.classify(base, data, out='tuned', method='lora', max_steps=1, batch=4)
    with pytest.raises(Invalid, match='is an adapter. Make whole weights of it first with: llmops merge model:tuned@1'):
        ws.evaluate(tuned, [data])
    assert ws.evaluate(ws.merge(tuned, out='whole'), [data]).body['results'][0]['n'] == 20
