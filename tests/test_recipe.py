"""What a recipe says, where it comes from, and several stages in a row."""
import inspect
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip('trl', reason="training needs the packages of the 'train' extra")

import llmops
from llmops.core import Invalid
from llmops.data.write import write_dataset
from llmops.tuning import OWN, PARALLEL, METHODS, SHARED, STAGES, basics, complete, defaults, processes
from llmops.verbs import VERBS, Run, Spec, arguments, filled, load_all

ROOT = Path(__file__).resolve().parent.parent
BASE = ROOT/'assets'/'tiny-qwen'
WORDS = 'cat dog sun tree blue red milk bread rain snow hand foot'.split()


def said(role: str, text: str) -> list[dict]: return [dict(role=role, content=text)]


@pytest.fixture
def filled_ws(ws):
    "A workspace with the shipped model, conversations and preferences"
    ws.add('model:tiny', str(BASE))
    run = Run(ws.store, Spec('example', lambda run: None), {}, id='example', by='me')
    write_dataset(run, 'talk', [dict(messages=said('user', f'Say {w}.')+said('assistant', w)) for w in WORDS],
                  format='messages')
    write_dataset(run, 'better', [dict(prompt=said('user', f'Say {w}.'), chosen=said('assistant', w.upper()),
                                       rejected=said('assistant', w)) for w in WORDS], format='preference')
    return ws


# --- fields ---------------------------------------------------------------------------------------------------------

def test_every_training_verb_takes_every_shared_field_and_its_stage_s_own():
    load_all()
    shared = [p for g in SHARED for p in inspect.signature(g).parameters]
    assert len(shared) == len(set(shared))
    for stage in STAGES:
        params = VERBS[stage].params
        assert set(shared) <= set(params) and set(OWN[stage]) <= set(params), stage
        assert all(p.doc for p in params.values()), [p.name for p in params.values() if not p.doc]
        assert complete(dict(stage=stage)) == defaults(stage)


def test_choices_are_said_once():
    assert inspect.signature(basics).parameters['method'].annotation.__args__ == METHODS
    assert inspect.signature(processes).parameters['parallel'].annotation.__args__ == ('', *PARALLEL)


@pytest.mark.parametrize('field, value, says', [
    ('max_steps', -1, 'whole number from 0'), ('max_steps', 2.5, 'whole number'), ('batch', -2, 'whole number from 1'),
    ('lr', 1, 'between 0 and 1'), ('lr', float('inf'), 'number from 0'),
    ('epochs', 0, 'above 0'), ('warmup', 1, 'between 0 and 1'), ('method', 'lorra', "Did you mean 'lora'"),
    ('parallel', 'fsdp3', "Did you mean 'fsdp2'"),
    ('micro_batch', 99, 'at most 32'), ('save_steps', -2, 'whole number from -1'),
    ('stage', 'dpoo', "Did you mean 'dpo'"), ('rank', True, 'whole number'), ('seed', 2**32, 'seed must lie below')])
def test_values_that_cannot_work(field, value, says):
    with pytest.raises(Invalid, match=says): complete({field: value})


# --- saved recipes --------------------------------------------------------------------------------------------------

def test_a_recipe_fills_in_what_was_not_said(filled_ws, tmp_path):
    ws, spec = filled_ws, VERBS['sft']
    for name, text in (('r.json', json.dumps(dict(method='lora', rank=4, max_steps=7))),
                       ('r.yaml', 'method: lora\nrank: 4\nmax_steps: 7\n'),
                       ('r.toml', 'method = "lora"\nrank = 4\nmax_steps = 7\n')):
        (tmp_path/name).write_text(text)
        got = arguments(spec, filled(ws.store, spec, dict(model='model:tiny', data='dataset:talk', max_steps=3,
                                                          recipe=str(tmp_path/name))))
        assert (got['method'], got['rank'], got['max_steps'], got['alpha']) == ('lora', 4, 3, 64)


def test_a_training_keeps_its_recipe_and_another_takes_it_up(filled_ws):
    ws = filled_ws
    a = ws.sft('model:tiny', 'dataset:talk', out='a', method='lora', rank=4, max_steps=2, batch=4, seed=5)
    kept = ws.store.get(a.body['recipe_ref'])
    assert kept.body['type'] == 'recipe' and kept.body['verb'] == 'sft'
    assert kept.body['fields'] == {k: v for k, v in (defaults('sft') | dict(method='lora', rank=4, max_steps=2, batch=4,
                                                                            seed=5)).items() if k != 'stage'}
    b = ws.sft('model:tiny', 'dataset:talk', out='b', recipe=str(kept.ref))
    assert {f['path']: f['blob'] for f in b.body['files']} == {f['path']: f['blob'] for f in a.body['files']}
    assert str(kept.ref) in [r['ref'] for r in ws.lineage(b)]
    assert a.body['recipe']['same_ids'] == len(WORDS)
    assert (f'llmops-workbench=={llmops.__version__}'
            in ws.store.blobs.get(a.body['environment']['blob']).decode().splitlines())
    with pytest.raises(Invalid, match='is a recipe of sft, not of dpo. Run: llmops train sft'):
        ws.dpo('model:tiny', 'dataset:better', recipe=str(kept.ref))


@pytest.mark.parametrize('name, text, says',
                         [('r.json', '{"rnak": 4}', "Did you mean 'rank'"), ('r.json', '[1]', 'holds no fields'),
                          ('r.json', '{"rank": "many"}', 'not a whole number'), ('r.json', '{', 'is not JSON'),
                          ('r.yaml', '!!python/object/apply:os.system ["id"]', 'is not YAML'),
                          ('r.json', '{"out": "x"}', 'has .out., which a recipe does not say. Give it with the call'),
                          ('r.json', '{"fields": [1]}', 'has fields that are no table'),
                          ('no.json', None, 'cannot be read')])
def test_recipes_that_are_none(filled_ws, tmp_path, name, text, says):
    ws, before = filled_ws, len(filled_ws.runs())
    if text is not None: (tmp_path/name).write_text(text)
    with pytest.raises(Invalid, match=says): ws.sft('model:tiny', 'dataset:talk', recipe=str(tmp_path/name))
    assert len(ws.runs()) == before


# --- pipelines ------------------------------------------------------------------------------------------------------

STAGES_OF = [dict(verb='sft', data='dataset:talk', max_steps=4, batch=4),
             dict(verb='dpo', data='dataset:better', max_steps=60, batch=4, save_steps=2, log_every=1)]


def test_a_pipeline_goes_on_where_it_was_killed(filled_ws, tmp_path):
    ws = filled_ws
    (tmp_path/'plan.json').write_text(json.dumps(dict(stages=STAGES_OF)))
    env = os.environ | dict(LLMOPS_STORE=str(ws.store.folder))
    command = [sys.executable, '-m', 'llmops.faces.cli', 'train', 'pipeline', '--model', 'model:tiny', '--recipe',
               str(tmp_path/'plan.json'), '--out', 'model:chat']
    p = subprocess.Popen([sys.executable, '-c',
                          'import sys; from llmops.faces.cli import main; sys.exit(main())', *command[3:]],
                         env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    end = time.monotonic()+120
    def kept() -> list[dict]:
        runs = [r for _, r in ws.store.states('run') if r['verb'] == 'dpo']
        return [v for r in runs for k, v in ws.store.state(f"run:{r['id']}").items() if k.startswith('checkpoint:')]
    while time.monotonic() < end and p.poll() is None and not kept(): time.sleep(.1)
    os.killpg(p.pid, signal.SIGKILL)
    p.wait()
    assert kept() and not ws.store.find('model', 'chat')
    first = ws.store.get('model:chat-1-sft')
    # As if the command was given again
    v = ws.resume(next(r['id'] for _, r in ws.store.states('run') if r['verb'] == 'pipeline'))
    verbs = [r['verb'] for _, r in ws.store.states('run') if r['status'] == 'done']
    assert verbs.count('sft') == 1 and 'resume' in verbs and v.name == 'chat'
    assert v.body['base']['digest'] == first.digest
