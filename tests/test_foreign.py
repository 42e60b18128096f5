"""Other trainers: what is written for them, what is refused, and a real run where one is installed."""
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from llmops.core import Failed, Invalid
from llmops.data.samples import draw, write_rows
from llmops.engines import axolotl, llamafactory, megatron, outside
from llmops.modelfolder import describe
from llmops.ports import Trainer, engine
from llmops.tuning import complete, defaults

BASE = Path(__file__).resolve().parent.parent/'assets'/'tiny-qwen'
NAMES = ('llamafactory', 'axolotl', 'megatron')
TALK = dict(messages=[dict(role='user', content='hi'), dict(role='assistant', content='ho')])
PAIR = dict(prompt=[dict(role='user', content='hi')], chosen=[dict(role='assistant', content='ho')],
            rejected=[dict(role='assistant', content='no')])


def rows(at: Path, *all: dict) -> Path:
    at.write_text('\n'.join(json.dumps(r) for r in all))
    return at


def written(name: str, at: Path, *all: dict, **recipe) -> dict:
    "Their configuration, as they will read it"
    engine('trainer', name).files(recipe, BASE, rows(at.parent/'in.jsonl', *all), at)
    return yaml.safe_load((at/'train.yaml').read_text())


def test_engines_obey_their_port():
    for n in NAMES: assert isinstance(engine('trainer', n), Trainer)


def test_llamafactory_configuration_of_a_lora(tmp_path):
    got = written('llamafactory', tmp_path/'f', TALK, TALK, method='lora', max_steps=40, batch=16, micro_batch=4,
                  rank=8, alpha=16, lr=1e-4, save_steps=10, device='cpu', assistant_only=False)
    assert got == dict(
        model_name_or_path=str(BASE), stage='sft', do_train=True, finetuning_type='lora', dataset='rows',
        dataset_dir=str(tmp_path/'f'), cutoff_len=1024,
        output_dir=str(tmp_path/'f'/'out'), overwrite_output_dir=True, per_device_train_batch_size=4,
        gradient_accumulation_steps=4, learning_rate=1e-4,
        lr_scheduler_type='linear', weight_decay=0., max_grad_norm=1., optim='adamw_torch', logging_steps=10, seed=0,
        report_to='none', plot_loss=False,
        trust_remote_code=False, max_steps=40, warmup_steps=2, save_strategy='steps', save_steps=10, save_total_limit=2,
        lora_rank=8, lora_alpha=16,
        lora_dropout=0., lora_target='all', train_on_prompt=True, packing=False, neat_packing=False, use_cpu=True)
    info = json.loads((tmp_path/'f'/'dataset_info.json').read_text())['rows']
    assert info['formatting'] == 'openai' and info['columns'] == dict(messages='messages', tools='tools')
    assert [json.loads(x) for x in (tmp_path/'f'/'rows.jsonl').read_text().splitlines()] == [TALK | dict(tools='')]*2


@pytest.mark.parametrize('stage, row, theirs, columns', [
    ('pretrain', dict(text='a b'), dict(text='a b'), dict(prompt='text')),
    ('dpo', PAIR, dict(prompt=PAIR['prompt'], chosen=PAIR['chosen'][0], rejected=PAIR['rejected'][0]),
     dict(messages='prompt', chosen='chosen', rejected='rejected')),
    ('reward', PAIR, dict(prompt=PAIR['prompt'], chosen=PAIR['chosen'][0], rejected=PAIR['rejected'][0]),
     dict(messages='prompt', chosen='chosen', rejected='rejected')),
    ('kto', dict(prompt=PAIR['prompt'], completion=PAIR['chosen'], label=True),
     dict(messages=PAIR['prompt']+PAIR['chosen'], label=True), dict(messages='messages', kto_tag='label'))])
def test_llamafactory_rows_of_each_stage(stage, row, theirs, columns, tmp_path):
    got = written('llamafactory', tmp_path/'f', row, row, stage=stage, max_steps=2)
    assert got['stage'] == dict(pretrain='pt', dpo='dpo', reward='rm', kto='kto')[stage]
    assert got.get('pref_beta') == (.1 if stage in ('dpo', 'kto') else None)
    assert json.loads((tmp_path/'f'/'dataset_info.json').read_text())['rows']['columns'] == columns
    assert json.loads((tmp_path/'f'/'rows.jsonl').read_text().splitlines()[0]) == theirs


def test_axolotl_configuration(tmp_path):
    got = written('axolotl', tmp_path/'f', TALK, TALK, method='qlora', max_steps=40, batch=16, micro_batch=4, rank=8,
                  alpha=16, lr=1e-4, precision='bf16')
    assert {k: got[k] for k in ('base_model', 'adapter', 'load_in_4bit', 'lora_r', 'lora_alpha', 'lora_target_linear',
                                'micro_batch_size', 'gradient_accumulation_steps',
                                'max_steps', 'warmup_steps', 'bf16', 'chat_template', 'sequence_len')} == dict(
        base_model=str(BASE), adapter='qlora', load_in_4bit=True, lora_r=8, lora_alpha=16, lora_target_linear=True,
        micro_batch_size=4, gradient_accumulation_steps=4,
        max_steps=40, warmup_steps=2, bf16=True, chat_template='tokenizer_default', sequence_len=1024)
    assert got['datasets'] == [dict(path=str(tmp_path/'f'/'rows.jsonl'), ds_type='json', split='train',
                                    type='chat_template', field_messages='messages',
                                    roles_to_train=['assistant'], train_on_eos='turn')]
    two = written('axolotl', tmp_path/'g', PAIR, PAIR, stage='dpo', max_steps=2, beta=.2)
    assert (two['rl'], two['dpo_beta'], two['datasets'][0]['type']) == ('dpo', .2, 'chat_template.default')


@pytest.mark.parametrize('name, recipe, says', [
    ('llamafactory', dict(method='ia3'), "LLaMA-Factory has no method 'ia3'"),
    ('llamafactory', dict(stage='grpo'), "LLaMA-Factory has no stage 'grpo'"),
    ('llamafactory', dict(parallel='pp', nproc=2), "LLaMA-Factory has no parallel 'pp'"),
    ('axolotl', dict(stage='kto'), "Axolotl has no stage 'kto'"),
    ('axolotl', dict(stage='dpo', loss='hinge'), "Axolotl has no loss 'hinge'"),
    ('megatron', dict(stage='sft', max_steps=2), "Megatron-LM has no stage 'sft'"),
    ('megatron', dict(stage='pretrain', max_steps=2, method='lora'), "Megatron-LM has no method 'lora'"),
    ('megatron', dict(stage='pretrain'), 'Give max_steps'),
    ('megatron', dict(stage='pretrain', max_steps=2, parallel='zero3', nproc=2), 'no zero3'),
    ('megatron', dict(stage='pretrain', max_steps=2, parallel='tp', nproc=4),
     '2 for keys and values, which 4 processes cannot share'),
    ('megatron', dict(stage='pretrain', max_steps=2, batch=9, parallel='ddp', nproc=2),
     'cannot be shared by 2 copies')])
def test_what_a_trainer_has_no_word_for_is_refused(name, recipe, says, tmp_path):
    with pytest.raises(Invalid) as e:
        list(engine('trainer', name).train(recipe, BASE, rows(tmp_path/'r', TALK | PAIR | dict(text='a'), TALK),
                                           tmp_path/'m'))
    assert says in str(e.value) and not (tmp_path/'m').exists()


# Where a number or a switch is not simply another one
OTHER = dict(method='dora', schedule='cosine', optimizer='sgd', precision='fp16', device='cpu', checkpointing='on',
             onto='stack', parallel='ddp', nproc=2, launcher='ray',
             targets='q_proj', loss='ipo', thinking='mask', save_steps=7)


@pytest.mark.parametrize('name, stage', [('llamafactory', s) for s in llamafactory.STAGES]
                         + [('axolotl', s) for s in axolotl.STAGES] + [('megatron', 'pretrain')])
def test_each_field_changes_what_is_started_or_is_refused(name, stage, tmp_path, monkeypatch):
    "No field of a recipe is left out without a word"
    (tmp_path/'exe').touch()
    (tmp_path/'pretrain_gpt.py').touch()
    for k in ('LLMOPS_LLAMAFACTORY', 'LLMOPS_AXOLOTL'): monkeypatch.setenv(k, str(tmp_path/'exe'))
    monkeypatch.setenv('MEGATRON_PATH', str(tmp_path))
    monkeypatch.setattr(megatron, 'cards', lambda: range(8))
    made, folder = engine('trainer', name), tmp_path/'f'
    def started(**recipe) -> str:
        c = outside.settled(dict(stage=stage, **recipe))
        how = made.launch(c, BASE, folder)
        return repr((made.texts(c, BASE, folder), how.cmd, how.env))
    grounds = ([dict(max_steps=40, save_steps=10)] if name == 'megatron'
               else [dict(method='lora', save_steps=10), dict(method='freeze')] if name == 'llamafactory'
               else [dict(method='lora', save_steps=10)])
    refused = set()
    for k, v in defaults(stage).items():
        if k == 'stage': continue
        other = OTHER[k] if k in OTHER else not v if isinstance(v, bool) else v+4 if isinstance(v, int) else v+.25
        changed = False
        for g in grounds:
            try: changed |= started(**(g | {k: other})) != started(**g)
            except Invalid: refused.add(k)
        assert changed or k in refused, k
    assert {'max_spike', 'onto', 'sample_steps', 'virtual_tokens', 'launcher'} <= refused
    assert not {'lr', 'batch', 'seed', 'warmup', 'max_length'} & refused


def test_one_row_and_answers_of_several_messages_are_refused(tmp_path):
    with pytest.raises(Invalid, match='The data has 1 row'): written('llamafactory', tmp_path/'f', TALK)
    long = PAIR | dict(chosen=PAIR['chosen']*2)
    for n in ('llamafactory', 'axolotl'):
        with pytest.raises(Invalid, match='compares single answers'):
            written(n, tmp_path/n, long, long, stage='dpo', max_steps=1)


def test_a_trainer_that_is_not_there_names_the_next_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('PATH', '/usr/bin:/bin')
    for k in ('LLMOPS_LLAMAFACTORY', 'LLMOPS_AXOLOTL', 'MEGATRON_PATH'): monkeypatch.delenv(k, raising=False)
    at = rows(tmp_path/'r', TALK | dict(text='a b'), TALK | dict(text='c'))
    for n, says in (('llamafactory', r'\.venv-llamafactory/bin/pip install llamafactory.*llmops train configure'),
                    ('axolotl', r'pip install axolotl'), ('megatron', 'MEGATRON_PATH is not set')):
        stage = 'pretrain' if n == 'megatron' else 'sft'
        with pytest.raises(Failed, match=says):
            list(engine('trainer', n).train(dict(stage=stage, max_steps=1), BASE, at, tmp_path/'m'))
        assert not (tmp_path/'m').exists()
    monkeypatch.setenv('LLMOPS_AXOLOTL', '/nowhere/axolotl')
    with pytest.raises(Failed, match='LLMOPS_AXOLOTL names /nowhere/axolotl, which is not there'):
        list(engine('trainer', 'axolotl').train(dict(max_steps=1), BASE, at, tmp_path/'m'))


def test_megatron_script(tmp_path):
    m = engine('trainer', 'megatron')
    cmd = m.files(dict(stage='pretrain', max_steps=100, batch=16, micro_batch=2, lr=1e-4, parallel='tp+pp', nproc=4,
                       precision='bf16', save_steps=50),
                  BASE, rows(tmp_path/'r', dict(text='a'), dict(text='b')), tmp_path/"it's")
    text = Path(cmd[1]).read_text()
    assert subprocess.run(['bash', '-n', cmd[1]]).returncode == 0
    args = dict(re.findall(r'^    (--\S+) ?(.*)$', text, re.M))
    assert {k: args[k] for k in ('--num-layers', '--hidden-size', '--ffn-hidden-size', '--num-attention-heads',
                                 '--num-query-groups', '--kv-channels', '--tensor-model-parallel-size',
                                 '--pipeline-model-parallel-size', '--micro-batch-size', '--global-batch-size',
                                 '--train-iters', '--seq-length', '--save-interval')} == {
        '--num-layers': '4', '--hidden-size': '128', '--ffn-hidden-size': '384', '--num-attention-heads': '4',
        '--num-query-groups': '2', '--kv-channels': '32',
        '--tensor-model-parallel-size': '2', '--pipeline-model-parallel-size': '2', '--micro-batch-size': '2',
        '--global-batch-size': '16', '--train-iters': '100', '--seq-length': '1024', '--save-interval': '50'}
    assert {'--qk-layernorm', '--group-query-attention', '--swiglu', '--sequence-parallel', '--bf16'} <= args.keys()
    assert '--untie-embeddings-and-output-weights' not in args
    assert (text.index('preprocess_data.py') < text.index('import_ckpt') < text.index('pretrain_gpt.py')
            < text.index('export_ckpt'))
    assert '--nproc-per-node 4' in text
    r = subprocess.run(['bash', cmd[1]], capture_output=True, text=True, env={'PATH': os.environ['PATH']})
    assert r.returncode and 'MEGATRON_PATH' in r.stderr
    with pytest.raises(Invalid, match='not BloomForCausalLM'):
        megatron.model_arguments(dict(architectures=['BloomForCausalLM']))


def test_configure_writes_a_folder_that_stands_alone(ws, tmp_path):
    base = ws.store.put('model', 'tiny-qwen', dict(describe(BASE), files=ws.store.blobs.put_folder(BASE)))
    data = ws.samples(rows=24, dirty=False)
    got = ws.configure(base, data, tmp_path/'there', trainer='llamafactory', method='lora', max_steps=4)
    c = yaml.safe_load((tmp_path/'there'/'train.yaml').read_text())
    assert c['model_name_or_path'] == str(tmp_path/'there'/'model')
    assert (tmp_path/'there'/'model'/'model.safetensors').exists()
    assert got['files'] == ['dataset_info.json', 'model', 'rows.jsonl', 'train.yaml']
    assert got['run'] == f'llamafactory-cli train {tmp_path}/there/train.yaml'
    with pytest.raises(Invalid, match='not an empty folder'):
        ws.configure(base, data, tmp_path/'there', trainer='llamafactory')
    with pytest.raises(Invalid, match='no method'):
        ws.configure(base, data, tmp_path/'other', trainer='llamafactory', method='ia3')
    assert not (tmp_path/'other').exists()


@pytest.mark.skipif(outside.found('llamafactory', 'llamafactory-cli') is None,
                    reason='no environment with LLaMA-Factory (LLMOPS_LLAMAFACTORY or .venv-llamafactory)')
def test_llamafactory_really_trains(tmp_path):
    at = write_rows(draw(60, dirty=False), tmp_path/'rows.jsonl')
    got = list(engine('trainer', 'llamafactory').train(dict(method='lora', max_steps=4, batch=8, log_every=1,
                                                            device='cpu', save_steps=-1, rank=4, alpha=8, lr=1e-2),
                                                       BASE, at, tmp_path/'m'))
    assert [r['step'] for r in got] == [0, 1, 2, 3, 4] and got[-1]['loss'] < got[1]['loss']
    assert describe(tmp_path/'m')['adapter']
    assert json.loads((tmp_path/'m'/'recipe.json').read_text())['versions']['llamafactory']


@pytest.mark.gpu
@pytest.mark.skipif('MEGATRON_PATH' not in os.environ, reason='no Megatron-LM (MEGATRON_PATH)')
def test_megatron_really_trains(tmp_path):
    at = rows(tmp_path/'r', *[dict(text=f'{i} and {i+1} are neighbours. '*20) for i in range(200)])
    got = list(engine('trainer', 'megatron').train(dict(stage='pretrain', max_steps=4, batch=4, log_every=1,
                                                        save_steps=-1), BASE, at, tmp_path/'m'))
    assert [r['step'] for r in got] == [0, 1, 2, 3, 4] and describe(tmp_path/'m')['architecture'] == 'Qwen3ForCausalLM'


def test_logs_are_read():
    assert llamafactory.metrics('{"current_steps": 2, "total_steps": 4, "loss": 5.5, "lr": 0.1}\n{"current_steps": 4, '
                                '"total_steps": 4}\n') == [dict(step=2, total=4, loss=5.5, lr=.1)]
    read = axolotl.reader(complete(dict(log_every=2, max_steps=3)))
    assert (read("{'loss': 2.0, 'grad_norm': 1.0, 'learning_rate': 0.1}\n") + read("{'loss': '1.5', 'learning_rate': "
                                                                                   "'5e-2'}\n{'train_runtime': 3}\n")
            == [dict(step=2, total=3, loss=2., lr=.1, grad_norm=1.), dict(step=3, total=3, loss=1.5, lr=.05)])
