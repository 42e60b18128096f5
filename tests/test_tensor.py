"""Layers cut, piped and copied over real processes: what comes out is what one process makes, and nothing falls back."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('trl', reason="training needs the packages of the 'train' extra")

from llmops.core import Invalid, LlmopsError
from llmops.data.samples import draw, write_rows
from llmops.engines.trl import Trl
from llmops.engines.trl_mesh import check, place, sizes

BASE = Path(__file__).resolve().parent.parent/'assets'/'tiny-qwen'
TOLERANCE = dict(loss=1e-4, grad_norm=1e-3, weight=2e-3)  # Of one process: float32 sums in another order, then Adam


@pytest.fixture(scope='module')
def rows(tmp_path_factory) -> Path:
    return write_rows(draw(60, dirty=False), tmp_path_factory.mktemp('rows')/'rows.jsonl')


def train(rows: Path, out: Path, also: dict | None = None, **recipe) -> list[dict]:
    "Four steps with the tiny model on the CPU, through the engine that the verbs use"
    said = dict(max_steps=4, batch=8, log_every=1, device='cpu', save_steps=-1, lr=1e-3, schedule='constant', warmup=0.)
    return list(Trl().train(said | recipe, BASE, rows, out, also))


@pytest.fixture(scope='module')
def alone(rows, tmp_path_factory) -> tuple[Path, list[dict]]:
    "The same training in one process"
    out = tmp_path_factory.mktemp('alone')/'m'
    return out, [r for r in train(rows, out) if 'loss' in r]


def apart(a: Path, b: Path) -> float:
    "Largest difference between the weights of two models with equal names and shapes"
    from safetensors.torch import load_file
    x, y = load_file(a/'model.safetensors'), load_file(b/'model.safetensors')
    assert {k: (v.shape, v.dtype) for k, v in x.items()} == {k: (v.shape, v.dtype) for k, v in y.items()}
    return max(float((x[k]-y[k]).abs().max()) for k in x)


HELD = {'tp': [443_776]*2, 'pp': [492_160, 492_288], 'fsdp2+tp': [221_888]*4, 'ddp+tp': [443_776]*4,
        'ddp+pp': [492_160]*2+[492_288]*2}


@pytest.mark.parametrize('kind',
                         [pytest.param(k, marks=pytest.mark.slow if 'tp' in k and '+' in k else ()) for k in HELD])
def test_equals_one_process_and_each_holds_its_part(kind, rows, alone, tmp_path):
    got = train(rows, tmp_path/'m', parallel=kind, nproc=len(HELD[kind]))
    losses = [r for r in got if 'loss' in r]
    assert [r['step'] for r in losses] == [1, 2, 3, 4]
    for r, s in zip(losses, alone[1], strict=True):
        assert r['loss'] == pytest.approx(s['loss'], rel=TOLERANCE['loss'])
        assert r['grad_norm'] == pytest.approx(s['grad_norm'], rel=TOLERANCE['grad_norm'])
        assert r['tokens'] == s['tokens']
    moved = apart(BASE_FLOAT(alone[0]), alone[0])
    assert apart(tmp_path/'m', alone[0]) < TOLERANCE['weight'] < moved
    found = next(r['processes'] for r in got if 'processes' in r)
    assert (found['processes'], found['weights'], found['held']) == (len(HELD[kind]), 886_144, HELD[kind])
    if 'pp' in kind: assert found['layers'] == [[0, 1], [2, 3]]
    assert json.loads((tmp_path/'m'/'recipe.json').read_text())['processes'] == found


def BASE_FLOAT(like: Path) -> Path:
    "The base model with the numbers of a trained one, to see how far training moved it"
    at = like.parent/'base'
    if not at.exists():
        import torch
        from transformers import AutoModelForCausalLM
        AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32).save_pretrained(at)
    return at


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['tp', 'pp'])
def test_goes_on_from_a_checkpoint_to_the_bit(kind, rows, tmp_path):
    first = dict(parallel=kind, nproc=2, save_steps=2, keep_last=9)
    train(rows, tmp_path/'a', dict(work=tmp_path/'work'), **first)
    at = tmp_path/'work'/'checkpoint-2'
    assert len(list(at.glob('optimizer-*.pt'))) == 2 and (at/'model.safetensors').exists()
    got = train(rows, tmp_path/'b', dict(work=tmp_path/'work2', resume=at), **first)
    assert [r['step'] for r in got if 'loss' in r and 'checkpoint' not in r] == [3, 4]
    assert apart(tmp_path/'a', tmp_path/'b') == 0
    with pytest.raises(LlmopsError, match='was not written with parallel=pp' if kind == 'tp'
                       else 'was not written with parallel=tp'):
        train(rows, tmp_path/'c', dict(work=tmp_path/'work3', resume=at),
              **first | dict(parallel={'tp': 'pp', 'pp': 'tp'}[kind]))


FALLS_BACK = '''
import sys, torch, torch.distributed as dist
from transformers import AutoModelForCausalLM
from llmops.core import Failed
from llmops.engines import trl_mesh, trl_pipeline, trl_tensor
dist.init_process_group('gloo')
class T: pass
t = T(); t.accelerator = T(); t.accelerator.unwrap_model = lambda m: m; t.args = T(); t.args.device = torch.device('cpu')
t.model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
def job(kind, n): return dict(parallel=kind, nproc=n, model=sys.argv[1], stage='sft', method='full')
looks = [lambda: trl_tensor.proven(job('tp', 2), t), lambda: trl_pipeline.proven(job('pp', 2), t),
         lambda: trl_mesh.same_rows(trl_mesh.sizes('tp', 2), dict(input_ids=torch.tensor([[dist.get_rank()]]))),
         lambda: trl_tensor.proven(job('tp:4', 4), t)]
with open(f'{sys.argv[2]}/said-{dist.get_rank()}', 'w') as said:
    for look in looks:
        try: look()
        except Failed as e: print(e, file=said)
        else: print('nothing', file=said)
'''


def test_a_job_that_falls_back_is_refused_by_each_process(tmp_path):
    "A model that is whole on each process, other rows on processes that share a copy, fewer processes than asked for"
    (tmp_path/'rank.py').write_text(FALLS_BACK)
    r = subprocess.run([sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2',
                        tmp_path/'rank.py', BASE, tmp_path],
                       capture_output=True, text=True, env=os.environ | dict(OMP_NUM_THREADS='1'), timeout=600)
    said = [p.read_text().splitlines() for p in sorted(tmp_path.glob('said-*'))]
    assert [len(x) for x in said] == [4, 4], r.stdout+r.stderr[-2000:]
    for i, says in enumerate(('is not divided: this process holds (128, 128) of (128, 128)',
                              'are not divided among 2 stages: they hold [[0, 1, 2, 3], [0, 1, 2, 3]]',
                              'Processes 0 and 1 share one copy of the model and were given different rows',
                              '2 processes run, where 4 were asked for')):
        assert [says in x[i] for x in said] == [True, True], said


@pytest.mark.parametrize('parallel, nproc, more, says', [
    ('tp', 4, {}, '2 for keys and values, which 4 processes cannot share. Use nproc=2'),
    ('pp', 5, {}, 'has 4 layers, which is too few for 5 stages. Use nproc=4'),
    ('fsdp2+tp', 3, {}, 'needs a multiple of 4 processes, not 3. Give nproc=4'),
    ('fsdp2+pp', 4, {}, 'fsdp2+pp cannot be combined'),
    ('tp+pp', 4, {}, 'Use parallel=fsdp2+tp, ddp+tp or ddp+pp'),
    ('tp', 2, dict(method='lora'),
     'and not lora, since PEFT takes the part of a cut layer for the whole. Use parallel=ddp, or method=freeze'),
    ('tp', 2, dict(stage='grpo'), 'Use parallel=fsdp2 or ddp'),
    ('pp', 2, dict(stage='dpo'), 'trains sft and pretrain, not dpo'),
    ('pp', 2, dict(precision='fp16'), 'fp16')])
def test_what_cannot_be_divided_is_refused_before_a_process_starts(parallel, nproc, more, says):
    with pytest.raises(Invalid) as e:
        check(
            dict(parallel=parallel, nproc=nproc, model=str(BASE), stage='sft', method='full', precision='auto') | more)
    assert says in str(e.value)


def test_every_rank_has_one_place():
    for kind, n in (('tp', 2), ('ddp+pp', 4), ('ddp+tp', 8), ('tp+pp', 4), ('fsdp2+tp:4', 8)):
        s = sizes(kind, n)
        at = [tuple(place(s, r).values()) for r in range(n)]
        assert len(set(at)) == n == s['dp']*s['tp']*s['pp'] and {a[1] for a in at} == set(range(s['dp']))
