"""Training: our `sft` beside a hand-written TRL script that does the same work, each in a process of its own, in turns.

Rows have the same number of tokens in both, so that neither pads; model, batch, precision, optimiser, schedule and loss are
equal, and both score answers only. Both note the time at which each step ended through the same hook of Transformers. Tokens
a second are those of the steps behind the third; the time to the first step counts from the start of the process, with all
imports, our store, checks and version. What our callbacks cost the thread that trains is the time inside them, a step.

The last part is our default recipe beside TRL's defaults on rows of real lengths (alpaca, where `../shared/data` is there):
both are told model, data, rows of a step and the longest row, and nothing else but, on a CPU, not to compute in 16 bits. TRL
then pads rows in the order of chance and computes activations twice; ours puts rows of like length together. Tokens that are
not padding count, and a step counts from the third on; ours has the longest rows in its first.
"""
import json
import os
import statistics as st
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent)]
BASE = HERE.parent/'assets'/'tiny-qwen'
BATCH, LENGTH = 8, 256
STEP, LONGEST, SKIP = 32, 1024, 2 # Of the default recipes: rows of a step, tokens of a row, steps that do not count
DATA = HERE.parent.parent/'shared'/'data'/'llamafactory'/'alpaca_en_demo.json'


def hook(times: list, ours: dict) -> None:
    "Note when steps end; and the time inside callbacks of the workbench, where there are any"
    from transformers.trainer_callback import CallbackHandler
    real, event = CallbackHandler.on_step_end, CallbackHandler.call_event

    def on_step_end(self, *a, **kw):
        out = real(self, *a, **kw)
        times.append(time.time())
        ours.setdefault('steps', []).append(ours.pop('s', 0.))
        return out

    def call_event(self, name, args, state, control, **kw):
        for cb in self.callbacks:
            if (type(cb).__module__.startswith('llmops') and not hasattr(cb, 'clocked')
                and name in ('on_step_begin', 'on_step_end', 'on_log', 'on_substep_end')):
                cb.clocked = True
                for n in ('on_step_begin', 'on_step_end', 'on_log', 'on_substep_end'):
                    setattr(cb, n, clocked(getattr(cb, n), ours))
        return event(self, name, args, state, control, **kw)
    CallbackHandler.on_step_end, CallbackHandler.call_event = on_step_end, call_event


def clocked(f, ours):
    def g(*a, **kw):
        start = time.thread_time() # Of this thread alone: what else the machine does is not ours
        try: return f(*a, **kw)
        finally: ours['s'] = ours.get('s', 0.)+time.thread_time()-start
    return g


def raw(folder: Path, steps: int, method: str) -> None:
    "What somebody writes who knows TRL"
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer
    tok = AutoTokenizer.from_pretrained(BASE)
    net = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    rows = [json.loads(x) for x in (folder/'rows.jsonl').read_text().splitlines()]
    args = SFTConfig(output_dir=str(folder/'raw'), max_steps=steps, per_device_train_batch_size=BATCH,
                     learning_rate=1e-4, lr_scheduler_type='linear', warmup_steps=1,
                     max_length=1024, assistant_only_loss=True, gradient_checkpointing=False, bf16=False, use_cpu=True,
                     optim='adamw_torch', weight_decay=0., logging_steps=1, save_strategy='no',
                     report_to='none', disable_tqdm=True, seed=0, dataloader_pin_memory=False)
    peft = LoraConfig(r=32, lora_alpha=64, lora_dropout=0., target_modules='all-linear',
                      task_type='CAUSAL_LM') if method == 'lora' else None
    t = SFTTrainer(model=net, args=args, train_dataset=Dataset.from_list([dict(messages=r['messages']) for r in rows]),
                   processing_class=tok, peft_config=peft)
    t.train()
    t.save_model(str(folder/'raw'))


def trl(folder: Path, steps: int, method: str) -> None:
    "TRL as it comes"
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer
    rows = [json.loads(x) for x in (folder/'mixed.jsonl').read_text().splitlines()]
    args = SFTConfig(output_dir=str(folder/'trl'), max_steps=steps, per_device_train_batch_size=8,
                     gradient_accumulation_steps=STEP//8, max_length=LONGEST, save_strategy='no', report_to='none',
                     disable_tqdm=True, use_cpu=True, bf16=False, dataloader_pin_memory=False)
    peft = LoraConfig(r=32, lora_alpha=64, target_modules='all-linear',
                      task_type='CAUSAL_LM') if method == 'lora' else None
    SFTTrainer(model=str(BASE), args=args,
               train_dataset=Dataset.from_list([dict(messages=r['messages']) for r in rows]), peft_config=peft).train()


def default(folder: Path, steps: int, method: str) -> None:
    "Our recipe as it comes"
    import llmops
    llmops.open(folder/'ws').sft('model:tiny', 'dataset:mixed', method=method, max_steps=steps, batch=STEP,
                                 max_length=LONGEST, save_steps=-1)


def ours(folder: Path, steps: int, method: str) -> None:
    "What our users write"
    import llmops
    ws = llmops.open(folder/'ws')
    ws.sft('model:tiny', 'dataset:rows', method=method, max_steps=steps, batch=BATCH, micro_batch=BATCH, lr=1e-4,
           log_every=1, save_steps=-1, checkpointing='off', optimizer='adamw_torch')


def count(tokens: list) -> None:
    "Note the tokens of each step that are not padding, where a batch enters the model"
    from transformers import Trainer
    from transformers.trainer_callback import CallbackHandler
    step, end, parts = Trainer.training_step, CallbackHandler.on_step_end, []

    def training_step(self, model, inputs, *a, **kw):
        parts.append(int(inputs['attention_mask'].sum()) if 'attention_mask' in inputs else inputs['input_ids'].numel())
        return step(self, model, inputs, *a, **kw)

    def on_step_end(self, *a, **kw):
        tokens.append(sum(parts))
        parts.clear()
        return end(self, *a, **kw)
    Trainer.training_step, CallbackHandler.on_step_end = training_step, on_step_end


def arm(which: str, folder: Path, steps: int, method: str, began: float) -> None:
    "In a process of its own: train, and print what it took"
    times, spent, tokens = [], {}, []
    import torch
    torch.set_num_threads(int(os.environ.get('OMP_NUM_THREADS', '1')))
    import transformers  # noqa: F401  (both pay for it)
    hook(times, spent)
    count(tokens)
    dict(raw=raw, ours=ours, trl=trl, default=default)[which](folder, steps, method)
    if which in ('trl', 'default'):
        print(json.dumps(dict(rate=sum(tokens[SKIP:])/(times[-1]-times[SKIP-1]), tokens=tokens)))
        return
    took = times[-1]-times[2]
    print(json.dumps(dict(first=times[0]-began, rate=BATCH*LENGTH*(len(times)-3)/took, seconds=time.time()-began,
                          callback_ms=1000*st.median(spent['steps'][1:]), callback_most_ms=1000*max(spent['steps'][1:]),
                          steps=len(times))))


def run(which: str, folder: Path, steps: int, method: str) -> dict:
    r = subprocess.run(
        [sys.executable, __file__, which, str(folder), str(steps), method, repr(time.time())], capture_output=True,
        text=True, env={**os.environ, 'OMP_NUM_THREADS': os.environ.get('OMP_NUM_THREADS', '1'), 'HF_HUB_OFFLINE': '1'})
    if r.returncode: raise RuntimeError(r.stderr[-3000:])
    return json.loads(r.stdout.strip().splitlines()[-1])


def rows_of(n: int) -> list[dict]:
    "Conversations that all have LENGTH tokens"
    from transformers import AutoTokenizer
    tok = AutoTokenizer.from_pretrained(BASE)
    def size(m): return len(tok.apply_chat_template(m, return_dict=True)['input_ids'])
    out, i = [], 0
    while len(out) < n:
        i += 1
        m = [dict(role='user', content=f'Count {i}'), dict(role='assistant', content='')]
        need = LENGTH-size(m)
        m[1]['content'] = ''.join('123456789'[(i+k) % 9] for k in range(need)) # A digit is a token
        if size(m) == LENGTH: out.append(dict(messages=m))
        elif i > 50*n: raise RuntimeError(f'rows have {size(m)} tokens, not {LENGTH}')
    return out


def prepare(folder: Path) -> None:
    import llmops
    (folder/'rows.jsonl').write_text('\n'.join(map(json.dumps, rows_of(64))))
    ws = llmops.open(folder/'ws')
    ws.add('model:tiny', str(BASE))
    ws.load(folder/'rows.jsonl', out='rows')
    ws.store.close()


def measure(ctx) -> None:
    steps, rounds = (5, 1) if ctx.small else (25, ctx.rounds)
    prepare(ctx.folder)
    for method in ('full', 'lora'):
        got: dict[str, list[dict]] = dict(raw=[], ours=[])
        for r in range(-1 if not ctx.small else 0, rounds): # The first round warms the disk's cache
            for which in (('raw', 'ours') if r % 2 else ('ours', 'raw')):
                x = run(which, ctx.folder, steps, method)
                if r >= 0: got[which].append(x)
        name = f'sft {method}'
        ctx.times[name] = {w: [1/x['rate'] for x in xs] for w, xs in got.items()}
        ctx.times[f'{name}, first step'] = {w: [x['first'] for x in xs] for w, xs in got.items()}
        for w, xs in got.items():
            print(f'    {name:28} {w:28} {st.median(x["rate"] for x in xs):9.0f} tokens/s, '
                  f'first step after {st.median(x["first"] for x in xs):.1f} s')
        ctx.ratio(name, 'ours', 'raw', .99, 'above', 'tokens a second, ours to raw')
        late = [a['first']-b['first'] for a, b in zip(got['ours'], got['raw'])]
        ctx.figure(f'{name}: first step, ours after raw', st.median(late), 2, st.median(late) <= 2, 'below',
                   'from the start of the process; '
                   f'best of each: {min(x["first"] for x in got["ours"])-min(x["first"] for x in got["raw"]):.2g} s',
                   ' s', [round(min(late), 2), round(max(late), 2)])
        cost = st.median(x['callback_ms'] for x in got['ours'])
        ctx.figure(f'{name}: our callbacks, a step', cost, .1, cost <= .1, 'below',
                   'on the thread that trains, a row of metrics every step; '
                   f'the slowest step {max(x["callback_most_ms"] for x in got["ours"]):.2g} ms', ' ms')


    defaults(ctx)


def defaults(ctx) -> None:
    "Our default recipe beside TRL's defaults"
    if not DATA.exists(): print('    our default recipe beside TRL: left out, since ../shared/data is not here'); return
    import llmops
    rows = [dict(messages=[dict(role='user', content=f"{r['instruction']} {r['input']}".strip()),
                           dict(role='assistant', content=r['output'])]) for r in json.loads(DATA.read_text())]
    (ctx.folder/'mixed.jsonl').write_text('\n'.join(map(json.dumps, rows)))
    ws = llmops.open(ctx.folder/'ws')
    ws.load(ctx.folder/'mixed.jsonl', out='mixed')
    ws.store.close()
    for method in ('lora',) if ctx.small else ('full', 'lora'):
        got: dict[str, list[dict]] = dict(trl=[], default=[])
        for r in range(1 if ctx.small else ctx.rounds):
            for which in (('trl', 'default') if r % 2 else ('default', 'trl')):
                got[which].append(run(which, ctx.folder, 4 if ctx.small else 12, method))
        name = f'mixed lengths, {method}'
        ctx.times[name] = {w: [1/x['rate'] for x in xs] for w, xs in got.items()}
        for w, xs in got.items():
            print(f'    {name:28} {w:28} {st.median(x["rate"] for x in xs):9.0f} tokens/s that are not padding')
        ctx.ratio(name, 'default', 'trl', 1.5, 'above',
                  'tokens a second that are not padding, our default recipe to TRL as it comes')


if __name__ == '__main__': arm(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4], float(sys.argv[5]))
