"""Training in several processes: each kind is real, equals one process, and a process that dies is told of."""
import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import cache
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import psutil
import pytest

pytest.importorskip('trl', reason="training needs the packages of the 'train' extra")

from llmops.core import Failed, Invalid
from llmops.engines.trl import Trl
from llmops.engines.trl_kinds import settled
from llmops.engines.trl_methods import PATHS
from llmops.engines.trl_parallel import launch
from llmops.tuning import METHODS, PARALLEL, STAGES, complete

HERE = Path(__file__).resolve().parent
BASE = HERE.parent/'assets'/'tiny-qwen'
SPEED = find_spec('deepspeed') is not None
EACH = (dict(ddp={}, fsdp2={}, lora=dict(parallel='fsdp2', method='lora'))
        | (dict(zero2={}, zero3={}, zero3_lora=dict(parallel='zero3', method='lora')) if SPEED else {}))
EACH = ({k: dict(parallel=k, method='full') | v for k, v in EACH.items()}
        | ({'zero3-offload': dict(parallel='zero3-offload')} if SPEED else {}))
NEAR = 2e-4 # Weights after four steps of 1e-3: the same sums in another order


@pytest.fixture(autouse=True, scope='module')
def _find_ranks():
    "Processes import `tests/ranks.py`"
    before = os.environ.get('PYTHONPATH')
    os.environ['PYTHONPATH'] = os.pathsep.join(filter(None, (str(HERE), before)))
    yield
    if before is None: del os.environ['PYTHONPATH']
    else: os.environ['PYTHONPATH'] = before


@pytest.fixture(scope='module')
def rows(tmp_path_factory) -> Path:
    "Conversations of different length, so that processes have different numbers of tokens"
    at = tmp_path_factory.mktemp('rows')/'rows.jsonl'
    with open(at, 'w') as f:
        for i in range(32):
            f.write(json.dumps(dict(messages=[dict(role='user', content=f'Say {i} '*(1+i % 5)),
                                              dict(role='assistant', content=f'The number is {i*7} '*(1+i % 3))]))+'\n')
    return at


def recipe(**more) -> dict:
    return dict(stage='sft', max_steps=4, batch=8, log_every=1, device='cpu', lr=1e-3, schedule='constant', warmup=0.,
                seed=1) | more


def job(rows: Path | str, out: Path, **more) -> dict:
    out.mkdir(parents=True, exist_ok=True)
    own = {k: more.pop(k) for k in (*PATHS, 'each', 'how', 'timeout') if k in more}
    return (complete(recipe(**more)) | dict.fromkeys(PATHS, '') | dict(model=str(BASE), rows=str(rows), out=str(out))
            | own)


def weights(folder: Path) -> dict:
    from safetensors.torch import load_file
    return load_file(next(folder.glob('*.safetensors')))


def apart(a: Path, b: Path) -> float:
    "The largest difference between the weights of two folders"
    x, y = weights(a), weights(b)
    assert {k: v.shape for k, v in x.items()} == {k: v.shape for k, v in y.items()}
    return max(float((x[k].float()-y[k].float()).abs().max()) for k in x)


def alive(pids: list[int]) -> list[int]:
    "Those that run, after a moment to end"
    gone = time.monotonic()+5
    while ((left := [p for p in pids if psutil.pid_exists(p) and psutil.Process(p).status() != psutil.STATUS_ZOMBIE])
           and time.monotonic() < gone):
        time.sleep(.05)
    return left


@pytest.fixture(scope='module')
def alone(rows, tmp_path_factory) -> dict[str, tuple[list[dict], Path]]:
    "The same training in one process, by method: its rows and its weights"
    out = {m: tmp_path_factory.mktemp(m) for m in ('full', 'lora')}
    return {m: ([r for r in Trl().train(recipe(method=m), BASE, rows, at) if 'loss' in r], at) for m, at in out.items()}


@pytest.fixture(scope='module')
def shared(rows, tmp_path_factory) -> tuple[dict[str, list[dict]], Path]:
    "The training by each kind, in the same two processes, and once with a setting that is dropped without a word"
    out = tmp_path_factory.mktemp('shared')
    each = dict(dropped=dict(parallel='fsdp2')) | EACH
    said = list(launch(job(rows, out, nproc=2, each=each), entry='ranks:several'))
    return {k: [r for r in said if r['name'] == k] for k in each}, out


@pytest.mark.parametrize('name', EACH)
def test_each_kind_is_real(shared, name):
    "Each process says what it holds, of the same whole"
    kind = EACH[name]['parallel']
    found = next(r['processes'] for r in shared[0][name] if 'processes' in r)
    whole, learned = found['weights'], json.loads((shared[1]/name/'recipe.json').read_text())['weights']['trained']
    assert (found['parallel'], found['processes']) == (kind, 2)
    assert found['held'] == ([whole]*2 if kind in ('ddp', 'zero2') else [whole//2]*2)
    assert found['optimiser'] == ([learned]*2 if kind == 'ddp' else [learned//2]*2)
    assert json.loads((shared[1]/name/'recipe.json').read_text())['processes'] == found


@pytest.mark.parametrize('name', EACH)
def test_each_kind_equals_one_process(alone, shared, name):
    "Losses of each step, divided by the tokens of both processes, and the weights at the end"
    want, at = alone[EACH[name].get('method', 'full')]
    got = [r for r in shared[0][name] if 'loss' in r]
    assert [r['step'] for r in got] == [1, 2, 3, 4]
    assert [r['loss'] for r in got] == pytest.approx([r['loss'] for r in want], abs=NEAR)
    assert [r['grad_norm'] for r in got] == pytest.approx([r['grad_norm'] for r in want], rel=1e-3)
    assert [r['tokens'] for r in got] == [r['tokens'] for r in want]
    assert apart(at, shared[1]/name) < NEAR


WORDS = 'cat dog sun tree blue red milk bread rain snow hand foot door wall fish bird'.split()
def _ask(w): return [dict(role='user', content=f'Say the word {w}.')]
def _say(t): return [dict(role='assistant', content=t)]
LESSONS = dict( # 16 rows are two steps of 6 and one of 4; 15 of conversations end with one of 3
    sft=[dict(messages=_ask(w)+_say(w*(1+i % 3))) for i, w in enumerate(WORDS[1:])],
    distil=[dict(messages=_ask(w)+_say(w*(1+i % 3))) for i, w in enumerate(WORDS[1:])],
    dpo=[dict(prompt=_ask(w), chosen=_say(w.upper()), rejected=_say(w)) for w in WORDS],
    reward=[dict(prompt=_ask(w), chosen=_say(w.upper()), rejected=_say(w)) for w in WORDS],
    classify=[dict(text=f'{w} {i}', label='ab'[i % 2]) for i, w in enumerate(WORDS)],
    kto=[dict(prompt=_ask(w), completion=_say(w.upper() if i % 2 else w), label=bool(i % 2))
         for i, w in enumerate(WORDS)])
# Stage → kind
BY = dict(sft='ddp', distil='fsdp2', dpo='fsdp2', reward='ddp', classify='fsdp2', kto='zero3' if SPEED else 'ddp')


@pytest.fixture(scope='module')
def teacher(tmp_path_factory) -> Path:
    "The base model, each weight a little elsewhere"
    import shutil

    import torch
    from transformers import AutoModelForCausalLM
    at, g = tmp_path_factory.mktemp('teacher')/'m', torch.Generator().manual_seed(5)
    shutil.copytree(BASE, at)
    net = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    with torch.no_grad():
        for p in net.parameters(): p.add_(torch.randn(p.shape, generator=g)*.02)
    net.save_pretrained(at)
    return at


@pytest.fixture(scope='module')
def epochs(teacher, tmp_path_factory) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    "The losses of an epoch whose last step is short, by stage: of one process, and of two"
    at, each, one = tmp_path_factory.mktemp('epochs'), {}, {}
    for s, lines in LESSONS.items():
        (at/f'{s}.jsonl').write_text('\n'.join(map(json.dumps, lines)))
        also = dict(teacher=str(teacher)) if s == 'distil' else {}
        more = recipe(stage=s, max_steps=0, epochs=1., batch=6, max_length=64)
        one[s] = [r['loss'] for r in Trl().train(more, BASE, at/f'{s}.jsonl', at/f'one-{s}', also) if 'loss' in r]
        each[s] = complete(more) | also | dict(rows=str(at/f'{s}.jsonl'), parallel=BY[s], nproc=2)
    said = list(launch(job(at/'sft.jsonl', at/'two', nproc=2, each=each), entry='ranks:several'))
    return one, {s: [r['loss'] for r in said if r['name'] == s and 'loss' in r] for s in each}


@pytest.mark.parametrize('stage', LESSONS)
def test_each_stage_equals_one_process_to_the_last_short_step(epochs, stage):
    "No row of a short step is seen twice, tokens weigh the same, and ratings are compared over the whole step"
    one, two = epochs
    assert len(one[stage]) == 3 and max(one[stage])-min(one[stage]) > 100*NEAR
    assert two[stage] == pytest.approx(one[stage], abs=NEAR)


def test_a_loss_of_classes_does_not_depend_on_the_rows_at_a_time(epochs, tmp_path):
    "Transformers takes a mean over rows for one over the whole step"
    at = tmp_path/'rows.jsonl'
    at.write_text('\n'.join(map(json.dumps, LESSONS['classify'][:12])))
    got = [[r['loss'] for r in Trl().train(recipe(stage='classify', max_steps=2, batch=6, micro_batch=m), BASE, at,
                                           tmp_path/str(m)) if 'loss' in r] for m in (6, 2)]
    assert got[1] == pytest.approx(got[0], abs=NEAR)


def test_it_did_learn(alone):
    assert apart(alone['full'][1], BASE) > 10*NEAR
    assert alone['full'][0][-1]['loss'] < alone['full'][0][0]['loss']-1


def test_a_kind_that_falls_back_is_an_error(shared):
    "accelerate drops FSDP on CPU without a word; the training ends before its first step"
    said = shared[0]['dropped']
    assert (said[-1]['failed']
            == 'fsdp2 with 2 processes was asked for, but accelerate runs it as MULTI_CPU. Nothing was trained')
    assert not [r for r in said if 'loss' in r]


def test_one_process_where_two_were_asked_for_is_an_error(rows, tmp_path):
    from llmops.engines.trl_work import work
    said: list[dict] = []
    with pytest.raises(Failed, match='ddp with 2 processes was asked for, and this process trains alone'):
        work(job(rows, tmp_path, parallel='ddp', nproc=2) | dict(sizes=dict(dp=2)), said.append, lambda: '')
    assert not [r for r in said if 'loss' in r]


ONES = [dict(parallel='ddp', nproc=1), dict(launcher='ray'), dict(launcher='ray', nproc=1), dict(restarts=1)]


@pytest.mark.parametrize('more', ONES)
def test_one_process_where_a_recipe_speaks_of_several_is_refused(rows, tmp_path, more):
    with pytest.raises(Invalid, match='Give nproc=2 or more, or leave'):
        list(Trl().train(recipe(**more), BASE, rows, tmp_path))


TABLE = [dict(parallel=k, method=m, stage=s, nproc=n, batch=b)
         for k, m, s, n, b in product(PARALLEL, METHODS, STAGES, (0, 3, 4), (0, 10))]


def test_every_combination_is_run_or_refused_at_once_with_what_works():
    "Of a refusal the first setting that it names is taken, until the recipe is run: as it was asked for, or as was said"
    @cache
    def settle(fields):
        r = dict(fields)
        try:
            return settled(complete(r | (dict(rewards=['like']) if r['stage'] == 'grpo' else {}) | dict(device='cpu'))
                           | dict(model=str(BASE)))
        except Invalid as e: return str(e)
    runs = 0
    for row in TABLE:
        r, said = row, []
        while len(said) < 5:
            if isinstance(got := settle(tuple(r.items())), dict): break
            found = re.search(r'(?:Give|Use) (parallel|nproc|batch|method)=([\w+-]+)', got)
            assert found and got.count('. ') == 1, f'{r}: {got}'
            said.append(got)
            r = r | {found[1]: int(found[2]) if found[2].isdecimal() else found[2]}
        else: raise AssertionError(f'{row}: {said}')
        assert (got['parallel'], got['method'], got['stage']) == (r['parallel'], r['method'], r['stage'])
        assert (got['nproc'] == (r['nproc'] or 2)
                == got['sizes']['dp']*got['sizes'].get('tp', 1)*got['sizes'].get('pp', 1))
        assert got['batch'] % got['sizes']['dp'] == 0
        runs += not said
    assert 0 < runs < len(TABLE)


@pytest.mark.parametrize('more, said', [
    (dict(nproc=3), 'A step of 8 rows cannot be shared evenly by 3 processes. Give batch=9, or nproc=2'),
    (dict(parallel='fsdp2', nproc=5),
     'A step of 8 rows cannot be shared evenly by 5 processes. Give batch=10, or nproc=4'),
    (dict(parallel='fsdp', nproc=2), "Did you mean 'fsdp2'"),
    (dict(parallel='zero3', nproc=2, method='qlora'), 'Use parallel=ddp or zero2, or method=lora'),
    (dict(parallel='tp', nproc=3),
     'This model has 4 heads and 2 for keys and values, which 3 processes cannot share. Use nproc=2'),
    (dict(stage='grpo', rewards=['like'], nproc=2, batch=12),
     'A step of 12 answers does not hold whole groups of 8 answers to one prompt. Give batch=16')])
def test_what_cannot_work_is_refused_before_it_starts(rows, tmp_path, more, said, monkeypatch):
    def start(*a, **k): raise AssertionError('a process was started')
    monkeypatch.setattr(subprocess, 'Popen', start)
    with pytest.raises(Invalid) as e: list(Trl().train(recipe(**more), BASE, rows, tmp_path))
    assert said in str(e.value)


def test_a_place_that_somebody_else_gave_is_forgotten(rows, tmp_path, monkeypatch):
    "Under a batch system, MPI or another torchrun one process waits for no others, and two are two"
    for k, v in dict(RANK='3', WORLD_SIZE='16', LOCAL_RANK='3', MASTER_ADDR='node17', MASTER_PORT='1', SLURM_PROCID='3',
                     SLURM_NTASKS='16', OMPI_COMM_WORLD_SIZE='16', OMPI_COMM_WORLD_RANK='3',
                     OMPI_COMM_WORLD_LOCAL_RANK='3', PMI_SIZE='16', ACCELERATE_USE_FSDP='true').items():
        monkeypatch.setenv(k, v)
    assert [r['sum'] for r in launch(job('', tmp_path/'two', nproc=2, how=''), entry='ranks:fault')] == [3]
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.alarm(300) # It would wait for node17
    try: assert [r['step'] for r in Trl().train(recipe(max_steps=1), BASE, rows, tmp_path/'one') if 'loss' in r] == [1]
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_a_killed_process_is_started_again_from_the_checkpoint(alone, rows, tmp_path):
    "kill -9 of one process after the first checkpoint: both start again there, and the weights are those of an undisturbed training"
    work = tmp_path/'work'
    said = list(launch(job(rows, tmp_path/'out', parallel='fsdp2', nproc=2, restarts=1, save_steps=2, work=str(work)),
                       entry='ranks:killed'))
    again = [r for r in said if 'restart' in r]
    assert [r['restart'] for r in again] == [1]
    assert again[0]['message'].startswith('Process 1 of 2 was ended by SIGKILL')
    steps = [r['step'] for r in said if 'loss' in r and 'checkpoint' not in r]
    assert steps[-1] == 4 and sorted(set(steps)) == [1, 2, 3, 4]
    assert apart(alone['full'][1], tmp_path/'out') < NEAR


@pytest.mark.parametrize('how, kind, said', [('kill', Failed, r'Process 1 of 2 was ended by SIGKILL'),
                                             ('raise', Failed, r'Process 1 of 2: ValueError: no such row'),
                                             ('invalid', Invalid, r'^Row 3 of the data is empty$')])
def test_a_process_that_dies_ends_the_run_with_its_own_error(tmp_path, how, kind, said):
    "Also where restarts are allowed: what is wrong with the data does not go away"
    seen: list[dict] = []
    with pytest.raises(kind, match=said):
        for row in launch(job('', tmp_path, nproc=2, how=how, restarts=int(how == 'invalid')), entry='ranks:fault'):
            seen.append(row)
    assert [(r['sum'], r['world']) for r in seen] == [(3, 2)]
    assert alive(seen[0]['pids']) == []


def test_a_process_that_hangs_ends_the_run(tmp_path):
    seen: list[dict] = []
    with pytest.raises(Failed, match='waited for another in vain'):
        for row in launch(job('', tmp_path, nproc=2, how='hang', timeout=2), entry='ranks:fault'): seen.append(row)
    assert alive(seen[0]['pids']) == []


def test_all_processes_hear_of_a_pause_at_the_same_step(tmp_path):
    seen: list[dict] = []
    for row in launch(job('', tmp_path, nproc=2, how='long'), lambda: 'pause' if seen else '', entry='ranks:fault'):
        seen.append(row)
    assert seen[-1]['said'] == 'pause'
    assert alive(seen[0]['pids']) == []


def test_nothing_is_left_when_the_caller_is_killed(tmp_path):
    text = ("import json; from llmops.engines.trl_parallel import launch\n"
            f"for r in launch(json.loads({json.dumps(json.dumps(job('', tmp_path, nproc=2, how='long')))}), "
            "entry='ranks:fault'): print(json.dumps(r), flush=True)")
    p = subprocess.Popen([sys.executable, '-c', text], stdout=subprocess.PIPE, text=True)
    pids = json.loads(p.stdout.readline())['pids'] # type: ignore[union-attr]
    assert alive(pids[:1]) == pids[:1]
    p.kill()
    p.communicate()
    assert alive(pids) == []


def test_nothing_is_left_when_the_launcher_is_killed(tmp_path):
    seen: list[dict] = []
    with pytest.raises(Failed, match='The launcher of the 2 processes was ended by SIGKILL'):
        for row in launch(job('', tmp_path, nproc=2, how='long'), entry='ranks:fault'):
            seen.append(row)
            os.kill(row['pids'][-1], signal.SIGKILL)
    assert alive(seen[0]['pids']) == []


def test_a_caller_that_turns_away_stops_all(tmp_path):
    rows = launch(job('', tmp_path, nproc=2, how='long'), entry='ranks:fault')
    pids = next(rows)['pids']
    rows.close() # type: ignore[attr-defined]
    assert alive(pids) == []
