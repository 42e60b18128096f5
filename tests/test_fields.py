"No field of a recipe is left out without a word: it changes what the trainer gets, is refused, or is named."
import inspect
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip('trl', reason="training needs the packages of the 'train' extra")

from words import LEARN, ask, pair, says

from llmops.core import Invalid
from llmops.engines import trl, trl_kinds, trl_samples, trl_watch, trl_work
from llmops.engines.trl_data import open_tokenizer
from llmops.engines.trl_methods import PATHS, learns, load
from llmops.engines.trl_setup import Setup
from llmops.engines.trl_stages import set_up
from llmops.training import checkpoints
from llmops.training.idle import idle
from llmops.tuning import STAGES, complete, defaults

THINKS = [dict(messages=[*ask(w), *says(f'<think>{w}</think>{w}')]) for w in LEARN]
RATED = [dict(prompt=p['prompt'], completion=p[k], label=k == 'chosen')
         for p in map(pair, LEARN) for k in ('chosen', 'rejected')]
CLASSES = [dict(text=f'{x} {w} '*9, label=x, label2='ab'[x == 'a'], text2=w) for w in LEARN for x in 'ab']
ROWS = dict(sft=THINKS, distil=THINKS, pretrain=[dict(text=f'{w} '*40) for w in LEARN], kto=RATED, classify=CLASSES,
            dpo=[pair(w) for w in LEARN], reward=[pair(w) for w in LEARN],
            grpo=[dict(prompt=ask(w), answer=w, right=w*2) for w in LEARN])
NEEDS = dict(grpo=dict(rewards=['like'], batch=8), distil=dict(lmbda=.5)) # What a stage cannot do without
OTHER = dict(method='lora', schedule='cosine', optimizer='sgd', precision='bf16', checkpointing='on', targets='q_proj',
             thinking='mask', onto='stack', device='cpu', parallel='ddp', nproc=2, launcher='ray', loss='ipo',
             algorithm='rloo', rewards=['length:4'], gold='right', text='text2', label='label2', batch=24,
             max_length=20,
             generations=4, lmbda=1., max_new=6, packing=True)
LOSS = dict(kto='apo_zero_unpaired', grpo='bnpo')
ELSEWHERE = dict( # Field → who reads it outside of the trainer's arguments
    parallel=trl, nproc=trl, launcher=trl, restarts=trl, keep_last=checkpoints, keep_best=trl_watch, device=trl_kinds,
    sample_steps=trl_samples, max_spike=trl_watch, patience=trl_watch)


def given(job: dict, held: bool) -> str:
    "Everything that a trainer is made of, as text"
    class Seen(Setup):
        def trainer(self, cls, args, table=None, **own):
            got = {k: v for k, v in args.to_dict().items() if k not in ('run_name', 'logging_dir')}
            return SimpleNamespace(all=(cls.__name__, got, sorted(own),
                                        [f.__name__ for f in own.get('reward_funcs', [])]))
    tok = open_tokenizer(Path(job['model']))
    cols, counts = trl_work.columns(job, tok, job['rows'], job['max_length'] or 256)
    net = load(job)
    job['lr'] = job['lr'] or 1e-3
    peft = learns(job, net)
    s = Seen(job, trl_work.plain(job, Path(job['out']), False, held), net, tok, cols, peft, cols if held else None)
    free = [n for n, p in net.named_parameters() if p.requires_grad]
    return repr((set_up(s).all, cols, counts, peft and peft.to_dict(), free, trl_watch.plan(job, 60)))


@pytest.mark.parametrize('stage', STAGES)
def test_each_field_changes_the_training_or_is_named(stage, base, tmp_path):
    (tmp_path/'rows.jsonl').write_text('\n'.join(map(json.dumps, ROWS[stage])))
    paths = dict.fromkeys(PATHS, '') | dict(model=str(base), rows=str(tmp_path/'rows.jsonl'), out=str(tmp_path/'out'),
                                            work=str(tmp_path), teacher=str(base), eval=str(tmp_path/'rows.jsonl'))
    def made(**recipe) -> str: return given(complete(dict(stage=stage) | NEEDS.get(stage, {}) | recipe) | paths, True)
    grounds = [dict(), dict(method='lora'), dict(method='freeze'), dict(method='prompt')]
    if stage == 'pretrain': grounds.pop() # Packed rows do not go with learned prompts
    plain = [made(**g) for g in grounds]
    for k, v in defaults(stage).items():
        if k == 'stage': continue
        other = LOSS.get(stage, 'ipo') if k == 'loss' else OTHER.get(k, not v if isinstance(v, bool) else None)
        if other is None: other = v+4 if isinstance(v, int) else v+.25
        if k in ELSEWHERE:
            assert f"'{k}'" in inspect.getsource(ELSEWHERE[k]), k
            continue
        changed = False
        for g, was in zip(grounds, plain, strict=True):
            if k in g: continue
            recipe = dict(stage=stage) | NEEDS.get(stage, {}) | g | {k: other}
            try: new = made(**recipe) != was
            except Invalid: new = True
            if not new: assert any(k in said for said in idle(complete(recipe), True)), (k, g)
            changed |= new
            if changed and new: break
        assert changed or k == 'onto' or (stage, k) == ('pretrain', 'virtual_tokens'), k
