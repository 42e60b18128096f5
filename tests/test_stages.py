"""Reward models and classifiers learn on real weights, all weights and an adapter, by several seeds.

Each threshold stands far from what the untrained model gives, which is measured in the same test. Tasks are small: they
show that a stage moves what it should move, not how good a model it makes."""
import json
import math
import shutil

import pytest
from words import CAPITALS, LEARN, NEW, WORDS, ask, opened, pair, prompt, put, rows_in, whole

from llmops.core import Failed, Invalid
from llmops.verbs import files


# --- reward models ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('how', [dict(seed=1), dict(seed=2), dict(seed=3, method='lora')])
def test_a_reward_model_knows_the_better_of_new_answers(ws, tmp_path, model, how):
    pairs, new = (put(ws, tmp_path, n, [pair(w) for w in ws_]) for n, ws_ in (('shout', LEARN), ('new', NEW)))
    judge = ws.reward(model, pairs, max_steps=30, batch=7, log_every=5, **how)
    head = whole(ws, judge)
    found = ws.score(head, new)
    assert found.body['scores']['accuracy'] == 1 and found.body['scores']['margin'] > 1  # 6 of 6; by chance 1 in 64
    rows = [r for r in ws.metrics(f'run:{judge.made_by}') if 'loss' in r]
    assert rows[0]['loss'] > .4 and rows[-1]['loss'] < .1 and rows[-1]['accuracy'] == 1
    assert head.body['labels'] == ['reward'] and 'ForSequenceClassification' in head.body['architecture']


def test_scores_are_those_of_the_network(ws, tmp_path, model):
    "One row alone, without padding, gives what the verb wrote"
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    pairs = put(ws, tmp_path, 'shout', [pair(w) for w in LEARN])
    judge = ws.reward(model, pairs, max_steps=5, batch=4)
    rows = rows_in(ws, ws.score(judge, pairs, batch=5))
    at = files(ws.store, judge)
    net, tok = (AutoModelForSequenceClassification.from_pretrained(at, dtype=torch.float32),
                AutoTokenizer.from_pretrained(at))
    for r in rows[:4]:
        x = tok.apply_chat_template(r['prompt']+r['chosen'], return_dict=True, return_tensors='pt')
        with torch.no_grad(): assert math.isclose(net(**x).logits.item(), r['chosen_score'], abs_tol=1e-3)


# --- classes ---------------------------------------------------------------------------------------------------------

FORMS = ['I see the {}.', 'The {} is here.', 'Look, a {}!', 'Where is the {}?', 'My {} is red.', 'This {} is old.',
         'Give me the {}.']
KINDS = dict(animal='cat dog bird fish horse cow'.split(), house='door wall lamp bed window roof'.split(),
             weather='rain snow sun wind storm fog'.split())


def texts(forms): return [dict(text=f.format(w), label=k) for f in forms for k, ws_ in KINDS.items() for w in ws_]


@pytest.mark.parametrize('how', [dict(seed=1), dict(seed=2), dict(seed=3, method='lora')])
def test_a_classifier_tells_classes_in_new_sentences(ws, tmp_path, model, how):
    d, new = put(ws, tmp_path, 'kinds', texts(FORMS[:5])), put(ws, tmp_path, 'new', texts(FORMS[5:]))
    told = ws.classify(model, d, max_steps=80, batch=18, evaluation=new, eval_steps=40, **how)
    head = whole(ws, told)
    scores = ws.score(head, new).body['scores']
    assert scores['interval'][0] > 1/3+.2 and scores['judged'] == 36  # three classes: a third by chance
    assert head.body['labels'] == ['animal', 'house', 'weather']
    assert any('eval_loss' in r for r in ws.metrics(f'run:{told.made_by}'))


# --- other losses, packing, tools, thoughts --------------------------------------------------------------------------

def test_losses_of_trl_that_no_other_test_has_train(ws, tmp_path, model):
    import typing

    from llmops.training.preference import dpo, kto
    assert (set(typing.get_args(typing.get_type_hints(dpo)['loss']))
            == set('sigmoid hinge ipo exo_pair nca_pair robust bco_pair sppo_hard aot aot_unpaired apo_zero apo_down '
                   'discopop sft sigmoid_norm'.split()))
    assert set(typing.get_args(typing.get_type_hints(kto)['loss'])) == {'kto', 'apo_zero_unpaired'}
    pairs = put(ws, tmp_path, 'shout', [pair(w) for w in LEARN])
    rated = put(ws, tmp_path, 'rated', [dict(prompt=p['prompt'], completion=p[k], label=k == 'chosen')
                                        for p in map(pair, LEARN) for k in ('chosen', 'rejected')])
    for verb, d, losses in ((ws.dpo, pairs, ('exo_pair', 'bco_pair', 'aot_unpaired', 'discopop', 'sigmoid_norm')),
                            (ws.kto, rated, ('apo_zero_unpaired',))):
        for loss in losses:
            assert math.isfinite(verb(model, d, loss=loss, max_steps=1, batch=4, out='m').body['loss']), loss


def test_packed_rows_are_learned_as_rows_alone(ws, tmp_path, model, base):
    "The loss of a packed batch is that of its rows, token for token"
    import torch

    from llmops.engines.trl_data import tokenise
    from llmops.engines.trl_pack import collator, pack
    net, tok = opened(ws, model)
    rows = [dict(messages=[*ask(w), dict(role='assistant', content=f'{w} '*(i % 5+1))]) for i, w in enumerate(WORDS)]
    cols, counts = tokenise(tok, rows, 256)
    assert counts == dict(used=20, cut=0, left_out=0)
    got = pack(cols, 96)
    b = collator(tok)([{k: v[i] for k, v in got.items()} for i in range(len(got['input_ids']))])
    with torch.no_grad():
        packed = torch.nn.functional.cross_entropy(
            net(b['input_ids'], position_ids=b['position_ids'], use_cache=False).logits[:, :-1].transpose(1, 2),
            b['labels'][:, 1:], reduction='sum')
        alone = sum(torch.nn.functional.cross_entropy(net(torch.tensor([x])).logits[0, :-1],
                                                      torch.tensor(y[1:]), reduction='sum')
                    for x, y in zip(cols['input_ids'], cols['labels'], strict=True))
    assert math.isclose(packed.item(), alone.item(), rel_tol=1e-4) and len(got['input_ids']) < 12
    d = put(ws, tmp_path, 'talks', rows)
    tuned = ws.sft(model, d, packing=True, max_length=96, max_steps=30, batch=4, log_every=5)
    losses = [r['loss'] for r in ws.metrics(f'run:{tuned.made_by}') if 'loss' in r]
    assert losses[-1] < losses[0]*.5 and tuned.body['recipe']['rows']['packed'] == len(got['input_ids'])


QWEN = """{%- if tools %}{{- '<|im_start|>system\\n' }}{%- for t in tools %}{{- t | tojson }}{%- endfor %}{{- '<|im_end|>\\n' }}{%- endif %}
{%- for m in messages %}{%- if m.role == 'tool' %}{{- '<|im_start|>user\\n<tool_response>' + m.content + '</tool_response><|im_end|>\\n' }}
{%- else %}{{- '<|im_start|>' + m.role + '\\n' + (m.content or '') }}{%- for t in m.tool_calls or [] %}{{- '<tool_call>' }}{{- t.function | tojson }}{{- '</tool_call>' }}{%- endfor %}{{- '<|im_end|>\\n' }}
{%- endif %}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""


def test_calls_of_tools_are_learned_and_their_answers_are_not(ws, data, base, tmp_path):
    from transformers import AutoTokenizer

    from llmops.engines.trl_data import tokenise
    from llmops.engines.trl_talk import UNLEARNED
    shutil.copytree(base, tmp_path/'tools')
    (tmp_path/'tools'/'chat_template.jinja').write_text(QWEN)
    model, d = (ws.add('model:tools', str(tmp_path/'tools')),
                ws.load(data/'llamafactory'/'glaive_toolcall_en_demo.json', out='calls'))
    tok, rows = AutoTokenizer.from_pretrained(tmp_path/'tools'), rows_in(ws, d)
    rows = [r for r in rows if any(m.get('tool_calls') for m in r['messages'])][:40]
    cols, counts = tokenise(tok, rows, 1 << 20)
    assert counts == dict(used=40, cut=0, left_out=0)
    for r, x, y in zip(rows, cols['input_ids'], cols['labels'], strict=True):
        assert x == tok.apply_chat_template(r['messages'], tools=r.get('tools') or None, return_dict=True)['input_ids']
        learned = tok.decode([i for i, l in zip(x, y, strict=True) if l != UNLEARNED])
        said = ''.join((m['content'] or '')+''.join(
            '<tool_call>'+c+'</tool_call>' for c in [json.dumps(t['function']) for t in m.get('tool_calls') or []])
                       +'<|im_end|>\n' for m in r['messages'] if m['role'] == 'assistant')
        assert learned == said
    tuned = ws.sft(model, d, max_steps=2, batch=2, max_length=512)
    assert tuned.body['recipe']['rows']['used'] > 100


FORGETS = """{%- set ns = namespace(last=0) %}{%- for m in messages %}{%- if m.role == 'user' %}{%- set ns.last = loop.index0 %}{%- endif %}{%- endfor %}
{%- for m in messages %}{%- set c = m.content %}{%- if m.role == 'assistant' and loop.index0 < ns.last %}{%- set c = c.split('</think>')[-1] %}{%- endif %}
{{- '<|im_start|>' + m.role + '\\n' + c + '<|im_end|>\\n' }}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""


def test_a_template_that_forgets_thoughts_makes_a_row_of_each_answer(ws, base, tmp_path):
    shutil.copytree(base, tmp_path/'forgets')
    (tmp_path/'forgets'/'chat_template.jinja').write_text(FORGETS)
    model = ws.add('model:forgets', str(tmp_path/'forgets'))
    rows = [dict(messages=[m for w in two
                           for m in (*ask(w), dict(role='assistant', content=f'<think>it is {w}</think>{w}'))])
            for two in zip(LEARN[::2], LEARN[1::2], strict=True)]
    tuned = ws.sft(model, put(ws, tmp_path, 'mind', rows), max_steps=2, batch=7)
    assert tuned.body['recipe']['rows'] == dict(used=7, cut=0, left_out=0, packed=14)


def test_thoughts_are_learned_or_masked(ws, tmp_path, model):
    rows = [dict(messages=[*ask(w), dict(role='assistant', content=f'<think>the word is {w}</think>{w}')])
            for w in LEARN]
    d = put(ws, tmp_path, 'thoughts', rows)
    runs = {how: ws.sft(model, d, thinking=how, max_steps=2, batch=7, log_every=1, out=f'm-{how}')
            for how in ('learn', 'mask')}
    assert runs['learn'].body['loss'] != runs['mask'].body['loss'] and runs['mask'].body['recipe']['thinking'] == 'mask'


# --- what cannot work ------------------------------------------------------------------------------------------------

def test_what_cannot_work_is_said(ws, tmp_path, model):
    (tmp_path/'mine.py').write_text(CAPITALS)
    mine = f'{tmp_path}/mine.py'
    asks, pairs = (put(ws, tmp_path, 'asks', [prompt(w) for w in LEARN]),
                   put(ws, tmp_path, 'pairs', [pair(w) for w in LEARN]))
    bare, one = (put(ws, tmp_path, 'bare', [dict(prompt=ask(w)) for w in LEARN]),
                 put(ws, tmp_path, 'one', texts(FORMS[:1])[:5]))
    kinds = put(ws, tmp_path, 'kinds', texts(FORMS[:2]))
    for f, words in ((lambda: ws.reward(model, asks), 'reward takes preferences'),
                     (lambda: ws.grpo(model, pairs, rewards=['json']), '--to prompts'),
                     (lambda: ws.grpo(model, asks), 'grpo needs a reward'),
                     (lambda: ws.grpo(model, asks, rewards=['numbr']), 'Did you mean .?number'),
                     (lambda: ws.grpo(model, bare, rewards=['exact']), 'row 1 of the data has no right answer'),
                     (lambda: ws.grpo(model, asks, rewards=['exact'], gold='right'), "no column 'right'"),
                     (lambda: ws.grpo(model, asks, rewards=['like'], batch=20), 'such as 24'),
                     (lambda: ws.grpo(model, asks, rewards=['like'], generations=1), '2 or more'),
                     (lambda: ws.grpo(model, asks, rewards=['like'], max_new=4000), 'smaller max_new'),
                     (lambda: ws.grpo(model, asks, rewards=['model:tiny']), 'is no reward model'),
                     (lambda: ws.grpo(model, asks, rewards=[f'{mine}:nothing']), "no function 'nothing'"),
                     (lambda: ws.grpo(model, asks, rewards=[f'{tmp_path}/no.py:f']), 'is not there'),
                     (lambda: ws.grpo(model, asks, rewards=['regex:(']), 'the pattern is wrong'),
                     (lambda: ws.grpo(model, asks, rewards=['python']), 'has no tests'),
                     (lambda: ws.reward(model, pairs, max_length=4), 'after 4 tokens'),
                     (lambda: ws.distil(model, pairs, teacher=model), 'cannot teach itself'),
                     (lambda: ws.classify(model, one), 'All 5 rows are of the class'),
                     (lambda: ws.classify(model, kinds, label='kind'), '--label COLUMN'),
                     (lambda: ws.classify(model, kinds, label='text'), 'is no class'),
                     (lambda: ws.score(model, kinds), 'llmops train reward')):
        with pytest.raises(Invalid, match=words): f()
    for name, words in (('wrong', 'gave 1 for 16 completions'), ('raises', 'failed: KeyError'),
                        ('same', 'all answers to a prompt got the same reward')):
        with pytest.raises(Failed, match=words):
            ws.grpo(model, asks, rewards=[f'{mine}:{name}'], max_steps=25, batch=16, max_new=2)
    assert [v.name for v in ws.store.find('model')] == ['tiny']
