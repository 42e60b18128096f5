"An estimate is held against what transformers, PEFT, autograd and the kernel count themselves."
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmops.core import Invalid, LlmopsError
from llmops.devices import Device
from llmops.engines.trl_lean import uncopied
from llmops.faces import cli
from llmops.modelfolder import describe
from llmops.training.estimate import estimate, known, lengths
from llmops.training.memory import Job, block_bytes, parts
from llmops.training.plan import fits, job_of, nearest_fit
from llmops.training.shape import learning, settings_of, shape
from llmops.tuning import complete

ROOT = Path(__file__).resolve().parent.parent
BASE = ROOT/'assets'/'tiny-qwen'
SIZE = dict(vocab_size=500, hidden_size=64, num_hidden_layers=4, num_attention_heads=8, num_key_value_heads=2,
            head_dim=16, intermediate_size=112,
            max_position_embeddings=256, pad_token_id=0, bos_token_id=1, eos_token_id=2, tie_word_embeddings=False)
MLA = dict(kv_lora_rank=16, q_lora_rank=24, qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=8, n_routed_experts=4,
           num_experts_per_tok=2, moe_intermediate_size=32, n_shared_experts=1, first_k_dense_replace=1)
FAMILIES = dict(Llama={}, Mistral={}, Qwen2={}, Qwen3={}, Glm={}, Glm4={}, Gemma2={}, Phi3={}, SmolLM3={},
                GPT2=dict(n_embd=64, n_layer=4, n_head=8, n_positions=256, n_inner=112),
                Mixtral=dict(num_local_experts=4, num_experts_per_tok=2),
                Qwen3Moe=dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32), DeepseekV2=MLA,
                Glm4Moe=dict(n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, n_shared_experts=1,
                             first_k_dense_replace=1, n_group=1, topk_group=1))


def model(family, on='cpu', **more):
    import torch
    import transformers
    c = getattr(transformers, f'{family}Config')(**(SIZE | FAMILIES.get(family, {}) | more))
    torch.manual_seed(0)
    with torch.device(on):
        return getattr(transformers, f'{family}LMHeadModel' if family == 'GPT2' else f'{family}ForCausalLM')(c)


def lora(net, rank=4):
    import peft
    return peft.get_peft_model(net, peft.LoraConfig(r=rank, target_modules='all-linear', task_type='CAUSAL_LM'))


# --- counts ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('tied', [False, True])
@pytest.mark.parametrize('family', FAMILIES)
def test_weights_are_as_many_as_transformers_makes(family, tied):
    import torch
    net = model(family, 'meta', tie_word_embeddings=tied)
    s = shape(net.config.to_dict())
    assert s.total == sum(p.numel() for p in net.parameters())
    with torch.device('meta'): got = lora(net)
    assert learning(s, dict(method='lora', rank=4)) == got.get_nb_trainable_parameters()[0]


@pytest.mark.parametrize('change', [dict(hidden_size=-1), dict(num_hidden_layers=10**12), dict(vocab_size='many'),
                                    dict(num_attention_heads=True), dict(hidden_size=None)])
def test_settings_that_no_model_has(change):
    with pytest.raises(Invalid, match='config.json'): shape(dict(model_type='llama', **(SIZE | change)))


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from([*SIZE, 'model_type', 'num_local_experts', 'num_experts_per_tok',
                                        'first_k_dense_replace', 'kv_lora_rank', 'mlp_only_layers', 'text_config']),
                       st.one_of(st.none(), st.booleans(), st.integers(-2, 70), st.text(max_size=5),
                                 st.lists(st.integers(0, 3), max_size=2), st.floats())))
def test_no_settings_end_in_a_traceback(change):
    try: s = shape({'model_type': 'llama', **SIZE, **change})
    except Invalid: return
    assert s.total > 0 and s.met > 0 and parts(s, Job()).total > 0 and settings_of(dict(change)) is not None


# --- activations ----------------------------------------------------------------------------------------------------

def kept(net, ids, half) -> float:
    "Bytes that autograd keeps in the blocks, weights and their copies left out"
    import torch
    own = ({p.untyped_storage().data_ptr() for p in net.parameters()}
           | {b.untyped_storage().data_ptr() for b in net.buffers()})
    small = {tuple(p.shape) for p in net.parameters()} | {tuple(p.shape)[::-1] for p in net.parameters()}
    hold = {}

    def pack(t):
        at = t.untyped_storage()
        if at.data_ptr() not in own and tuple(t.shape) not in small: hold[at.data_ptr()] = (at.nbytes(), t)
        return t
    body = net.get_base_model().model if hasattr(net, 'peft_config') else net.model
    with (torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t),
          torch.autocast('cpu', torch.bfloat16, enabled=half)):
        body(input_ids=ids, use_cache=False)
    return sum(n for n, _ in hold.values())


@pytest.mark.parametrize('family', ['Llama', 'Qwen2', 'Qwen3'])
@pytest.mark.parametrize('method, half', [('full', False), ('full', True), ('lora', False), ('lora', True)])
def test_a_block_keeps_what_autograd_keeps(family, method, half):
    import torch
    ids, got = torch.randint(3, 500, (3, 50)), {}
    for layers in (1, 3):
        net = model(family, num_hidden_layers=layers, hidden_size=72, head_dim=20, intermediate_size=136)
        if half and method == 'lora': net = net.to(torch.bfloat16)
        config = net.config.to_dict()
        net = lora(net) if method == 'lora' else net
        uncopied(dict(method=method), net)
        got[layers] = kept(net, ids, half)
    per_token = (got[3]-got[1])/2/ids.numel()
    assert block_bytes(shape(config), Job(method, half=half, rank=4)) == pytest.approx(per_token, rel=.01)


# --- the peak of a real training ------------------------------------------------------------------------------------

PEAK = '''
import json, sys, tempfile, warnings
warnings.filterwarnings('ignore')
from pathlib import Path
def status(k): return next(int(x.split()[1])*1024 for x in open('/proc/self/status') if x.startswith(k))
at, method, rows, tokens = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
import torch, transformers, trl, peft, datasets
from llmops.engines import trl_work
from llmops.engines.trl_data import open_tokenizer
from llmops.tuning import complete
job = complete(dict(stage='sft', max_steps=2, batch=rows, micro_batch=rows, method=method, log_every=1, checkpointing='off'))
job |= dict(model=at, rows='', out='', work='', resume='', eval='', adapter='', teacher='', reward='')
ids = [[5+(i*7+k) % 500 for k in range(tokens)] for i in range(2*rows)]
before = status('VmRSS')
t = trl_work.make(job, open_tokenizer(Path(at)), dict(input_ids=ids, labels=ids), None, Path(tempfile.mkdtemp()))
open('/proc/self/clear_refs', 'w').write('5') # Loading is over: the peak of training alone
t.train()
print(json.dumps(dict(before=before, peak=status('VmHWM'))))
'''


@pytest.mark.parametrize('method', ['full'])
def test_the_peak_of_a_training_is_as_estimated(method, tmp_path):
    import shutil
    net = model('Llama', vocab_size=8000, hidden_size=256, num_hidden_layers=6, num_key_value_heads=4, head_dim=32,
                intermediate_size=768, max_position_embeddings=512)
    net.save_pretrained(tmp_path/'m')
    for n in ('tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja'):
        if (BASE/n).exists(): shutil.copyfile(BASE/n, tmp_path/'m'/n)
    r = subprocess.run([sys.executable, '-c', PEAK, str(tmp_path/'m'), method, '4', '384'], capture_output=True,
                       text=True, env={**os.environ, 'OMP_NUM_THREADS': '1'}, timeout=300)
    assert r.returncode == 0, r.stderr[-2000:]
    real = json.loads(r.stdout.splitlines()[-1])
    said = parts(shape(net.config.to_dict()), Job(method, rows=4, tokens=384))
    print(said.total/real['peak'], (said.total-said.process)/(real['peak']-real['before']), real)
    assert said.total == pytest.approx(real['peak'], rel=.15)
    assert said.total-said.process == pytest.approx(real['peak']-real['before'], rel=.25)


# --- plans ----------------------------------------------------------------------------------------------------------

def config(hidden, layers, ffn, vocab=32000):
    return dict(SIZE, model_type='llama', hidden_size=hidden, num_hidden_layers=layers, intermediate_size=ffn,
                vocab_size=vocab, head_dim=hidden//8, max_position_embeddings=8192)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([256, 1024, 4096]), st.integers(2, 40), st.sampled_from(['full', 'lora', 'qlora', 'freeze']),
       st.integers(1, 64), st.integers(64, 8192), st.floats(.2, 200))
def test_the_nearest_that_fits_fits_and_keeps_the_rows_of_a_step(hidden, layers, method, batch, tokens, gib):
    s, d = shape(config(hidden, layers, 3*hidden)), Device('cuda', 'x', int(gib*2**30), int(gib*2**30))
    j = job_of(complete(dict(stage='sft', method=method, batch=batch)), d, tokens)
    near = nearest_fit(s, j, d)
    if fits(s, j, d): assert near == j
    elif near:
        assert fits(s, near, d) and near.rows*near.times == batch and near.tokens <= tokens and (near.keep or j.keep)


@pytest.mark.parametrize('less', [dict(method='lora'), dict(keep=False), dict(rows=4), dict(tokens=512),
                                  dict(optimizer='adamw_8bit'), dict(parallel='zero3', nproc=4),
                                  dict(parallel='fsdp2', nproc=4), dict(parallel='zero2', nproc=4),
                                  dict(parallel='tp', nproc=4), dict(method='qlora'), dict(method='freeze')])
def test_what_saves_memory_saves_it(less):
    s, j = shape(config(2048, 16, 8192, 128256)), dict(method='full', rows=8, tokens=2048, gpu=True, half=True)
    assert parts(s, Job(**(j | less))).total < .95*parts(s, Job(**j)).total


def test_sixteen_bit_copies_and_gradients_are_not_there_together():
    s, few = shape(config(4096, 32, 14336, 128256) | dict(num_attention_heads=32, num_key_value_heads=8,
                                                          head_dim=128)), dict(tokens=64, gpu=True, half=True)
    p = parts(s, Job('full', **few))
    # An 8B model with fp32 weights has room on a card of 141 GB
    assert s.total*16 < p.total-p.process < s.total*16.5 and p.parameters == s.total*4+s.blocks*2
    again = parts(s, Job('full', times=2, **few)) # The second part's copies meet the first part's gradients
    assert again.total-again.process > s.total*16+s.blocks*2
    tied = shape(config(896, 24, 4864, 151936) | dict(tie_word_embeddings=True))
    # Both ends of a shared table have a gradient
    assert parts(tied, Job('full', **few)).total-parts(tied, Job('full', **few)).process >= tied.total*16+tied.embed*4


def test_another_model_beside_it_counts():
    s = shape(config(1024, 8, 3072))
    assert parts(s, Job('full', stage='dpo')).others == s.total*4 and parts(s, Job('lora', stage='dpo')).others == 0
    assert parts(s, Job('full', stage='distil'), teacher=s).others == s.total*4


# --- the view -------------------------------------------------------------------------------------------------------

@pytest.fixture
def here(ws, tmp_path, monkeypatch) -> Iterator:
    monkeypatch.setenv('LLMOPS_STORE', str(ws.store.folder))
    ws.store.put('model', 'tiny', dict(describe(BASE), files=ws.store.blobs.put_folder(BASE)))
    ws.samples(rows=60, dirty=False)
    yield ws


def asked(capsys, *argv, rc=0) -> dict:
    capsys.readouterr()
    assert cli.main(['estimate', *argv, '--json']) == rc
    out, err = capsys.readouterr()
    assert 'Traceback' not in err
    return {r['what']: r for r in json.loads(out)} if not rc else err


def test_a_version_a_folder_and_its_settings_alone_give_one_answer(here, capsys):
    a, b, c = (asked(capsys, '--model', m, '--method', 'lora', '--device', 'cpu', '--max-length', '200')
               for m in ('model:tiny', str(BASE), str(BASE/'config.json')))
    for x in (a, b, c):
        assert x['total']['bytes'] == pytest.approx(
            sum(r['bytes'] for r in x.values()
                if r['what'] in parts(shape(json.loads((BASE/'config.json').read_text())), Job()).__dict__), abs=10)
    assert a['total']['bytes'] == b['total']['bytes'] == c['total']['bytes'] and a['fits']['size'] == 'yes'
    assert a['model']['size'] == '886,144 weights'
    assert a['free']['bytes'] > 0 and a['total']['bytes'] > a['parameters']['bytes'] > 0


def test_rows_are_counted_in_the_models_own_tokens(here):
    from transformers import AutoTokenizer
    from llmops.rows import rows
    v, tok = here.store.get('dataset:tickets'), AutoTokenizer.from_pretrained(BASE)
    real = [len(tok.apply_chat_template(r['messages'], return_dict=True)['input_ids']) for r in rows(here.store, v)]
    got = lengths(here.store, v, known(here.store, 'model:tiny').tokenizer)
    assert got.rows == 60 and got.longest >= max(real) and got.longest <= 2*max(real)
    assert sum(real)/60 <= got.mean <= 2*sum(real)/60


def test_time_and_cost_are_unknown_until_somebody_knows_them(here, capsys):
    argv = ('--model', 'model:tiny', '--data', 'dataset:tickets', '--max-steps', '100', '--batch', '8',
            '--device', 'cpu')
    got = asked(capsys, *argv)
    assert (got['time']['size'], got['cost']['size']) == ('unknown', 'unknown')
    v, at = here.store.get('model:tiny'), 'run:000000000001aaaaaa'
    record = dict(id=at[4:], verb='sft', status='done', args=dict(method='full'),
                  reads=dict(model=dict(ref=str(v.ref), digest=v.digest)), writes=[], by='x', parent='',
                  started=1., ended=2.)
    here.store.append_many([('run.start', at, record), *(('step', at, dict(step=i, loss=1., tokens_per_s=r))
                                                         for i, r in enumerate((900, 1000, 1100)))])
    got = asked(capsys, *argv)
    tokens = int(got['time']['note'].split(' tokens')[0].split()[-1].replace(',', ''))
    assert '1,000 a second, as 1 earlier run' in got['time']['note'] and got['time']['size'] == f'{tokens/1000:.0f} s'
    assert got['cost']['size'] == 'unknown'
    assert asked(capsys, *argv, '--method', 'lora')['time']['size'] == 'unknown'
    here.store.put('price', 'this', dict(per_hour=7.2, currency='EUR', device='cpu'))
    assert asked(capsys, *argv)['cost']['size'] == f'{tokens/1000/3600*7.2:.2g} EUR'


def test_what_does_not_fit_says_the_nearest_that_does(here, capsys, tmp_path):
    (tmp_path/'config.json').write_text(json.dumps(config(4096, 32, 14336, 128256)))
    argv = ('--model', str(tmp_path/'config.json'), '--max-length', '2048', '--memory', '80')
    got = asked(capsys, *argv, '--micro-batch', '32')
    assert got['fits']['size'] == 'no' and got['nearest']['bytes'] <= .9*80*2**30
    again = asked(capsys, *argv, *got['nearest']['note'].split())
    assert again['fits']['size'] == 'yes' and again['total']['bytes'] == got['nearest']['bytes']


@pytest.mark.parametrize('argv, says', [
    ((), 'estimate needs a model'), (('--model', 'model:nobody'), 'model:nobody is not in this store'),
    (('--model', 'dataset:tickets'), 'is a dataset, not a model'),
    (('--model', '/nowhere/config.json'), 'is not there'),
    (('--model', 'model:tiny', '--method', 'magic'), 'is not one of'),
    (('--model', 'model:tiny', '--parallel', 'magic'), 'is not known'),
    (('--model', 'model:tiny', '--memory', '-3'), 'memory is -3'),
    (('--model', 'model:tiny', '--batch', '2', '--micro-batch', '4'), 'micro_batch is 4'),
    (('--model', 'broken.json'), 'is not JSON'), (('--model', 'empty.json'), 'does not say hidden_size'),
    (('--model', '.'), 'holds no config.json')])
def test_questions_that_cannot_be_answered(argv, says, here, capsys, tmp_path):
    (tmp_path/'broken.json').write_text('{"hidden_size": ')
    (tmp_path/'empty.json').write_text('{"model_type": "llama"}')
    assert says in asked(capsys, *argv, rc=1)


def test_an_empty_dataset_has_no_longest_row(here):
    here.store.put('dataset', 'none', here.store.get('dataset:tickets').body | dict(rows=0, files=[]))
    with pytest.raises(LlmopsError, match='no rows'): estimate(here.store, 'model:tiny', here.store.get('dataset:none'))
