"A student of half the blocks comes closer to its teacher; a teacher of another tongue is refused."
import json
import shutil

import pytest
from words import LEARN, ask, opened, prompt, put, rows_in, whole

from llmops.core import Invalid


@pytest.fixture(scope='module')
def small(base, tmp_path_factory):
    "A student of half the blocks, and one of another tokenizer"
    import torch
    from transformers import AutoModelForCausalLM
    out = tmp_path_factory.mktemp('student')
    net = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    net.model.layers = net.model.layers[:2]
    net.config.num_hidden_layers, net.config.layer_types = 2, net.config.layer_types[:2]
    net.save_pretrained(out/'half')
    for f in ('tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja'): shutil.copy(base/f, out/'half'/f)
    shutil.copytree(out/'half', out/'other')
    t = json.loads((out/'other'/'tokenizer.json').read_text())
    vocab = t['model']['vocab']
    a, b = sorted(vocab, key=vocab.get)[300:302]
    vocab[a], vocab[b] = vocab[b], vocab[a]
    (out/'other'/'tokenizer.json').write_text(json.dumps(t))
    return out


def apart(ws, teacher, student, talks):
    "Mean KL divergence of the student's next tokens from the teacher's (nats), over answers"
    import torch
    (a, tok), (b, _) = opened(ws, teacher), opened(ws, student)
    total = n = 0
    for m in talks:
        asked = len(tok.apply_chat_template(m[:-1], add_generation_prompt=True, return_dict=True)['input_ids'])
        x = tok.apply_chat_template(m, return_dict=True, return_tensors='pt')['input_ids'][:, :256]
        with torch.no_grad(): p, q = (net(x).logits[0, asked-1:-1].log_softmax(-1) for net in (a, b))
        total, n = total+(p.exp()*(p-q)).sum().item(), n+len(p)
    return total/n


def talks_of(ws, data, a, b):
    rows = [r['messages'] for r in rows_in(ws, ws.load(data/'llamafactory'/'alpaca_en_demo.json', out='alpaca'))]
    return [m for m in rows if len(json.dumps(m)) < 300][a:b]


@pytest.mark.parametrize('how', [dict(seed=1), dict(seed=2, lmbda=.5), dict(seed=3, method='lora', rank=64, alpha=128)])
def test_a_smaller_student_comes_closer_to_its_teacher(ws, tmp_path, data, model, small, how):
    student = ws.add('model:half', str(small/'half'))
    seen, held = talks_of(ws, data, 0, 200), talks_of(ws, data, 200, 220)
    d = put(ws, tmp_path, 'talks', [dict(messages=m) for m in seen])
    taught = ws.distil(student, d, teacher=model, max_steps=40, batch=8, beta=0., max_new=8, **how)
    before, after = apart(ws, model, student, held), apart(ws, model, whole(ws, taught), held)
    assert after < before*.75, (before, after)
    assert taught.body['teacher']['digest'] == model.digest and taught.body['base']['ref'] == 'model:half@1'


def test_a_student_that_answers_itself_needs_prompts_only(ws, tmp_path, model, small):
    student = ws.add('model:half', str(small/'half'))
    asks = put(ws, tmp_path, 'asks', [prompt(w) for w in LEARN])
    taught = ws.distil(student, asks, teacher=model, lmbda=1, beta=1, max_steps=25, batch=14, max_new=6, log_every=5)
    losses = [r['loss'] for r in ws.metrics(f'run:{taught.made_by}') if 'loss' in r]
    assert losses[-1] < losses[0]*.6
    with pytest.raises(Invalid, match='lmbda=1'): ws.distil(student, asks, teacher=model, lmbda=.5, max_steps=1)


def test_only_a_teacher_of_the_same_tongue_teaches(ws, tmp_path, model, small):
    odd = ws.add('model:odd', str(small/'other'))
    d = put(ws, tmp_path, 'talks', [dict(messages=[*ask(w), dict(role='assistant', content=w)]) for w in LEARN])
    with pytest.raises(Invalid, match='2 of 768 tokens differ'): ws.distil(odd, d, teacher=model, max_steps=1)
    with pytest.raises(Invalid, match='cannot teach itself'): ws.distil(model, d, teacher=model, max_steps=1)


def test_the_distil_template_runs_on_a_real_file(ws, data, base, small):
    from llmops.faces.notebook import run_template
    ws.add('model:tiny', str(base))
    ws.load(data/'llamafactory'/'alpaca_en_demo.json', out='talks', rows=60)
    out = run_template(ws, 'distil',
                       dict(source=str(small/'half'), model='model:half', teacher='model:tiny', data='dataset:talks',
                            max_steps=3, batch=2, max_length=256, track=''), wait=True)
    assert out['status'] == 'done', out
    made = ws.store.get('model:distilled-distil')
    assert made.body['recipe']['max_steps'] == 3 and made.body['teacher']['ref'] == 'model:tiny@1'
    assert ws.store.get('model:distilled').body['adapter'] is False
