"Preferences, ratings and running text train a real model: on real files, by seed, with an adapter."
import json

import pytest
from words import LEARN, NEW, pair, put

from llmops.core import Invalid
from llmops.verbs import files


def prefers(ws, v, words):
    "Share of words of which the shouted form is likelier"
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    at = files(ws.store, v)
    net, tok = AutoModelForCausalLM.from_pretrained(at), AutoTokenizer.from_pretrained(at)

    def ids(m, prompt):
        return tok.apply_chat_template(m, add_generation_prompt=prompt, return_dict=True,
                                       return_tensors='pt')['input_ids']

    def score(p, a):
        q, x = ids(p, True), ids(p+a, False)
        with torch.no_grad(): logp = net(x).logits[0, :-1].log_softmax(-1)
        return logp.gather(1, x[0, 1:, None])[q.shape[1]-1:].sum().item()
    return sum(score(r['prompt'], r['chosen']) > score(r['prompt'], r['rejected']) for r in map(pair, words))/len(words)


@pytest.mark.parametrize('how', [dict(seed=1), dict(seed=2), dict(seed=3, method='lora')])
def test_pairs_move_what_is_likelier_on_new_words(ws, tmp_path, base, how):
    model = ws.add('model:tiny', str(base))
    pairs = put(ws, tmp_path, 'shout', [pair(w) for w in LEARN])
    tuned = ws.dpo(model, pairs, max_steps=60, batch=7, **how)
    whole = ws.merge(tuned, out='whole') if tuned.body['adapter'] else tuned
    assert prefers(ws, model, NEW) == 0 and prefers(ws, whole, NEW) >= 5/6
    assert tuned.body['recipe']['stage'] == 'dpo' and tuned.body['data']['digest'] == pairs.digest
    last = [r for r in ws.metrics(f'run:{tuned.made_by}') if 'margin' in r][-1]
    assert last['accuracy'] == 1 and last['margin'] > 1


@pytest.mark.parametrize('seed', [1, 2])
def test_ratings_move_what_is_likelier_on_new_words(ws, tmp_path, base, seed):
    model = ws.add('model:tiny', str(base))
    rated = put(ws, tmp_path, 'rated', [dict(prompt=p['prompt'], completion=p[k], label=k == 'chosen')
                                        for p in map(pair, LEARN) for k in ('chosen', 'rejected')])
    tuned = ws.kto(model, rated, max_steps=60, batch=14, seed=seed)
    assert prefers(ws, model, NEW) == 0 and prefers(ws, tuned, NEW) >= 5/6


def test_running_text_is_learned(ws, data, base):
    "The loss on a held-out part of real text falls"
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    model = ws.add('model:tiny', str(base))
    text = ws.load(data/'llamafactory'/'wiki_demo.txt', out='wiki')
    tuned = ws.pretrain(model, text, max_steps=30, batch=4, max_length=256)
    held = (data/'llamafactory'/'c4_demo.jsonl').read_text().splitlines()[:8]

    def loss(v):
        at = files(ws.store, v)
        net, tok = AutoModelForCausalLM.from_pretrained(at), AutoTokenizer.from_pretrained(at)
        ids = [tok(json.loads(x)['text'], return_tensors='pt')['input_ids'][:, :256] for x in held]
        with torch.no_grad(): return sum(net(x, labels=x).loss.item() for x in ids)/len(ids)
    assert loss(tuned) < loss(model)-.5


@pytest.mark.parametrize('name,verb,rows', [('dpo_en_demo.json', 'dpo', 300), ('kto_en_demo.json', 'kto', 300)])
def test_real_files_train(ws, data, base, name, verb, rows):
    model = ws.add('model:tiny', str(base))
    d = ws.load(data/'llamafactory'/name, out='real')
    assert d.body['rows'] == rows
    tuned = getattr(ws, verb)(model, d, max_steps=3, batch=2, max_length=256, log_every=1)
    counts = tuned.body['recipe']['rows']
    assert counts['used']+counts['left_out'] == rows and counts['used'] > 100
    assert len([r for r in ws.metrics(f'run:{tuned.made_by}') if 'loss' in r]) == 3


def test_what_cannot_work_is_said(ws, tmp_path, base):
    model = ws.add('model:tiny', str(base))
    pairs = put(ws, tmp_path, 'pairs', [pair(w) for w in LEARN[:3]])
    for f, words in ((lambda: ws.kto(model, pairs), '--to unpaired'), (lambda: ws.pretrain(model, pairs), '--to text'),
                     (lambda: ws.dpo(model, pairs, max_length=4), 'have a prompt of 4 tokens or more'),
                     (lambda: ws.dpo(model, pairs, beta=0), 'beta must lie above 0'),
                     (lambda: ws.dpo(model, pairs, loss='x'), 'one of sigmoid')):
        with pytest.raises(Invalid, match=words): f()
    assert [v.name for v in ws.store.find('model')] == ['tiny']


@pytest.mark.parametrize('template,how,makes', [('preference', dict(how='dpo'), 'preferred-dpo'),
                                                ('preference', dict(how='kto'), 'preferred-kto'),
                                                ('pretrain', {}, 'reader-pretrain')])
def test_the_templates_run_on_real_files(ws, data, base, template, how, makes):
    "A dataset of the other paradigm is brought into shape on the way"
    from llmops.faces.notebook import run_template
    ws.load(data/'llamafactory'/'dpo_en_demo.json', out='real', rows=60)
    out = run_template(ws, template, dict(source=str(base), model='model:tiny', data='dataset:real', steps=3, batch=2,
                                          max_length=256, track='', **how), wait=True)
    assert out['status'] == 'done', out
    made = ws.store.get(f'model:{makes}')
    assert made.body['recipe']['max_steps'] == 3 and made.body['base']['ref'] == 'model:tiny@1'
    assert ws.store.get(f'model:{makes.rpartition("-")[0]}').body['adapter'] is False
