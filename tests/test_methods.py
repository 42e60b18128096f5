"""What the methods of training must do: move what should learn and nothing else, learn, and give the same answers trained, loaded and merged."""
import json
from pathlib import Path

import pytest

pytest.importorskip('trl', reason="training needs the packages of the 'train' extra")

from llmops.adapter import as_nf4, flatten, fold, load_whole, put_on, settings
from llmops.core import Failed, Invalid
from llmops.data.samples import draw, write_rows
from llmops.engines import trl_work
from llmops.engines.trl_data import open_tokenizer
from llmops.engines.trl_methods import METHODS, PATHS, load, save
from llmops.modelfolder import describe
from llmops.ports import engine
from llmops.tuning import complete
from llmops.verbs import files

ROOT = Path(__file__).resolve().parent.parent
BASE = ROOT/'assets'/'tiny-qwen'
ADAPTERS = [m for m in METHODS if m not in ('full', 'freeze')]
PROMPTS = ('prompt', 'prefix')


@pytest.fixture(scope='module')
def task(tmp_path_factory) -> dict:
    "A file of tickets to learn, and other tickets as tokens"
    at, tok = tmp_path_factory.mktemp('task'), open_tokenizer(BASE)
    rows = draw(260, dirty=False)
    return dict(file=write_rows(rows[:200], at/'rows.jsonl'), held=write_rows(rows[200:224], at/'held.jsonl'), tok=tok)


def job_of(task, out: Path, **recipe) -> dict:
    paths = (dict(model=str(BASE), rows=str(task['file']), out=str(out))
             | {k: v for k, v in recipe.items() if k in PATHS})
    fields = (dict(stage='sft', batch=8, rank=8, alpha=16, virtual_tokens=8, device='cpu', save_steps=-1)
              | {k: v for k, v in recipe.items() if k not in PATHS})
    return complete(fields) | dict.fromkeys(PATHS, '') | paths


def train(task, out: Path, **recipe) -> tuple:
    "Train and save; the trained network stays in memory"
    job = job_of(task, out, **recipe)
    cols, counts = trl_work.columns(job, task['tok'], job['rows'], 256)
    t = trl_work.make(job, task['tok'], cols, None, out.parent/'work')
    start = {n: p.detach().clone() for n, p in t.model.named_parameters()}
    t.train()
    save(t, job, counts)
    return job, t.accelerator.unwrap_model(t.model), start


def losses(net, task):
    "Loss of each held-out ticket"
    import torch
    cols, _ = trl_work.columns(job_of(task, Path()), task['tok'], str(task['held']), 256)
    with torch.no_grad():
        return torch.stack([net(input_ids=torch.tensor([x]), labels=torch.tensor([y])).loss
                            for x, y in zip(cols['input_ids'], cols['labels'], strict=True)])


def logits(net, n: int = 24):
    "What a network says to the first token ids there are"
    import torch
    with torch.no_grad(): return net(input_ids=torch.arange(3, 3+n)[None]).logits[:, -n:]


def same(a, b, part: float = 1e-4) -> bool: return float((a-b).abs().max()) <= part*float(a.abs().max())


def fell(before, after) -> float:
    "By how many standard errors the loss of the same rows fell"
    d = before-after
    return float(d.mean()/(d.std()/len(d)**.5))


# --- each method ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('method', METHODS)
def test_method_moves_what_should_learn_learns_and_comes_back_the_same(method, task, tmp_path):
    import torch
    job, net, start = train(task, tmp_path/'m', method=method, max_steps=20 if method in ('ia3', *PROMPTS) else 12)
    now = dict(net.named_parameters())
    assert all(torch.equal(now[n], p)
               for n, p in start.items() if not now[n].requires_grad), 'what is frozen stays to the bit'
    still = [n for n, p in start.items() if now[n].requires_grad and torch.equal(now[n], p)]
    assert not still and any(p.requires_grad for p in now.values()), still
    base = load_whole(BASE, dtype=torch.float32)
    if method in ADAPTERS and method != 'qlora':
        own = {n.removeprefix('base_model.' if method in PROMPTS else 'base_model.model.').replace('.base_layer', ''): p
               for n, p in now.items()}
        assert all(torch.equal(own[n], p) for n, p in base.named_parameters()), 'the base under an adapter is the base'
    weights = json.loads((tmp_path/'m'/'recipe.json').read_text())['weights']
    assert weights['trained'] == sum(p.numel() for p in now.values() if p.requires_grad)
    assert (weights['trained'] < weights['all']) == (method != 'full')

    if method == 'qlora': base = as_nf4(base)
    assert fell(losses(base.eval(), task), losses(net, task)) > 8, 'learned far beyond noise'

    # Still set to train, without dropout: four bits are computed with less exactly when only answers are wanted
    said = logits(net)
    if method not in ADAPTERS:
        assert same(said, logits(load_whole(tmp_path/'m', dtype=torch.float32)))
        assert all((tmp_path/'m'/n).read_bytes() == (BASE/n).read_bytes()
                   for n in ('tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja'))
        return
    near = 1e-3 if method == 'qlora' else 1e-4 # TRL keeps the adapter of a base in four bits in bf16
    loaded = put_on(base, tmp_path/'m').eval()
    assert same(said, logits(loaded), near) and settings(tmp_path/'m')['base_model_name_or_path'] == ''
    plain = load_whole(BASE, dtype=torch.float32)
    if method in PROMPTS:
        with pytest.raises(Invalid, match='is a learned prompt.*nothing to merge'): fold(plain, tmp_path/'m')
        return
    flatten(BASE, [(tmp_path/'m', 'model:m', method == 'qlora')], tmp_path/'whole')
    assert same(said, logits(load_whole(tmp_path/'whole', dtype=torch.float32)), near)
    assert not same(said, logits(plain))


@pytest.mark.parametrize('seed', [1, 2, 3])
def test_lora_learns_with_every_seed(seed, task, tmp_path):
    import torch
    _, net, _ = train(task, tmp_path/'m', method='lora', max_steps=12, seed=seed)
    assert fell(losses(load_whole(BASE, dtype=torch.float32).eval(), task), losses(net.eval(), task)) > 8


def test_what_the_method_promises_is_in_the_adapter(task, tmp_path):
    said = {}
    for m in ('rslora', 'dora', 'ia3'):
        train(task, tmp_path/m, method=m, max_steps=1)
        said[m] = settings(tmp_path/m)
    assert said['rslora']['use_rslora'] and not said['rslora']['use_dora'] and said['dora']['use_dora']
    assert not said['dora']['use_rslora']
    assert said['ia3']['target_modules'] == ['down_proj', 'k_proj', 'v_proj']
    assert said['ia3']['feedforward_modules'] == ['down_proj']


def test_qlora_base_is_in_four_bits(task, tmp_path):
    import bitsandbytes as bnb
    net = load(job_of(task, tmp_path/'m', method='qlora'))
    kinds = {type(m) for n, m in net.named_modules() if n.endswith('_proj')}
    assert kinds == {bnb.nn.Linear4bit} and net.model.layers[0].mlp.up_proj.weight.quant_state.quant_type == 'nf4'


# --- families -------------------------------------------------------------------------------------------------------

def family(name: str, out: Path) -> Path:
    "A small random model from the family's own configuration class, with the tokenizer of the base that ships"
    import torch
    import transformers
    tok = transformers.AutoTokenizer.from_pretrained(BASE)
    ids = dict(vocab_size=len(tok), pad_token_id=tok.pad_token_id, eos_token_id=tok.eos_token_id, bos_token_id=None)
    small = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
                 num_key_value_heads=1, max_position_embeddings=256)
    own = dict(GPT2=dict(n_embd=32, n_layer=2, n_head=2, n_positions=256), Qwen3=dict(small, head_dim=16),
               Glm=dict(small, head_dim=16), Glm4=dict(small, head_dim=16)).get(name, small)
    torch.manual_seed(0)
    getattr(transformers, 'GPT2LMHeadModel' if name == 'GPT2'
            else f'{name}ForCausalLM')(getattr(transformers, f'{name}Config')(**own, **ids)).save_pretrained(out)
    tok.save_pretrained(out)
    return out


@pytest.mark.parametrize('name', ['Llama', 'Qwen2', 'Qwen3', 'Glm', 'Glm4', 'Phi3', 'GPT2'])
def test_families_train_save_load_and_merge(name, task, tmp_path):
    import torch
    base = family(name, tmp_path/'base')
    for method in ('full', 'lora', 'ia3'):
        job, net, start = train(task, tmp_path/method, method=method, max_steps=3, batch=4, model=str(base))
        assert any(not torch.equal(p, start[n]) for n, p in net.named_parameters()), method
        said = logits(net.eval())
        if method == 'full': again = load_whole(tmp_path/'full', dtype=torch.float32)
        else:
            again = load_whole(flatten(base, [(tmp_path/method, 'x', False)], tmp_path/f'{method}-whole'),
                               dtype=torch.float32)
        assert same(said, logits(again.eval())), method
        assert describe(tmp_path/method)['adapter'] == (method != 'full')


# --- verbs: on, on top of, together ---------------------------------------------------------------------------------

@pytest.fixture
def at(ws, task):
    "A workspace with a base, tickets, and a LoRA adapter"
    base = ws.store.put('model', 'tiny-qwen', dict(describe(BASE), files=ws.store.blobs.put_folder(BASE)))
    data = ws.load(task['file'], out='tickets')
    return ws, base, data, ws.sft(base, data, out='first', method='lora', max_steps=3, batch=4, rank=4, alpha=8)


def net_of(ws, *vs):
    "The model that versions make: a base, and adapters merged into it one after the other"
    import torch
    net = load_whole(files(ws.store, vs[0]), dtype=torch.float32)
    for v in vs[1:]: net = fold(net, files(ws.store, v))
    return net.eval()


def test_an_adapter_is_trained_on_or_gets_another_on_top_and_merge_takes_both(at):
    ws, base, data, first = at
    on = ws.sft(first, data, out='on', method='lora', max_steps=2, batch=4)
    assert (on.body['recipe']['rank'], on.body['base']['ref'],
            on.body['continued']['ref']) == (4, str(base.ref), str(first.ref))
    assert 'chain' not in on.body
    assert not same(logits(net_of(ws, base, on)), logits(net_of(ws, base, first)))
    top = ws.sft(first, data, out='top', method='rslora', onto='stack', rank=2, max_steps=2, batch=4)
    assert (top.body['base']['ref'], [c['ref'] for c in top.body['chain']],
            top.body['rank']) == (str(base.ref), [str(first.ref)], 2)
    whole = ws.merge(top, out='whole')
    assert not whole.body['adapter'] and same(logits(net_of(ws, whole)), logits(net_of(ws, base, first, top)))
    assert not same(logits(net_of(ws, whole)), logits(net_of(ws, base, top))), 'the lower adapter is part of it'
    reads = ws.store.state(f'run:{whole.made_by}', 'run')['reads']
    assert {r['ref'] for r in reads.values()} >= {str(base.ref), str(first.ref), str(top.ref)}
    half = ws.merge(first, out='half', dtype='bfloat16')
    assert half.body['dtype'] == 'BF16' and half.body['size'] < .6*whole.body['size']


def test_adapters_are_added_and_leave_alone(at, tmp_path):
    import peft
    import torch
    ws, base, data, first = at
    second = ws.sft(base, data, out='second', method='lora', max_steps=3, batch=4, rank=4, alpha=8, seed=5)
    for how in ('cat', 'linear', 'ties', 'dare_linear'):
        assert ws.combine([first, second], how, how=how).body['adapter']
    half = ws.combine([first, second], 'half', weights=[.5, .5])
    def moved(v):
        return (net_of(ws, base, v).model.layers[1].mlp.up_proj.weight
                -net_of(ws, base).model.layers[1].mlp.up_proj.weight)
    assert torch.allclose(moved(half), .5*moved(first)+.5*moved(second), atol=1e-6)
    told = ws.export_adapter(first, tmp_path/'alone', base='somebody/base')
    assert settings(tmp_path/'alone')['base_model_name_or_path'] == told['base'] == 'somebody/base'
    net = peft.PeftModel.from_pretrained(load_whole(BASE, dtype=torch.float32), tmp_path/'alone')
    assert same(logits(net.eval()), logits(net_of(ws, base, first)))


def test_what_does_not_fit_is_said(at, task, tmp_path):
    import torch
    ws, base, data, first = at
    def refuses(says, **args):
        with pytest.raises((Invalid, Failed), match=says):
            ws.sft(**(dict(data=data, out='x', max_steps=1, batch=4) | args))
    refuses('is an adapter. Make whole weights of it first', model=first)
    refuses('of method lora, and method=dora cannot train it on', model=first, method='dora')
    refuses("no module 'q_porj'. Did you mean 'q_proj'", model=base, method='lora', targets='q_porj')
    refuses('layers is 9, and this model has 4 blocks', model=base, method='freeze', layers=9)
    refuses('norm is no linear layer of the language model, so method=lora cannot', model=base, method='lora',
            targets='norm')
    refuses('embed_tokens is no linear layer of the language model, so method=ia3 cannot', model=base, method='ia3',
            targets='embed_tokens')
    refuses("not ','", model=base, method='lora', targets=',')
    refuses('rank is 2000, and no layer that gets an adapter is wider than 384', model=base, method='lora', rank=2000)
    other = family('Llama', tmp_path/'other')
    stranger = ws.store.put('model', 'stranger', dict(describe(other), files=ws.store.blobs.put_folder(other)))
    wrong = ws.store.put('model', 'wrong', first.body | dict(base=dict(ref=str(stranger.ref), digest=stranger.digest)))
    refuses('was made for another model', model=wrong, method='lora')
    with pytest.raises(Invalid, match='model:wrong@1 was made for another model'): ws.merge(wrong)
    changed = ws.store.put('model', 'changed', first.body | dict(base=dict(ref=str(base.ref), digest=stranger.digest)))
    refuses('is not the model that model:changed@1 was trained on', model=changed, method='lora')
    with pytest.raises(Invalid, match='rests on model:stranger@1.*Adapters of one base'):
        ws.combine([first, wrong], 'x')
    net = load_whole(BASE, dtype=torch.float32)
    net.model.layers[2].mlp.up_proj.weight.data[3, 3] = float('nan')
    net.save_pretrained(tmp_path/'nan')
    with pytest.raises(Invalid, match='model.layers.2.mlp.up_proj.weight holds values that are no numbers'):
        load(job_of(task, tmp_path/'m', method='lora', model=str(tmp_path/'nan')))
    assert {v.name for v in ws.store.find('model')} == {'tiny-qwen', 'first', 'stranger', 'wrong', 'changed'}


# --- alone: asked and served beside its base ------------------------------------------------------------------------

def test_an_adapter_is_asked_and_served_alone_as_if_it_were_merged(at):
    ws, base, data, first = at
    whole = ws.merge(first, out='whole')
    alone, merged = (ws.evaluate(m, [data], rows=6, out=f'judged-{m.name}').body for m in (first, whole))
    assert alone['results'] == merged['results'] and alone['subject']['adapter']['digest'] == first.digest
    shown = ws.parity(whole, first, data, n=4, max_tokens=8, engine='transformers', options=dict(threads=1))
    assert shown.body['passed'], shown.body['gates']
    assert (shown.body['subject']['model']['digest'],
            shown.body['subject']['adapter']['digest']) == (base.digest, first.digest)
    ship = ws.release(first, engine='transformers', options=dict(threads=1))
    assert (ship.body['model']['digest'], ship.body['adapter']['digest']) == (base.digest, first.digest)
    ws.waive(ship, 'a test')
    up = ws.deploy(ship, out='up')
    try: said = ws.chat(up, message='Hello', max_tokens=8)['answer']
    finally: ws.stop(up)
    assert said == net_text(ws, whole, 'Hello', 8)


def net_text(ws, model, message, n) -> str:
    "What whole weights answer in this process"
    return next(iter(engine('llm', 'transformers').answer(
        files(ws.store, model), [[dict(role='user', content=message)]], max_tokens=n)))['text']


def greedy(net, ids: list[int], n: int, end: int) -> list[int]:
    "Tokens that a network says, the whole text anew for each"
    import torch
    out: list[int] = []
    with torch.no_grad():
        while len(out) < n and end not in out:
            out.append(int(net(input_ids=torch.tensor([ids+out])).logits[0, -1].argmax()))
    return out


@pytest.mark.parametrize('below, above',
                         [('', m) for m in ADAPTERS]+[('lora', 'dora'), ('qlora', 'prompt'), ('ia3', 'prefix')])
def test_every_kind_of_adapter_is_served_alone_and_stacked_with_the_tokens_of_its_peft_model(
        below, above, task, tmp_path):
    from queue import SimpleQueue

    from llmops.engines.transformers_llm import answers, load as into_memory
    from llmops.engines.transformers_loop import Job, Loop
    fields, base = dict(max_steps=4, batch=4, rank=4, alpha=32, virtual_tokens=6, lr=.1), BASE
    if below:
        train(task, tmp_path/'under', method=below, **fields)
        base = flatten(BASE, [(tmp_path/'under', 'x', below == 'qlora')], tmp_path/'flat')
    train(task, tmp_path/'m', method=above, model=str(base), **fields)
    import torch
    plain, four = load_whole(base, dtype=torch.float32).eval(), above == 'qlora'
    peft = put_on((as_nf4 if four else lambda n: n)(load_whole(base, dtype=torch.float32)), tmp_path/'m').eval()
    assert not same(logits(peft), logits(plain)), 'the adapter changes what is said'
    asked = [task['tok'].apply_chat_template([dict(role='user', content=t)], add_generation_prompt=True,
                                             return_dict=True)['input_ids']
             for t in ('Hello', 'My order 1234 has not come yet')]
    end = task['tok'].eos_token_id
    want = [greedy(peft, ids, 8, end) for ids in asked]
    served = into_memory(base, tmp_path/'m', nf4=four, merge=True)
    loop, got = Loop(served, width=2), SimpleQueue()
    loop.start()
    for i, ids in enumerate(asked): loop.submit(Job(ids, 8, lambda piece, i=i: got.put((i, piece)), temperature=0.))
    said, open_ = [[], []], 2
    while open_:
        i, piece = got.get(timeout=60)
        assert 'error' not in piece, piece
        said[i] += piece['token_ids']
        open_ -= bool(piece['finish_reason'])
    loop.close()
    assert said == want
    assert ([a['token_ids'] for a in answers(into_memory(base, tmp_path/'m', nf4=four), asked, 8)]
            == [[t for t in w if t != end] for w in want]), 'and evaluated alike, two at a time'
    assert served.context == plain.config.max_position_embeddings-(6 if above in PROMPTS else 0)


def test_a_learned_prompt_on_top_of_an_adapter_is_deployed(at):
    ws, base, data, first = at
    top = ws.sft(first, data, out='top', method='prompt', onto='stack', virtual_tokens=4, lr=.3, max_steps=3, batch=4)
    ship = ws.release(top, engine='transformers', options=dict(threads=1))
    assert (ship.body['model']['digest'], ship.body['adapter']['digest']) == (base.digest, top.digest)
    ws.waive(ship, 'a test')
    up = ws.deploy(ship, out='up')
    try: said = ws.chat(up, message='Hello', max_tokens=8)['answer']
    finally: ws.stop(up)
    import torch
    net = put_on(fold(load_whole(files(ws.store, base), dtype=torch.float32), files(ws.store, first)),
                 files(ws.store, top)).eval()
    tok = open_tokenizer(files(ws.store, base))
    ids = tok.apply_chat_template([dict(role='user', content='Hello')], add_generation_prompt=True,
                                  return_dict=True)['input_ids']
    assert said == tok.decode(greedy(net, ids, 8, tok.eos_token_id), skip_special_tokens=True)


@pytest.mark.skipif(not engine('server', 'vllm').installed(), reason='vLLM is not installed: make vllm')
def test_vllm_serves_a_lora_adapter_beside_its_base_with_the_tokens_of_the_tuned_model(at):
    ws, base, data, first = at
    strong = ws.sft(base, data, out='strong', method='lora', max_steps=12, batch=8, rank=8, alpha=32, lr=.02)
    shown = ws.parity(strong, strong, data, n=4, max_tokens=8, need=1., engine='vllm',
                      options=dict(threads=1, max_len=256))
    assert shown.body['passed'], shown.body['gates']
    assert shown.body['subject']['adapter']['digest'] == strong.digest and shown.body['engine']['name'] == 'vllm'
    rows = [json.loads(x) for x in ws.store.blobs.get(shown.body['answers']['blob']).splitlines()]
    assert any(r['served'] != net_text(ws, base, r['prompt'][-1]['content'], 8)
               for r in rows), 'it is the adapter that answers, not the base'


def test_what_no_server_takes_is_said_before_it_starts(at, task, tmp_path):
    from llmops.engines.vllm import command, refuses
    ws, base, data, first = at
    def line(folder): return command(Path('python'), BASE, 'chat', 1, dict(adapter=str(folder)), True)
    got = line(files(ws.store, first))
    assert got[got.index('--lora-modules')+1] == f'chat={files(ws.store, first)}'
    assert got[got.index('--max-lora-rank')+1] == '8' and got[got.index('--served-model-name')+1] == 'chat-base'
    train(task, tmp_path/'dora', method='dora', max_steps=1)
    with pytest.raises(Invalid, match='this one is DoRA. Merge it first'): line(tmp_path/'dora')
    assert 'on a base in four bits' in refuses(BASE, files(ws.store, first), True)
    assert refuses(BASE, files(ws.store, first)) == ''
    learned = ws.sft(base, data, out='learned', method='prompt', max_steps=1, batch=4)
    with pytest.raises(Invalid, match='is a learned prompt.*Take engine=transformers'): line(files(ws.store, learned))
    if engine('server', 'vllm').installed():
        with pytest.raises(Invalid, match='is a learned prompt.*Take engine=transformers'):
            ws.release(learned, engine='vllm')
    assert ws.release(learned).body['serving']['engine'] == 'transformers', 'auto takes an engine that knows it'
    with pytest.raises(Invalid, match='is a learned prompt.*nothing to merge'): ws.merge(learned)
    assert ws.evaluate(learned, [data], rows=2).body['results']
    judge = ws.classify(base, ws.load(rows_with_classes(tmp_path), out='classes'), max_steps=1, batch=2, method='lora')
    with pytest.raises(Invalid, match='judges texts and writes no answers.*llmops train score --model'):
        ws.release(judge)


def rows_with_classes(folder: Path) -> Path:
    "A file of labelled texts"
    (folder/'classes.jsonl').write_text(
        '\n'.join(json.dumps(dict(text=f'This is text {i}', label='even' if i % 2 else 'odd')) for i in range(8)))
    return folder/'classes.jsonl'


def test_merging_what_needs_no_merging_is_said(at):
    ws, base, data, first = at
    with pytest.raises(Invalid,
                       match='model:tiny-qwen@1 has whole weights and no adapter, so there is nothing to merge'):
        ws.merge(base, out='copy')
    whole = ws.merge(first, out='whole')
    with pytest.raises(Invalid, match='model:whole@1 has whole weights'): ws.merge(whole, out='again')
    full = ws.sft(base, data, out='full', method='full', max_steps=1, batch=4)
    with pytest.raises(Invalid, match='model:full@1 was tuned whole.*--out model:NAME'): ws.merge(full)
    assert ws.merge(full, out='named').body['merged']['ref'] == str(full.ref)
    assert {v.name for v in ws.store.find('model')} == {'tiny-qwen', 'first', 'whole', 'full', 'named'}
