"What a training says before it starts: bounds of every number, what is wrong with the evaluation, and what really leads to the rows that a stage takes."
import json
import re
import shlex

import pytest

from llmops.core import Invalid
from llmops.verbs import VERBS, call, load_all, open_workspace

load_all()
WORDS = 'cat dog sun tree blue red milk bread rain snow hand foot door wall fish bird ship road lamp book'.split()


@pytest.fixture(scope='module')
def ws(tmp_path_factory):
    "One dataset of each format, and the shipped model"
    from pathlib import Path
    import llmops
    at = tmp_path_factory.mktemp('words')
    ws = open_workspace(at)
    def keep(name, rows):
        (at/f'{name}.jsonl').write_text('\n'.join(map(json.dumps, rows)))
        call(ws.store, 'load', dict(path=str(at/f'{name}.jsonl'), out=name))
    talk = lambda q, a: [dict(role='user', content=q), dict(role='assistant', content=a)]
    keep('messages', [dict(messages=talk(f'Say {w}.', w)) for w in WORDS])
    keep('rated', [dict(messages=talk(f'Say {w}.', a), stars=s) for w in WORDS for a, s in ((w, 5), (w.upper(), 1))])
    keep('preference', [dict(prompt=f'Say {w}.', chosen=w, rejected=w.upper()) for w in WORDS])
    keep('unpaired', [dict(prompt=f'Say {w}.', completion=a, label=a == w) for w in WORDS for a in (w, w.upper())])
    keep('text', [dict(text=f'{w} and {v}.') for w in WORDS for v in WORDS[:2]])
    keep('prompts', [dict(prompt=f'Say {w}.') for w in WORDS])
    call(ws.store, 'import_model', dict(source=str(Path(llmops.__file__).parent.parent/'assets/tiny-qwen'), out='tiny'))
    yield ws
    ws.store.close()


KINDS = ('messages', 'rated', 'preference', 'unpaired', 'text', 'prompts')


@pytest.mark.parametrize('stage', ['sft', 'pretrain', 'dpo', 'kto', 'reward', 'grpo', 'distil'])
def test_what_a_refusal_names_leads_to_rows_that_the_stage_takes(ws, stage):
    from llmops.training.tune import ROWS, fitting
    class Me: store = ws.store
    for name in KINDS:
        try: fitting(Me, stage, ws.store.get(f'dataset:{name}'))
        except Invalid as e: said = str(e)
        else: continue
        assert any(r in said for r in ROWS.values()), said # A row of what it takes
        if m := re.search(r'llmops data convert (.*)', said):
            _, to, *rest = shlex.split(m[1])[0], *shlex.split(m[1])[2:]
            more = {'rating': rest[1]} | ({'good': 3.} if '--good' in rest else {}) if rest else {}
            made = call(ws.store, 'convert', dict(data=f'dataset:{name}', to=to, **more))
            assert made.body['rows'] >= 10, (name, stage, said)
            fitting(Me, stage, made)
        else:
            assert 'llmops data import FILE dataset:NAME' in said
            for to in ROWS: # Nothing that convert can do would have led there
                if fits(stage, to):
                    with pytest.raises(Invalid): call(ws.store, 'convert', dict(data=f'dataset:{name}', to=to))


def fits(stage, to):
    from llmops.training.tune import TAKES
    return to in TAKES[stage][0]


@pytest.mark.parametrize('stage', ['sft', 'pretrain', 'dpo', 'kto', 'reward', 'grpo', 'distil', 'classify'])
def test_no_number_of_a_recipe_is_without_bounds(stage):
    from llmops.tuning import NUMBERS, complete, defaults
    fields = [k for k, v in defaults(stage).items() if isinstance(v, (int, float)) and not isinstance(v, bool)]
    assert len(fields) >= 21
    for k in fields:
        for bad in (-2, float('nan'), float('inf'), float('-inf'), 10**18, 1e300, -1e300, True, '7', [7]):
            with pytest.raises(Invalid) as e: complete({'stage': stage, k: bad})
            said = str(e.value)
            assert said.startswith(f'{k} must ') and len(said) < 300 and (NUMBERS[k][2] in said or k == 'seed'), said


@pytest.mark.parametrize('verb', ['sft', 'pretrain', 'dpo', 'kto', 'reward', 'grpo', 'distil', 'classify'])
def test_what_is_usual_and_both_ends_are_taken(verb):
    from llmops.tuning import NUMBERS, complete, defaults
    known = defaults(verb)
    for k, (least, most, usual) in NUMBERS.items():
        if k not in known or k in ('micro_batch', 'nproc'): continue
        for v in (x for x in usual.replace(',', '').split(' to ') if x != 'any'):
            v = int(v) if isinstance(known[k], int) else float(v)
            assert complete({'stage': verb, k: v})[k] == v
        with pytest.raises(Invalid): complete({'stage': verb, k: most+1})
        if k != 'batch': # 0 rows: what suits the stage
            with pytest.raises(Invalid): complete({'stage': verb, k: least-1})
    assert {p.name for p in VERBS[verb].params.values() if p.type in ('int', 'float')} <= set(NUMBERS)


def test_a_training_without_end_says_how_long_it_is_before_it_starts(ws, monkeypatch):
    from llmops.verbs import Stopped
    said = []
    def look(d):
        said.append(d.get('message', ''))
        if len(said) == 1: raise Stopped
    with pytest.raises(Stopped):
        call(ws.store, 'sft', dict(model='tiny', data='messages', max_steps=50_000_000, out='never'), progress=look)
    assert said == ['Warning: 50,000,000 steps of 32 rows: 80,000,000 times through the 20 rows of dataset:messages@1, '
                    'and no earlier run tells how long that takes. For less: --max-steps N. '
                    'It can be paused at any time: llmops train pause RUN']


def test_an_evaluation_that_was_learned_is_warned_of_before_the_first_step(ws):
    said = []
    call(ws.store, 'sft', dict(model='tiny', data='messages', evaluation='messages', max_steps=1, batch=4, out='seen'),
         progress=said.append)
    first = next(r['message'] for r in said if 'message' in r)
    assert said[0]['step'] == 0 and first.startswith('Warning: the evaluation is the data itself (dataset:messages@1)')
    assert 'llmops data split dataset:messages@1' in first
