"""Evaluation, proof, re-run and report: figures against scipy, faults, a served model, and what a browser sees."""
import json
import random
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from llmops.core import Invalid
from llmops.evaluation import stats
from llmops.evaluation.ask import parts
from llmops.evaluation.evaluate import answers_of
from llmops.faces.report import render

CHROMIUM = Path('/usr/bin/chromium')
HOSTILE = ['</pre><script>alert(1)</script>', '"><img src=http://127.0.0.1:9/x onerror=alert(1)>',
           "{{ 7*7 }} {% for x in y %}",
           '<style>*{display:none}</style>', '</style></title><a href="javascript:alert(1)">x</a>', '\u202e&lt;b&gt;']


# --- figures ---------------------------------------------------------------------------------------------------------

def test_wilson_and_mcnemar_equal_scipy():
    from scipy.stats import binomtest
    r = random.Random(0)
    for _ in range(60):
        n = r.choice((1, 7, 40, 900))
        k = r.randint(0, n)
        ci = binomtest(k, n).proportion_ci(.95, method='wilson')
        assert stats.wilson(k, n) == pytest.approx((ci.low, ci.high), abs=1e-12)
        assert stats.mcnemar(k, n-k) == pytest.approx(binomtest(k, n).pvalue, rel=1e-9)
    assert stats.mcnemar(1400, 1600) == pytest.approx(binomtest(1400, 3000).pvalue, rel=1e-8)


def test_paired_interval_keeps_its_promise():
    "Of 600 drawn samples, the 95 % interval holds the true difference in about 95 %, and never leaves [-1, 1]"
    r, hits = random.Random(1), 0
    for _ in range(600):
        cells = [0]*4
        for _ in range(80): cells[r.choices(range(4), (.3, .35, .1, .25))[0]] += 1
        low, high = stats.newcombe(*cells)
        hits += low <= .25 <= high
        assert -1 <= low <= high <= 1
        assert stats.newcombe(cells[0], cells[2], cells[1], cells[3]) == pytest.approx((-high, -low))
    assert .93 <= hits/600 <= .98


def test_sign_flip_equals_scipys_permutation_test():
    import numpy as np
    from scipy.stats import permutation_test
    r = random.Random(2)
    d = [r.gauss(.06, .2) for _ in range(40)]
    want = permutation_test((np.array(d),), lambda x, axis: x.mean(axis=axis), permutation_type='samples',
                            n_resamples=20_000, vectorized=True).pvalue
    assert stats.resampled(d, draws=20_000)[1] == pytest.approx(want, abs=.015)


# --- a small world ---------------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    "Two models of random weights that answer differently, and what the first says to twelve questions"
    from llmops.engines.transformers_llm import TransformersLLM, scratch_model
    at = tmp_path_factory.mktemp('models')
    asked = [f'{q} {i}' for i, q in enumerate(HOSTILE*2)]
    good, other = scratch_model(at/'good', 1), scratch_model(at/'other', 2)
    said = [a['text']
            for a in TransformersLLM().answer(good, [[dict(role='user', content=q)] for q in asked], max_tokens=6)]
    return good, other, asked, said


def keep_rows(ws, name, pairs, **more):
    rows = [dict(messages=[dict(role='user', content=q), dict(role='assistant', content=a)]) for q, a in pairs]
    return ws.store.put('dataset', name, dict(format='messages', rows=len(rows), **more, files=[
        dict(path='rows.jsonl', **ws.store.blobs.put_bytes('\n'.join(map(json.dumps, rows)).encode()))]))


def keep_model(ws, name, folder, **more):
    from llmops.modelfolder import describe
    return ws.store.put('model', name,
                        dict(describe(folder), files=ws.store.blobs.put_folder(folder), adapter=False, **more))


@pytest.fixture
def world(ws, folders):
    "A workspace with both models, a held-out set that the first model gets right but for two rows, and new phrasings"
    good, other, asked, said = folders
    keep_model(ws, 'good', good)
    keep_model(ws, 'other', other)
    keep_rows(ws, 'test', list(zip(asked, [HOSTILE[0], HOSTILE[1]] + said[2:])), role='held-out')
    keep_rows(ws, 'phrasings', [(q.upper(), 'x') for q in asked[:4]], role='new phrasings')
    return ws


def evaluate(ws, **more):
    return ws.evaluate(**{'model': 'good', 'baseline': 'other', 'data': 'test,phrasings', 'max_new_tokens': 6,
                          'scorer': 'exact', **more})


def prove(ws):
    "A proof of model:good from an evaluation and a parity report that names it"
    e, m = evaluate(ws), ws.store.get('model:good')
    at = dict(as_written='model:good', ref=str(m), digest=m.digest)
    p = ws.store.put('report', 'good-parity', dict(type='parity', title='good', subject=parts(ws.store, m), passed=True,
                                                   inputs=dict(model=at, merged=at),
                                                   engine=dict(name='transformers', versions={}), settings={},
                                                   gates=[dict(name='merged = served', passed=True, why='6 of 6')],
                                                   results=[dict(forms='merged = served', n=6, same=6)]))
    return ws.prove(model='good', evaluation=e, parity=p)


def test_a_proof_holds_all_that_a_second_look_needs(world):
    proof = prove(world)
    held, new = proof.body['results']
    assert (held['role'], held['wins'], held['losses'], held['n']) == ('held-out', 10, 0, 12)
    assert (new['role'], new['model']) == ('new phrasings', 0)
    assert proof.body['passed'] and held['ci'][0] > .4
    assert {'model', 'evaluation', 'parity', 'evaluation.model', 'evaluation.baseline', 'evaluation.data.0',
            'evaluation.data.1'} == set(proof.body['inputs'])
    assert all(world.store.get(i['ref']).digest == i['digest'] for i in proof.body['inputs'].values())
    m = world.store.get('model:good')
    assert proof.body['subject'] == dict(model=dict(ref=str(m), digest=m.digest), adapter=None,
                                         chat_template=m.body['chat_template'], tokenizer=m.body['tokenizer'])
    assert len(answers_of(world.store, proof)) == 16
    assert prove(world) == proof, 'the same evaluation again is the same version'


# --- run again -------------------------------------------------------------------------------------------------------

def test_reproduced_and_an_override_is_not_comparable(world):
    proof = prove(world)
    again = world.rerun(report=proof)
    assert (again['outcome'], again['rows'], again['differs']) == ('reproduced', [], [])
    for given, name in ((dict(rows=3), 'rows'), (dict(scorer='contains'), 'scorer'), (dict(model='other'), 'model'),
                        (dict(data='phrasings'), 'data.0')):
        out = world.rerun(report=proof, **given)
        assert out['outcome'] == 'not comparable' and out['differs'][0]['input'] == name, given
    assert ([e.data['outcome'] for e in world.store.events('rerun', about=proof)]
            == ['reproduced'] + ['not comparable']*4)


def test_a_moved_alias_and_a_newer_version_are_named(world):
    world.store.append('alias', 'model:other', alias='base', to=1)
    proof = evaluate(world, baseline='model:other@base')
    keep_model(world, 'other', _files(world, 'good'))
    assert world.rerun(report=proof, first=2)['outcome'] == 'reproduced', 'a newer version does not move an alias'
    world.alias(ref='model:other@2', name='base')
    out = world.rerun(report=proof)
    assert out['outcome'] == 'not comparable' and [d['input'] for d in out['differs']] == ['baseline']
    assert 'model:other@base meant model:other@1' in out['why'] and 'model:other@2' in out['why']
    assert world.rerun(report=proof, pinned=True, first=2)['outcome'] == 'reproduced'


def _files(ws, name):
    from llmops.verbs import files
    return files(ws.store, ws.store.get(f'model:{name}'))


def test_a_damaged_blob_a_lost_blob_and_another_library_are_named(world):
    proof = evaluate(world)
    old = world.store.put('report', 'old',
                          {**proof.body, 'engine': {**proof.body['engine'],
                                                    'versions': proof.body['engine']['versions'] | {'torch': '1.0'}}})
    out = world.rerun(report=old)
    assert out['outcome'] == 'not comparable' and [(d['input'], d['was']) for d in out['differs']] == [('torch', '1.0')]
    path = Path(world.store.blobs._path(world.store.get('dataset:test').body['files'][0]['blob']))
    good = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(bytes([good[0] ^ 1]) + good[1:])
    out = world.rerun(report=proof)
    assert out['outcome'] == 'not comparable' and out['differs'][0]['input'] == 'data.0' and 'damaged' in out['why']
    path.unlink()
    assert 'is not in this store' in world.rerun(report=proof)['why']
    path.write_bytes(good)
    assert world.rerun(report=proof, first=1)['outcome'] == 'reproduced'


def test_a_served_model_that_answers_otherwise_has_drifted(world, folders, tmp_path):
    "A real server process: first the model of the report, then another under the same name"
    from llmops.ports import engine
    good, other, asked, said = folders
    proof, server = prove(world), engine('server', 'transformers')
    release = world.store.put('release', 'good', dict(report=dict(ref=str(proof), digest=proof.digest)))
    deployment = world.store.put('deployment', 'good', dict(release=dict(ref=str(release), digest=release.digest)))
    for folder, outcome in ((good, 'reproduced'), (other, 'drifted')):
        where = server.start(folder, 'good', 0, tmp_path/'log', dict(threads=1))
        try:
            world.store.append('deploy', deployment, release=str(release), where=where, proof='proven', host='here')
            out = world.rerun(report=proof)
        finally: server.stop(where)
        assert out['outcome'] == outcome, out['why']
    assert {r['who'] for r in out['rows']} == {'deployment:good'} and out['count'] == 16
    assert out['rows'][2]['was'] == said[2] != out['rows'][2]['now']
    assert out['rows'][2]['prompt'] == [dict(role='user', content=asked[2])]
    html = render(world.store, proof)
    assert 'drifted' in html and '16 of 16 rows have other answers (deployment:good)' in html


def test_other_reports_are_refused(world):
    proof = prove(world)
    with pytest.raises(Invalid, match='only evaluations and proofs'): world.rerun(report='report:good-parity')
    with pytest.raises(Invalid, match='not model:other@1'):
        world.prove(model='other', evaluation='report:good-evaluation', parity='report:good-parity')
    with pytest.raises(Invalid, match="is of type 'proof', not evaluation"):
        world.prove(model='good', evaluation=proof, parity='report:good-parity')


# --- public rows -----------------------------------------------------------------------------------------------------

def test_alpaca_and_gsm8k_rows_are_scored_honestly(world, data):
    world.load(path=data/'gsm8k'/'test.jsonl', out='gsm', rows=3)
    world.load(path=data/'llamafactory'/'alpaca_en_demo.json', out='alpaca', rows=3)
    maths, text = (world.evaluate(model='good', baseline='other', data=d, max_new_tokens=4).body
                   for d in ('gsm', 'alpaca'))
    assert [r['scorer'] for b in (maths, text) for r in b['results']] == ['number', 'overlap']
    assert maths['results'][0]['model'] == 0 and not maths['passed'] and text['results'][0]['model'] < .3
    assert not text['passed']
    assert (maths['results'][0]['n'] == text['results'][0]['n'] == 3
            and maths['too_long'] + text['too_long'] > 0), 'rows beyond the context are counted'


# --- the page --------------------------------------------------------------------------------------------------------

class Page(HTMLParser):
    "Collects tags, attributes and text"
    def __init__(self, html):
        super().__init__()
        self.tags, self.attrs, self.words = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attrs += [(tag, k, v or '') for k, v in attrs]

    def handle_data(self, data): self.words.append(data)


def test_hostile_rows_are_text_and_nothing_is_fetched(world):
    proof = prove(world)
    html = render(world.store, proof)
    page = Page(html)
    assert not {'script', 'link', 'iframe', 'img', 'a', 'object', 'base', 'form'} & set(page.tags)
    assert page.tags.count('style') == 1
    assert not [a for a in page.attrs
                if a[1] in ('src', 'href', 'xlink:href', 'srcset', 'action') or a[1].startswith('on')]
    assert not re.findall(r'url\(|@import|expression\(', html.partition('</style>')[0])
    said = ''.join(page.words)
    assert [h for h in HOSTILE[:5] if h not in said] == [], 'what a row says is shown, as text'
    assert "default-src 'none'" in html


def test_the_page_says_what_happened_later(world):
    proof = prove(world)
    release = world.store.put('release', 'good', dict(report=dict(ref=str(proof), digest=proof.digest),
                                                      model=proof.body['subject']['model']))
    before, digest = render(world.store, proof), proof.digest
    world.approve(ref=release, report=proof, note='Good enough for everybody')
    world.store.append('waive', release, reason='Only until Monday', by='ana')
    after = render(world.store, proof)
    assert 'Good enough for everybody' in after and 'Only until Monday' in after and 'Only until Monday' not in before
    assert world.store.get(proof.ref).digest == digest and before.count('dataset:phrasings@1') > 1


def test_a_page_for_every_version_and_for_a_run(world):
    prove(world)
    for kind, name, _ in world.store.names():
        assert f'content="{kind}:{name}@1"' in render(world.store, f'{kind}:{name}')
    run = world.store.get('report:good').made_by
    assert 'prove' in render(world.store, f'run:{run}')


@pytest.mark.skipif(not CHROMIUM.exists(), reason='Chromium is not installed (make test installs it on Debian)')
def test_a_browser_shows_the_page_in_both_languages_without_a_request(world, tmp_path):
    from playwright.sync_api import sync_playwright
    (tmp_path/'report.html').write_text(render(world.store, prove(world)), 'utf-8')
    flags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
             '--disable-component-update', '--disable-sync']
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=str(CHROMIUM), args=flags)
        tab = browser.new_context(color_scheme='dark', viewport=dict(width=1100, height=900)).new_page()
        asked, said = [], []
        tab.on('request', lambda r: asked.append(r.url))
        tab.on('console', lambda m: said.append(m.text))
        tab.on('dialog', lambda d: said.append('dialog'))
        tab.goto(f'file://{tmp_path}/report.html')
        assert 'right on held-out rows' in tab.inner_text('h1') and '留出集' not in tab.inner_text('main')
        dark = tab.evaluate('getComputedStyle(document.body).backgroundColor')
        tab.click('label[for=light]')
        assert tab.evaluate('getComputedStyle(document.body).backgroundColor') != dark
        tab.click('label[for=zh]')
        assert '留出集得分' in tab.inner_text('h1') and 'held-out rows' not in tab.inner_text('h1')
        assert tab.evaluate('document.documentElement.scrollWidth <= innerWidth')
        assert tab.locator('svg').count() >= 3 and tab.locator('script').count() == 0
        browser.close()
    assert asked == [f'file://{tmp_path}/report.html'] and said == []
