"What a training refuses, through the command line itself: a sentence with the next command, no traceback, nothing lost."
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import llmops
from llmops.faces import cli
from llmops.modelfolder import describe

BASE = Path(__file__).resolve().parent.parent/'assets'/'tiny-qwen'


def talk(q='How are you?', a='Well.'):
    return dict(messages=[dict(role='user', content=q), dict(role='assistant', content=a)])


def add_model(ws, name, folder, **more):
    "Past the checks of `llmops add`, as an older store or another program may have done"
    return ws.store.put('model', name, dict(describe(folder), files=ws.store.blobs.put_folder(folder), **more))


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    "A workspace with the small model and data that can be learned"
    import transformers.integrations.integration_utils # noqa: F401  (prints a line once where WANDB_MODE is offline)
    d = tmp_path_factory.mktemp('bad')
    was = Path.cwd()
    os.chdir(d)
    ws = llmops.open(d/'ws')
    add_model(ws, 'tiny', BASE)
    (d/'good.jsonl').write_text(
        '\n'.join(json.dumps(talk(f'What is {i} and {i}?', f'It is {i+i}.')) for i in range(24)))
    ws.load(d/'good.jsonl', out='good')
    yield ws, d
    ws.store.close()
    os.chdir(was)


@pytest.fixture
def refused(place, capsys, monkeypatch):
    "Run a command that must be refused; the listing, every blob and the chain of events are as before"
    ws, d = place
    monkeypatch.setenv('LLMOPS_STORE', str(ws.store.folder))
    monkeypatch.chdir(d)

    def f(*argv, says, rc=1):
        before = [(str(v.ref), v.digest) for v in ws.store.find(all=True)]
        capsys.readouterr()
        got = cli.main(list(argv))
        out, err = capsys.readouterr()
        assert got == rc, (got, out, err)
        said = [x for x in err.splitlines() if x.startswith('llmops: ')]
        assert len(said) == 1 and says in said[0], err
        assert 'Traceback' not in out+err and 'is a bug' not in err and out == ''
        assert [(str(v.ref), v.digest) for v in ws.store.find(all=True)] == before
        assert ws.store.verify() == [] and not list((ws.store.folder/'tmp').glob('*/model*'))
        return said[0]
    return f


def load(ws, d, name, rows):
    (d/f'{name}.jsonl').write_text('\n'.join(map(json.dumps, rows)))
    return ws.load(d/f'{name}.jsonl', out=name)


def train(name, *more, stage='sft', model='model:tiny'):
    return ('train', stage, '--model', model, '--data', f'dataset:{name}', '--max-steps', '2', '--batch', '2', '--out',
            'model:out', *more)


# --- data -----------------------------------------------------------------------------------------------------------

def test_a_training_that_is_not_refused_ends_well(place, monkeypatch):
    "What the others are refused is what they say, not something that all of them lack"
    ws, d = place
    monkeypatch.setenv('LLMOPS_STORE', str(ws.store.folder))
    assert cli.main(list(train('good', '--max-length', '128'))) == 0
    assert ws.store.get('model:out').body['recipe']['micro_batch'] == 2


def test_no_rows_and_one_row(place, refused):
    ws, d = place
    load(ws, d, 'one', [talk()])
    assert 'llmops data import' in refused(*train('one'), says='dataset:one@1 has 1 row')
    ws.store.put('dataset', 'none', ws.store.get('dataset:one').body | dict(rows=0, files=[]))
    refused(*train('none'), says='dataset:none@1 has no rows')
    (d/'empty.jsonl').write_text('')
    refused('data', 'import', 'empty.jsonl', 'dataset:empty', says='empty.jsonl')


@pytest.mark.parametrize('stage, rows, leads',
                         [('sft', [dict(a=1, b='x')]*4, 'llmops data convert {} --to messages'),
                          ('dpo', [talk()]*4, 'Bring such rows in with: llmops data import FILE dataset:NAME'),
                          ('kto', [talk()]*4, 'llmops data label {} --task dialogue'),
                          ('pretrain', [talk()]*4, 'llmops data convert {} --to text')])
def test_a_column_that_is_missing(stage, rows, leads, place, refused):
    ws, d = place
    load(ws, d, f'cols-{stage}', rows)
    said = refused(*train(f'cols-{stage}', stage=stage), says=f'dataset:cols-{stage}@1 holds')
    assert leads.format(f'dataset:cols-{stage}@1') in said


def test_rows_that_are_all_longer_than_the_context(place, refused):
    ws, d = place
    load(ws, d, 'long', [talk(f'{i} '+'word '*3000) for i in range(4)])
    said = refused(*train('long'), says='4 of 4 rows have no answer within 1024 tokens')
    assert 'max_length' in said or 'longer context' in said
    refused(*train('good', '--max-length', '4'), says='24 of 24 rows have no answer within 4 tokens')
    refused(*train('good', '--max-length', '64', '--method', 'prompt', '--virtual-tokens', '64'),
            says='virtual_tokens is 64, and a row has at most 64 tokens in all')


def test_a_later_stage_of_a_pipeline_is_looked_at_before_the_first_is_trained(place, refused):
    ws, d = place
    stages = json.dumps([dict(verb='sft', data='dataset:good', max_steps=1), dict(verb='dpo', data='dataset:good')])
    refused('train', 'pipeline', '--model', 'model:tiny', '--stages', stages, '--out', 'chain',
            says='Stage 2, dpo: dataset:good@1 holds messages')


@pytest.mark.parametrize('out', ['bad name', 'model:../x', 'model:'+'x'*200, 'model:a/b', 'elsewhere:x'])
def test_a_name_that_cannot_be_is_refused_before_the_training(out, place, refused):
    before = len(place[0].runs())
    refused(*train('good')[:-1], out, says='cannot be a name')
    assert len(place[0].runs()) == before


# --- models ---------------------------------------------------------------------------------------------------------

def altered(d, name, change):
    out = d/name
    shutil.copytree(BASE, out)
    change(out)
    return out


def tokenizer(**to):
    def f(p):
        file = p/'tokenizer_config.json'
        c = json.loads(file.read_text()) | to
        file.write_text(json.dumps({k: v for k, v in c.items() if v is not None}))
        if 'chat_template' in to: (p/'chat_template.jinja').unlink(missing_ok=True)
    return f


def test_a_tokenizer_without_pad_or_template(place, refused):
    ws, d = place
    add_model(ws, 'no-pad', altered(d, 'no-pad', tokenizer(pad_token=None, eos_token=None)))
    assert 'llmops add' in refused(*train('good', model='model:no-pad'), says='neither a pad nor an end token')
    add_model(ws, 'no-template', altered(d, 'no-template', tokenizer(chat_template=None)))
    assert 'llmops add' in refused(*train('good', model='model:no-template'), says='no chat template')


def test_weights_that_are_no_numbers(place, refused):
    import torch
    from safetensors.torch import load_file, save_file
    ws, d = place

    def spoil(p):
        w = load_file(p/'model.safetensors')
        w['model.layers.1.mlp.up_proj.weight'][3, 5] = torch.nan
        save_file(w, p/'model.safetensors', metadata=dict(format='pt'))
    bad = altered(d, 'nan', spoil)
    refused('add', 'model:nan', str(bad), says='model.layers.1.mlp.up_proj.weight')
    add_model(ws, 'nan', bad)
    said = refused(*train('good', model='model:nan'),
                   says='model.layers.1.mlp.up_proj.weight holds values that are no numbers')
    assert 'llmops ls model' in said


def test_an_adapter_of_another_base(place, refused):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM
    ws, d = place
    small = Qwen3ForCausalLM(Qwen3Config(vocab_size=768, hidden_size=64, num_hidden_layers=2, num_attention_heads=2,
                                         num_key_value_heads=1, head_dim=32,
                                         intermediate_size=64, pad_token_id=0, eos_token_id=2))
    torch.manual_seed(0)
    get_peft_model(small, LoraConfig(r=4, target_modules='all-linear', task_type='CAUSAL_LM')).save_pretrained(
        d/'other')
    (d/'other'/'README.md').unlink(missing_ok=True)
    tiny = ws.store.get('model:tiny')
    add_model(ws, 'other', d/'other', base=dict(ref=str(tiny.ref), digest=tiny.digest))
    for argv in (train('good', '--method', 'lora', model='model:other'), ('merge', 'model:other', '--out', 'model:m')):
        assert 'llmops ' in refused(*argv, says='model:other' if argv[0] == 'merge' else 'adapter')
    right = get_peft_model(AutoModelForCausalLM.from_pretrained(BASE),
                           LoraConfig(r=4, target_modules='all-linear', task_type='CAUSAL_LM'))
    right.save_pretrained(d/'right')
    (d/'right'/'README.md').unlink(missing_ok=True)
    add_model(ws, 'right', d/'right', base=dict(ref=str(tiny.ref), digest='0'*64))
    assert 'model:tiny@1' in refused(*train('good', '--method', 'lora', model='model:right'), says='model:right')


def test_rows_that_would_see_each_other_are_not_packed(place, refused):
    import torch
    from transformers import FalconConfig, FalconForCausalLM
    ws, d = place
    torch.manual_seed(0)

    def swap(p):
        (p/'model.safetensors').unlink()
        FalconForCausalLM(FalconConfig(vocab_size=768, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                                       pad_token_id=0, eos_token_id=2)).save_pretrained(p)
    add_model(ws, 'falcon', altered(d, 'falcon', swap))
    assert '--no-packing' in refused(*train('good', '--packing', '--max-length', '256', model='model:falcon'),
                                     says='FalconForCausalLM does not keep them apart')


def test_a_tokenizer_with_more_tokens_than_the_weights(place, refused):
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM
    ws, d = place
    torch.manual_seed(0)

    def swap(p):
        (p/'model.safetensors').unlink()
        Qwen3ForCausalLM(Qwen3Config(vocab_size=60, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                                     num_key_value_heads=1, head_dim=16, intermediate_size=32,
                                     pad_token_id=0, eos_token_id=2)).save_pretrained(p)
    add_model(ws, 'few', altered(d, 'few', swap))
    refused(*train('good', model='model:few'), says='and its weights end at 59')


# --- devices and memory ---------------------------------------------------------------------------------------------

def test_a_gpu_where_none_is(place, refused, monkeypatch):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    said = refused(*train('good', '--device', 'cuda'), says='No GPU is found on this machine')
    assert 'device=cpu' in said and "CUDA_VISIBLE_DEVICES is ''" in said
    refused('estimate', '--model', 'model:tiny', '--device', 'cuda', says='No GPU is found on this machine')


def test_a_model_that_does_not_fit_is_refused_before_it_is_loaded(place, refused):
    "Its weights are not even there: what the settings say is enough"
    ws, d = place
    big = json.loads((BASE/'config.json').read_text()) | dict(
        hidden_size=16384, num_hidden_layers=126, num_attention_heads=128, intermediate_size=53248, head_dim=128)
    out = d/'big'
    out.mkdir()
    for n in ('tokenizer.json', 'tokenizer_config.json'): shutil.copyfile(BASE/n, out/n)
    (out/'config.json').write_text(json.dumps(big))
    body = dict(ws.store.get('model:tiny').body, files=ws.store.blobs.put_folder(out), parameters=400_000_000_000)
    ws.store.put('model', 'big', body)
    said = refused(*train('good', model='model:big'), says='model:big@1 with method full')
    assert 'is free' in said or 'free' in said and ('The nearest that fits' in said or 'take a smaller model' in said)


SMALL = '''
import resource, sys
import torch, transformers, trl, peft, datasets # What a process takes before any weight
from llmops.faces import cli
have = int(next(x for x in open('/proc/self/statm').read().split()))*resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (have+int(sys.argv[1])*2**20,)*2)
sys.exit(cli.main(sys.argv[2:]))
'''


def test_half_the_rows_where_memory_was_not_enough(place):
    "A process that may not have more address space runs out of memory for real, and ends with the model all the same"
    ws, d = place
    load(ws, d, 'wide', [talk(f'{i}', 'word '*180) for i in range(32)])
    argv = train('wide', '--batch', '32', '--max-steps', '1', '--out', 'model:halved')
    r = subprocess.run([sys.executable, '-c', SMALL, '1000', *argv], cwd=d,
                       env={**os.environ, 'LLMOPS_STORE': str(ws.store.folder), 'OMP_NUM_THREADS': '1'},
                       capture_output=True, text=True, timeout=300)
    assert r.returncode == 0, r.stderr[-3000:]
    run = next(x for x in ws.runs() if x['made'] and 'model:halved@1' in str(x['made']))
    said = [e.data.get('message', '') for e in ws.store.events('step', run['ref'])]
    halved = [m for m in said if 'were too many for the memory' in m]
    assert halved and all('a step keeps its 32 rows' in m for m in halved)
    recipe = ws.store.get('model:halved').body['recipe']
    assert recipe['batch'] == 32 and recipe['micro_batch'] < 32


# --- leaks ----------------------------------------------------------------------------------------------------------

def test_rows_of_a_benchmark_in_the_data_are_named(place, monkeypatch):
    ws, d = place
    monkeypatch.setenv('LLMOPS_STORE', str(ws.store.folder))
    asked = [talk(f'Which river flows through the town number {i} of the northern province?', f'River {i} flows there.')
             for i in range(12)]
    load(ws, d, 'leaky', asked[:6]+[talk(f'Say {i} in words, please, and then in digits.', f'{i}') for i in range(20)])
    (d/'bench.jsonl').write_text('\n'.join(map(json.dumps, asked)))
    assert cli.main(['add', 'benchmark:rivers', str(d/'bench.jsonl')]) == 0
    from llmops.training.fit import leaks
    said = leaks(ws.store, ws.store.get('dataset:leaky'))
    assert len(said) == 1 and '6 rows of dataset:leaky@1' in said[0] and 'benchmark:rivers@1 (6 of its 12)' in said[0]
    assert 'llmops data leaks' in said[0]
    assert leaks(ws.store, ws.store.get('dataset:good')) == []
