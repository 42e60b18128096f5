"Errors in the Chinese panels: each shape that the panel knows is that of a real error, and its Chinese says what the error says."
import json
import re
from pathlib import Path

import pytest

from llmops.core import LlmopsError, Ref
from llmops.verbs import VERBS, arguments, call, load_all, look, open_workspace

TABLE = Path(__file__).parent.parent/'jupyter_extension/src/zherrors.ts'
load_all()


def shapes() -> list[tuple[str, str]]:
    "Patterns and Chinese, as TypeScript has them"
    got = re.findall(r"^  \[(['\"])(.*?)\1, '(.*?)'\],?$", TABLE.read_text(encoding='utf-8'), re.M)
    return [(p.replace('\\\\', '\\'), zh) for _, p, zh in got]


@pytest.fixture(scope='module')
def errors(tmp_path_factory):
    "Real errors, as the server hands them on: the sentence without the command behind it"
    from llmops.core import check_kind, check_name
    from llmops.devices import Device
    from llmops.engines.trl_watch import Sentry
    from llmops.faces.pages import run_record
    from llmops.faces.server import problem
    from llmops.training.plan import refusal
    from llmops.training.memory import Job
    from llmops.training.shape import shape
    from llmops.tuning import complete
    at = tmp_path_factory.mktemp('zh')
    ws = open_workspace(at)
    (at/'chat.jsonl').write_text(
        '\n'.join(json.dumps(dict(messages=[dict(role='user', content=f'Say {w}.'), dict(role='assistant', content=w)]))
                  for w in ('cat', 'dog', 'sun')))
    call(ws.store, 'load', dict(path=str(at/'chat.jsonl'), out='chat'))
    ws.store.put('dataset', 'one', dict(rows=1, format='messages'))
    base = ws.store.put('model', 'base', dict(files=[]))
    adapter = ws.store.put('model', 'lora', dict(adapter=True, files=[]))
    class Me:
        store = ws.store
        def read(self, v): return v
    def ready():
        from llmops.training.fit import ready as f
        f(Me, base, ws.store.get('dataset:one'), complete(dict(stage='sft')))
    sft = VERBS['sft']
    given = dict(model='m', data='d')
    tries = [lambda: complete(dict(max_length=10**9)), lambda: complete(dict(rank=0)),
             lambda: complete(dict(weight_decay=-1.)), lambda: complete(dict(lr=2.)),
             lambda: complete(dict(seed=2**40)),
             lambda: complete(dict(stage='dpo', beta=0.)), lambda: arguments(sft, given | dict(max_steps='many')),
             lambda: arguments(sft, given | dict(lr='high')), lambda: arguments(sft, given | dict(packing='maybe')),
             lambda: arguments(sft, given | dict(method='lroa')), lambda: Ref.parse('chat'),
             lambda: arguments(sft, dict(model='m')), lambda: arguments(sft, given | dict(max_step=3)),
             lambda: complete(dict(max_setps=3)), lambda: check_name('a b'), lambda: check_kind('modle'),
             lambda: call(ws.store, 'sft', dict(model='dataset:chat', data='chat')),
             lambda: call(ws.store, 'dpo', dict(model='base', data='chat')),
             ready, lambda: call(ws.store, 'distil', dict(model='base', data='chat', teacher='lora')),
             lambda: call(ws.store, 'distil', dict(model='base', data='chat', teacher='base')),
             lambda: complete(dict(micro_batch=99)), lambda: complete(dict(parallel='ddp', nproc=1)),
             lambda: ws.store.get('model:nobody'), lambda: run_record(ws.store, 'nobody'),
             lambda: call(ws.store, 'nothing'), lambda: look(ws.store, 'nothing')]
    out = []
    for f in tries:
        with pytest.raises(LlmopsError) as e: f()
        out.append(problem(e.value)['message'])
    big = shape(dict(model_type='llama', hidden_size=4096, num_hidden_layers=32, num_attention_heads=32,
                     num_key_value_heads=8, intermediate_size=14336, vocab_size=128256, max_position_embeddings=8192,
                     tie_word_embeddings=False))
    out.append(refusal('model:big', big, Job(method='full', rows=4, tokens=4096, times=1),
                       Device('cuda', 'a card', 8 << 30, 8 << 30)))
    out.append(f'{Sentry().see(7, float("nan"))} of 9: the training diverged. Take a smaller learning rate than 0.1')
    assert adapter and len(out) == len(tries)+2
    yield out
    ws.store.close()


def test_every_shape_is_that_of_a_real_error(errors):
    assert len(shapes()) >= 28
    assert [p for p, _ in shapes() if not any(re.fullmatch(p, e, re.S) for e in errors)] == []
    for p, zh in shapes():
        hits = [m for e in errors if (m := re.fullmatch(p, e, re.S))]
        assert (all(hits[0].group(int(n)) for n in re.findall(r'\$(\d)', zh))
                and re.search('[\u4e00-\u9fff]', zh)), (p, zh)


def test_every_error_of_these_has_a_shape(errors):
    assert [e for e in errors if not any(re.fullmatch(p, e, re.S) for p, _ in shapes())] == []
