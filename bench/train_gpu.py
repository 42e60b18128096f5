"""Training on one GPU: our default recipe beside TRL's defaults, use of the card, and peak memory beside the estimate.

    .venv/bin/python bench/train_gpu.py                          all models, medians of five rounds, results in bench/results/train_gpu.json
    .venv/bin/python bench/train_gpu.py --models 8b --rounds 3
    .venv/bin/python bench/train_gpu.py --tiny                   the same on the CPU with small sizes: shows that it works, no more

Models have the sizes of real ones and random weights. Arms take turns, each in a process of its own; steps before the
fourth do not count. Tokens are those that are not padding, counted the same way in every arm, where a batch enters the
model. `mixed` is data of mixed lengths (log-normal, as instructions are); `full` are rows of one length, of which the MFU
is taken: 4N for LoRA and 6N for all weights, N being the weights that a token meets, as the card's data sheet counts.
The kernels that really ran are printed from a profile of one step behind the measured ones.

On a machine that reaches no registry and holds PyTorch, Transformers and PEFT, carry what is missing as wheels in a folder
(.whl; 14 MB; Python 3.12), and put it and the repository where Python looks:

    python3 -m pip download --no-deps --only-binary=:all: --python-version 3.12 --implementation cp --platform manylinux_2_28_x86_64 \
        --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 -d .whl trl==1.16.0 datasets==5.2.0 dill==0.4.1 \
        multiprocess==0.70.19 blake3 orjson sqlalchemy alembic mako fastcore zstandard       (liger-kernel too, to measure with it)
    python3 -m pip install -q --no-index --no-deps --no-compile --target /tmp/site .whl/*.whl
    PYTHONPATH=/tmp/site:. python3 bench/train_gpu.py --models 8b --methods lora --data full

An arm takes about a minute for 0.5B and two for 8B with --steps 20; all of it, two to three hours: where a command may take ten
minutes, give one model, one method and one kind of data at a time, and --append to add to the results.
"""
import argparse
import json
import math
import os
import random
import shutil
import statistics as st
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent)]
BASE = HERE.parent/'assets'/'tiny-qwen'
WARM = 3 # Steps that do not count
MODELS = {
    '0.5b': dict(model_type='qwen2', hidden_size=896, num_hidden_layers=24, num_attention_heads=14,
                 num_key_value_heads=2, intermediate_size=4864, vocab_size=151936,
                 max_position_embeddings=32768, tie_word_embeddings=True),
    '1b': dict(model_type='llama', hidden_size=2048, num_hidden_layers=16, num_attention_heads=32,
               num_key_value_heads=8, head_dim=64, intermediate_size=8192, vocab_size=128256,
               max_position_embeddings=131072, tie_word_embeddings=True),
    '3b': dict(model_type='qwen2', hidden_size=2048, num_hidden_layers=36, num_attention_heads=16,
               num_key_value_heads=2, intermediate_size=11008, vocab_size=151936,
               max_position_embeddings=32768, tie_word_embeddings=True),
    '8b': dict(model_type='llama', hidden_size=4096, num_hidden_layers=32, num_attention_heads=32,
               num_key_value_heads=8, intermediate_size=14336, vocab_size=128256,
               max_position_embeddings=131072, tie_word_embeddings=False)}
TINY = dict(model_type='llama', hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            intermediate_size=128, vocab_size=1024, max_position_embeddings=2048, tie_word_embeddings=True)


# --- inputs ----------------------------------------------------------------------------------------------------------

def make_model(name: str, folder: Path, tiny: bool) -> Path:
    "Random weights of a real size, in 16 bits, written in a process of its own"
    out = folder/name
    code = ('import sys, json, torch\nfrom transformers import AutoConfig, AutoModelForCausalLM\n'
            'c = json.loads(sys.argv[1])\n'
            'config = AutoConfig.for_model(c.pop("model_type"), pad_token_id=0, bos_token_id=None, eos_token_id=2, '
            '**c)\ntorch.manual_seed(0)\n'
            'with torch.device("cuda" if torch.cuda.is_available() else "cpu"): '
            'net = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)\n'
            'net.save_pretrained(sys.argv[2], max_shard_size="4GB")')
    subprocess.run([sys.executable, '-c', code, json.dumps(TINY if tiny else MODELS[name]), str(out)], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for p in BASE.iterdir():
        if 'token' in p.name or 'template' in p.name: shutil.copyfile(p, out/p.name)
    return out


def write_rows(path: Path, n: int, lengths: list[int]) -> None:
    "Conversations of given lengths in tokens: a digit is a token of the small tokenizer that all models get here"
    r = random.Random(0)
    from transformers import AutoTokenizer
    tok = AutoTokenizer.from_pretrained(BASE)
    frame = len(tok.apply_chat_template([dict(role='user', content='Count'), dict(role='assistant', content='1')],
                                        return_dict=True)['input_ids'])
    with open(path, 'w') as f:
        for i in range(n):
            answer = ''.join(r.choices('123456789', k=max(1, lengths[i % len(lengths)]-frame+1)))
            f.write(json.dumps(dict(messages=[dict(role='user', content='Count'),
                                              dict(role='assistant', content=answer)]))+'\n')


def mixed(n: int, most: int) -> list[int]:
    "Lengths as instructions have them: many short, some long"
    r = random.Random(1)
    return [max(24, min(most, round(r.lognormvariate(math.log(most/8), .9)))) for _ in range(n)]


# --- an arm: a process of its own ------------------------------------------------------------------------------------

class Watch:
    "Notes the end of each step, tokens that are not padding, peak memory and kernels"
    def __init__(self, steps: int):
        import torch
        from transformers import Trainer
        from transformers.trainer_callback import CallbackHandler
        self.torch, self.steps, self.at, self.tokens, self.parts, self.trainer, self.profile = (torch, steps, [], [],
                                                                                                [], None, None)
        self.gpu = torch.cuda.is_available()
        watch, training_step, on_step_end, train = (self, Trainer.training_step, CallbackHandler.on_step_end,
                                                    Trainer.train)

        def one(self, model, inputs, *a, **kw):
            mask = inputs.get('attention_mask')
            watch.parts.append((mask != 0).sum() if mask is not None else torch.tensor(
                (inputs['input_ids'] if 'input_ids' in inputs else next(iter(inputs.values()))).numel()))
            return training_step(self, model, inputs, *a, **kw)

        def end(self, args, state, control):
            if watch.gpu: torch.cuda.synchronize()
            watch.at.append(time.perf_counter())
            watch.tokens.append(watch.parts)
            watch.parts = []
            if len(watch.at) == steps-1: watch.start_profile()
            if len(watch.at) == steps: watch.end_profile()
            return on_step_end(self, args, state, control)

        def begin(self, *a, **kw):
            watch.trainer = self
            return train(self, *a, **kw)
        Trainer.training_step, CallbackHandler.on_step_end, Trainer.train = one, end, begin

    def start_profile(self) -> None:
        self.peak = self.torch.cuda.max_memory_allocated() if self.gpu else 0
        act = self.torch.profiler.ProfilerActivity
        self.profile = self.torch.profiler.profile(activities=[act.CUDA] if self.gpu else [act.CPU])
        self.profile.__enter__()

    def end_profile(self) -> None:
        self.profile.__exit__(None, None, None)
        key = 'self_device_time_total' if self.gpu else 'self_cpu_time_total'
        top = sorted(self.profile.key_averages(), key=lambda e: -getattr(e, key, 0))
        attend = [e.key for e in top if any(w in e.key.lower() for w in ('flash', 'fmha', 'sdpa', 'attention', 'attn'))]
        self.kernels = dict(top=[e.key[:90] for e in top[:8]], attention=[k[:90] for k in attend[:4]])

    def report(self) -> dict:
        "Of the measured steps: behind the warm ones, ahead of the profiled one"
        seconds = self.at[-2]-self.at[WARM-1]
        tokens = sum(int(t) for part in self.tokens[WARM:-1] for t in part)
        from llmops.engines.hardware import met
        n, t = met(self.trainer.accelerator.unwrap_model(self.trainer.model))
        args = self.trainer.args
        return dict(rate=tokens/seconds, step=seconds/(len(self.at)-1-WARM), n=n, trainable=t, peak=self.peak,
                    micro=args.per_device_train_batch_size, times=args.gradient_accumulation_steps,
                    checkpointing=bool(getattr(args, 'gradient_checkpointing', None)
                                       or getattr(args, 'activation_checkpointing', None)),
                    attention=str(getattr(self.trainer.model.config, '_attn_implementation', '')),
                    dtype=str(next(iter(self.trainer.model.parameters())).dtype), bf16=bool(args.bf16),
                    liger=bool(getattr(args, 'use_liger_kernel', False)), kernels=self.kernels)


def ours(q: dict, folder: Path) -> None:
    "Our default recipe: everything that is not the task is left open"
    import llmops
    ws = llmops.open(folder/'ws')
    more = {k: q[k] for k in ('max_length', 'micro_batch', 'checkpointing') if q.get(k)}
    ws.sft(f"model:{q['model']}", f"dataset:{q['data']}", method=q['method'], max_steps=q['steps'], batch=q['batch'],
           save_steps=-1, log_every=5, **more)


def theirs(q: dict, folder: Path) -> None:
    "TRL as it comes: the model by its path, a configuration with nothing but the task"
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer
    rows = [json.loads(x) for x in (folder/f"{q['data']}.jsonl").read_text().splitlines()]
    at = min(q['batch'], 8) # TRL's own number
    args = SFTConfig(output_dir=str(folder/'out'), max_steps=q['steps'], per_device_train_batch_size=at,
                     gradient_accumulation_steps=q['batch']//at, max_length=q['max_length'],
                     save_strategy='no', report_to='none', disable_tqdm=True,
                     **({} if torch.cuda.is_available() else dict(use_cpu=True, bf16=False)))
    peft = LoraConfig(r=32, lora_alpha=64, target_modules='all-linear',
                      task_type='CAUSAL_LM') if q['method'] == 'lora' else None
    SFTTrainer(model=str(folder/q['model']), args=args, train_dataset=Dataset.from_list(rows), peft_config=peft).train()


def arm(which: str, q: dict, folder: Path) -> None:
    w = Watch(q['steps'])
    try: (ours if which == 'ours' else theirs)(q, folder)
    except Exception as e:
        if 'memory' not in str(e).lower(): raise
        print(json.dumps(dict(oom=str(e)[:200])))
        return
    print(json.dumps(w.report()))


# --- the whole -------------------------------------------------------------------------------------------------------

def run(which: str, q: dict, folder: Path) -> dict:
    r = subprocess.run([sys.executable, __file__, '--arm', which, json.dumps(q), str(folder)], capture_output=True,
                       text=True, env={**os.environ, 'HF_HUB_OFFLINE': '1', 'WANDB_MODE': 'disabled'})
    if r.returncode: raise RuntimeError(r.stderr[-3000:])
    return json.loads(r.stdout.strip().splitlines()[-1])


def estimated(q: dict, got: dict, config: dict, tokens: int, gpu: bool) -> float:
    "What the estimate says of the very setting that ran, without what a process takes before any weight"
    from llmops.training.memory import Job, parts
    from llmops.training.shape import shape
    p = parts(shape(config), Job(q['method'], rows=got['micro'], tokens=tokens, times=got['times'], gpu=gpu,
                                 half=got['bf16'], keep=not got['checkpointing']))
    return p.total-p.process-p.slack


def possible(bf16: bool) -> float | None:
    from llmops.devices import cards, peak
    got = cards()
    return peak(got[0].name, 'bf16' if bf16 else 'fp32') if got else None


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--models', default='0.5b,1b,3b,8b', help=f'of {", ".join(MODELS)}')
    p.add_argument('--methods', default='lora,full', help='of lora, full')
    p.add_argument('--data', default='mixed,full', help='of mixed, full')
    p.add_argument('--rounds', type=int, default=5, help='rounds of turns')
    p.add_argument('--steps', type=int, default=20, help='optimiser steps of an arm')
    p.add_argument('--batch', type=int, default=16, help='rows of an optimiser step')
    p.add_argument('--length', type=int, default=2048, help='tokens of the longest row')
    p.add_argument('--tiny', action='store_true', help='small sizes on the CPU')
    p.add_argument('--folder', type=Path, help='where models and data lie (default: a temporary folder)')
    p.add_argument('--append', action='store_true', help='add to the results that are there')
    p.add_argument('--out', type=Path, default=HERE/'results'/'train_gpu.json', help='where results go')
    a = p.parse_args()
    names = ['tiny'] if a.tiny else a.models.split(',')
    if bad := set(names)-set(MODELS)-{'tiny'}: p.error(f'no such model: {", ".join(bad)}')
    if bad := (set(a.methods.split(','))-{'lora', 'full'}) | (set(a.data.split(','))-{'mixed', 'full'}):
        p.error(f'not known: {", ".join(bad)}')
    if a.tiny: a.steps, a.batch, a.length, a.rounds = 6, 4, 256, min(a.rounds, 2)
    import torch
    gpu = torch.cuda.is_available()
    if not gpu and not a.tiny: p.error('no GPU is to be seen here; --tiny shows on the CPU that this works')
    folder, results = a.folder or Path(tempfile.mkdtemp(prefix='llmops-gpu-')), []
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import llmops
        from llmops.modelfolder import describe
        ws = llmops.open(folder/'ws')
        for name, lengths in (('mixed', mixed(4096, a.length)), ('full', [a.length])):
            write_rows(folder/f'{name}.jsonl', (a.steps+2)*a.batch*(4 if name == 'mixed' else 1), lengths)
            ws.load(folder/f'{name}.jsonl', out=name)
        for name in names:
            at = make_model(name, folder, a.tiny)
            ws.store.put('model', name, dict(describe(at), files=ws.store.blobs.put_folder(at, link=True)))
            config = json.loads((at/'config.json').read_text())
            for method in a.methods.split(','):
                for data in a.data.split(','):
                    q = dict(model=name, method=method, data=data, steps=a.steps, batch=a.batch, max_length=a.length)
                    got: dict[str, list] = dict(ours=[], trl=[])
                    for r in range(a.rounds):
                        for which in (('ours', 'trl') if r % 2 else ('trl', 'ours')):
                            got[which].append(run(which, q, folder))
                    results.append(summary(q, got, config, gpu))
            shutil.rmtree(at, ignore_errors=True)
        ws.store.close()
    finally:
        if not a.folder: shutil.rmtree(folder, ignore_errors=True)
    if not a.tiny:
        a.out.parent.mkdir(parents=True, exist_ok=True)
        if a.append and a.out.exists(): results = json.loads(a.out.read_text())['results']+results
        a.out.write_text(json.dumps(dict(rounds=a.rounds, steps=a.steps, device=torch.cuda.get_device_name() if gpu
                                         else 'cpu', torch=torch.__version__, results=results), indent=1)+'\n')
    return 0


def summary(q: dict, got: dict, config: dict, gpu: bool) -> dict:
    "Figures of one setting, printed and kept"
    what = f"{q['model']} {q['method']} {q['data']} {q['max_length']}"
    out: dict = dict(q, arms={})
    for which, xs in got.items():
        ran = [x for x in xs if 'rate' in x]
        if not ran: out['arms'][which] = dict(oom=xs[0]['oom']); print(f'{what:28} {which:5} out of memory'); continue
        x, rate = ran[len(ran)//2], st.median(x['rate'] for x in ran)
        top = possible(x['bf16'])
        rule = 4 if q['method'] == 'lora' else 6
        mfu = rule*x['n']*rate/top if top else None
        # TRL's own run is not ours to estimate
        peak, said = (max(x['peak'] for x in ran),
                      estimated(q, x, config, q['max_length'], gpu) if which == 'ours' else 0.)
        out['arms'][which] = dict(rate=rate, rates=[round(x['rate']) for x in ran], mfu=mfu, mfu_rule=f'{rule}N',
                                  peak=peak, estimate=said,
                                  **{k: x[k] for k in ('micro', 'times', 'checkpointing', 'attention', 'dtype', 'bf16',
                                                       'liger', 'kernels', 'n', 'trainable')})
        memory = ', '.join(([f'peak {peak/2**30:.1f} GiB'] if peak else [])+(
            [f'estimate {said/2**30:.2f} GiB'+(f' ({said/peak-1:+.0%})' if peak else '')] if said else []))
        print(f"{what:28} {which:5} {rate:9.0f} tokens/s  {f'MFU {mfu:.1%} ({rule}N)' if mfu else 'MFU unknown'}  "
              f"{memory}  {x['micro']}×{x['times']} rows{', checkpointing' if x['checkpointing'] else ''}, "
              f"{x['attention']}{', Liger' if x['liger'] else ''}", flush=True)
        print(f"{'':34} kernels: {'; '.join(x['kernels']['attention'] or ['no attention kernel found'])} | "
              f"{'; '.join(x['kernels']['top'][:3])}", flush=True)
        if peak and said:
            print(
                f"  {'✓' if abs(said/peak-1) <= .1 else '✗'} {what}: memory estimated within 10 %: {said/peak-1:+.1%}",
                flush=True)
    both = [a['rate']/b['rate'] for a, b in zip(got['ours'], got['trl']) if 'rate' in a and 'rate' in b]
    if both:
        out['ratio'], goal = st.median(both), 1.5 if q['data'] == 'mixed' else 1.
        print(f"  {'✓' if out['ratio'] >= goal else '✗'} {what}: ours {out['ratio']:.2f}× TRL's defaults in tokens "
              f"that are not padding (goal ≥ {goal:g}×), {min(both):.2f} to {max(both):.2f}", flush=True)
    if ((mfu := out['arms'].get('ours', {}).get('mfu')) and q['model'] == '8b' and q['method'] == 'lora'
        and q['data'] == 'full'):
        print(f"  {'✓' if mfu >= .4 else '✗'} {what}: MFU {mfu:.1%} by 4N (goal ≥ 40 %)", flush=True)
    return out


if __name__ == '__main__':
    if len(sys.argv) > 1 and sys.argv[1] == '--arm': arm(sys.argv[2], json.loads(sys.argv[3]), Path(sys.argv[4]))
    else: sys.exit(main())
