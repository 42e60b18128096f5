"""GRPO and RLOO make what is rewarded likelier, on real weights, all weights and an adapter, by three seeds each.

Each threshold stands far from what the untrained model gives, which is measured in the same test. Tasks are small: they
show that a stage moves what it should move, not how good a model it makes."""
import json

import pytest
from words import CAPITALS, LEARN, NEW, WORDS, ask, opened, pair, prompt, put, whole


# --- GRPO and RLOO ---------------------------------------------------------------------------------------------------

def capitals(ws, v, seed=0):
    "Part of capitals in answers to prompts that were not in the training, drawn as in training"
    import torch
    net, tok = opened(ws, v)
    torch.manual_seed(seed)
    tok.padding_side = 'left'
    x = tok.apply_chat_template([ask(w) for w in NEW for _ in range(8)], add_generation_prompt=True, return_dict=True,
                                return_tensors='pt', padding=True)
    out = net.generate(**x, max_new_tokens=8, do_sample=True, top_k=0, temperature=1.)
    texts = [[c for c in tok.decode(o[x['input_ids'].shape[1]:], skip_special_tokens=True) if c.isalpha()] for o in out]
    return sum(sum(c.isupper() for c in t)/len(t) if t else 0. for t in texts)/len(texts)


@pytest.mark.parametrize('how', [dict(seed=1), dict(seed=2), dict(seed=3, method='lora', lr=2e-3),
                                 dict(seed=1, algorithm='rloo'), dict(seed=2, algorithm='rloo'),
                                 dict(seed=3, algorithm='rloo', method='lora', lr=2e-3)])
def test_reinforcement_makes_what_is_rewarded_likelier(ws, tmp_path, model, how):
    (tmp_path/'mine.py').write_text(CAPITALS)
    asks = put(ws, tmp_path, 'asks', [prompt(w) for w in LEARN])
    assert asks.body['format'] == 'prompts'
    tuned = ws.grpo(model, asks, rewards=[f'{tmp_path}/mine.py:capitals'], max_steps=16, batch=32, max_new=6,
                    log_every=4, **dict(dict(lr=6e-4), **how))
    got = [r for r in ws.metrics(f'run:{tuned.made_by}') if 'reward' in r]
    assert got[0]['reward'] < .15 and got[-1]['reward'] > .3 and got[-1]['reward_capitals'] == got[-1]['reward']
    before, after = capitals(ws, model), capitals(ws, whole(ws, tuned))
    assert before < .2 and after > .3  # 48 answers each


def test_a_reward_model_teaches(ws, tmp_path, model):
    asks, pairs = (put(ws, tmp_path, 'asks', [prompt(w) for w in LEARN]),
                   put(ws, tmp_path, 'shout', [pair(w) for w in WORDS]))
    judge = ws.reward(model, pairs, max_steps=30, batch=7, seed=1)
    tuned = ws.grpo(model, asks, rewards=[f'0.5*model:{judge.name}', '0.1*length:6'], max_steps=16, batch=32, max_new=6,
                    lr=6e-4, log_every=4)
    got = [r['reward_model'] for r in ws.metrics(f'run:{tuned.made_by}') if 'reward_model' in r]
    assert got[-1] > got[0]+.5
    assert tuned.body['reward']['digest'] == judge.digest
    assert tuned.body['recipe']['rewards'] == ['0.5*model', '0.1*length:6']
    assert 'model:shout-reward@1' in {str(r['ref'])
                                      for r in ws.store.state(f'run:{tuned.made_by}', 'run')['reads'].values()}


def test_the_right_answer_of_a_conversation_is_the_reward(ws, tmp_path, model, data):
    "Real questions of GSM8K; a model of this size is never right, so how near it comes counts too"
    d = ws.load(data/'gsm8k'/'train.jsonl', out='maths', rows=40)
    tuned = ws.grpo(model, d, rewards=['number', '0.2*like'], max_steps=3, batch=8, generations=4,
                    max_new=8, log_every=1)
    got = [r for r in ws.metrics(f'run:{tuned.made_by}') if 'reward' in r]
    assert len(got) == 3 and all({'reward_number', 'reward_like'} <= set(r) for r in got)


def test_programs_are_run_and_not_believed(data):
    "Of HumanEval's own solutions all pass, of empty ones none"
    import gzip

    from llmops.engines.trl_rewards import RULES, Answer
    rows = [json.loads(x) for x in gzip.open(data/'humaneval'/'HumanEval.jsonl.gz', 'rt')][::20]
    rows = [dict(r, prompt=[dict(role='user', content=r['prompt'])]) for r in rows]
    assert RULES['python'][0]([Answer(r['canonical_solution'], 1, r) for r in rows], '20') == [1.]*len(rows)
    assert RULES['python'][0]([Answer('    pass', 1, r) for r in rows], '20') == [0.]*len(rows)
    assert RULES['python'][0]([Answer('    import os\n    os._exit(0)', 1, r) for r in rows], '20') == [0.]*len(rows)


def test_the_template_runs_on_real_questions(ws, data, base):
    from llmops.faces.notebook import run_template
    ws.load(data/'gsm8k'/'train.jsonl', out='questions', rows=40)
    out = run_template(ws, 'reinforce', dict(source=str(base), model='model:tiny', data='dataset:questions',
                                             max_steps=3, batch=8, generations=4, max_new=8, track=''), wait=True)
    assert out['status'] == 'done', out
    made = ws.store.get('model:reinforced-grpo')
    assert made.body['recipe']['rewards'] == ['number', '0.2*like'] and made.body['base']['ref'] == 'model:tiny@1'
    assert ws.store.get('model:reinforced').body['adapter'] is False
