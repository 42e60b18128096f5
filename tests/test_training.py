"""What fine-tuning must do: learn, tell as it goes, stop, refuse what cannot work, and give the same weights again."""
import json
import random
import re
from pathlib import Path

import pytest

pytest.importorskip('trl', reason="training needs the packages of the 'train' extra")

from llmops.core import Failed, Invalid
from llmops.data.samples import FRAMES, HELD, INTENTS, draw, write_rows
from llmops.engines.trl import Trl
from llmops.modelfolder import check, describe
from llmops.ports import Trainer, engine
from llmops.rows import rows as stored_rows
from llmops.training.tiny import answer

ROOT = Path(__file__).resolve().parent.parent
BASE = ROOT/'assets'/'tiny-qwen'


def score(folder: Path, rows: list[dict], adapter: Path | None = None) -> float:
    "Part of the rows whose answer is right to the letter"
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    net = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if adapter:
        from peft import PeftModel
        net = PeftModel.from_pretrained(net, adapter)
    got = answer(net.eval(), AutoTokenizer.from_pretrained(folder), [r['messages'][:-1] for r in rows])
    return sum(g == r['messages'][-1]['content'] for g, r in zip(got, rows, strict=True))/len(rows)


@pytest.fixture(scope='module')
def tickets(tmp_path_factory) -> dict[str, list[dict]]:
    "Rows of the built-in dataset by split, and the training part as a file"
    rows = draw(dirty=False)
    out: dict = {s: [r for r in rows if r['split'] == s] for s in ('train', 'test', 'phrasings')}
    at = tmp_path_factory.mktemp('rows')
    return out | {'file': write_rows(out['train'], at/'rows.jsonl'),
                  'few': write_rows(out['train'][:60], at/'few.jsonl')}


def train(rows: Path, out: Path, **recipe) -> list[dict]:
    return list(Trl().train(recipe, BASE, rows, out))


# --- the base model that ships --------------------------------------------------------------------------------------

def test_shipped_base_is_small_sound_and_named():
    assert all(r['passed'] for r in check(BASE)), [r for r in check(BASE) if not r['passed']]
    d = describe(BASE)
    assert d['architecture'] == 'Qwen3ForCausalLM' and d['licence'] == 'apache-2.0' and d['parameters'] < 1_000_000
    assert sum(p.stat().st_size for p in BASE.glob('*.safetensors')) <= 2_000_000


def every(pattern: str) -> set[str]:
    "All ways to say a pattern of the base model's grammar"
    m = re.search(r'\[([^\[\]]*)\]', pattern)
    return set().union(*(every(pattern[:m.start()]+c+pattern[m.end():]) for c in m[1].split('|'))) if m else {pattern}


def test_base_was_not_taught_the_task():
    from llmops.training.skills import FRAMES as LETTERS
    from llmops.training.skills import TOPICS, talk
    r = random.Random(5)
    text = '\n'.join(m['content'] for _ in range(10_000) for m in talk(r))
    assert '"number"' in text and '"intent"' not in text and '"order"' not in text
    assert not set(LETTERS) & set(FRAMES) and not set(TOPICS) & set(INTENTS)
    said = {s for ps in TOPICS.values() for p in ps for s in every(p)}
    assert 'the courier is late' in said and not said & {p for ps in INTENTS.values() for p in ps[-HELD:]}


def test_template_gives_the_tokens_that_the_base_was_trained_on():
    from transformers import AutoTokenizer

    from llmops.training.skills import talk
    from llmops.training.tiny import encode
    tok, r = AutoTokenizer.from_pretrained(BASE), random.Random(7)
    for _ in range(200):
        m = talk(r)
        ids, labels = encode(tok, m)
        t = tok.apply_chat_template(m, return_dict=True, return_assistant_tokens_mask=True)
        assert (t['input_ids'], t['assistant_masks']) == (ids, [int(x >= 0) for x in labels])


# --- learning -------------------------------------------------------------------------------------------------------

def test_full_fine_tune_learns_what_the_base_cannot(tickets, tmp_path):
    rows = train(tickets['file'], tmp_path/'m', max_steps=120, batch=16)
    base, tuned = score(BASE, tickets['test'][:50]), score(tmp_path/'m', tickets['test'][:150])
    assert base <= .1 and tuned >= .9, (base, tuned)
    rows = [r for r in rows if 'message' not in r]
    steps = [r['step'] for r in rows]
    assert steps == sorted(steps) and steps[0] == 1 and steps[-1] == 120 and all(r['total'] == 120 for r in rows)
    last = rows[-1]
    assert last['loss'] < rows[0]['loss']/5 and {'loss', 'lr', 'grad_norm', 'tokens', 'tokens_per_s'} <= set(last)


@pytest.mark.slow
def test_lora_learns_too(tickets, tmp_path):
    train(tickets['file'], tmp_path/'m', method='lora', max_steps=120, batch=16)
    assert score(BASE, tickets['test'][:150], tmp_path/'m') >= .9
    assert sum(p.stat().st_size for p in (tmp_path/'m').glob('*.safetensors')) < 1_500_000


# --- the port -------------------------------------------------------------------------------------------------------

def test_trl_obeys_the_port():
    assert isinstance(engine('trainer', 'trl'), Trainer)


def test_same_seed_gives_the_same_weights_and_another_seed_does_not(tickets, tmp_path):
    for name, seed in (('a', 1), ('b', 1), ('c', 2)):
        train(tickets['few'], tmp_path/name, max_steps=3, batch=4, seed=seed)
    a, b, c = ((tmp_path/n/'model.safetensors').read_bytes() for n in 'abc')
    assert a == b != c


def test_who_stops_reading_ends_the_training(tickets, tmp_path):
    it = Trl().train(dict(max_steps=100_000, batch=4, log_every=1), BASE, tickets['few'], tmp_path/'m')
    assert [r['step'] for r in (next(it) for _ in range(4)) if 'loss' in r] == [1, 2]
    it.close()
    assert not (tmp_path/'m').exists()


def test_a_loss_that_is_no_number_ends_in_a_sentence(tickets, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    net = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    with torch.no_grad(): net.model.norm.weight.fill_(1e38)
    net.save_pretrained(tmp_path/'base')
    AutoTokenizer.from_pretrained(BASE).save_pretrained(tmp_path/'base')
    with pytest.raises(Failed,
                       match='no longer a number at step 1 of 5: the training diverged. Take a smaller learning rate'):
        list(Trl().train(dict(max_steps=5, batch=4), tmp_path/'base', tickets['few'], tmp_path/'m'))
    assert not (tmp_path/'m').exists()


@pytest.mark.parametrize('lines, says', [
    ([], 'The data has 0 rows'),
    ([dict(messages=[dict(role='user', content='a'), dict(role='assistant', content='b')])], 'The data has 1 row. '),
    ([dict(instruction='a', output='b')]*3, "Row 1 of the data has no 'messages', only: instruction, output"),
    ([dict(messages=[dict(role='user')])]*3, "Row 1 of the data has a message without 'role' and 'content'"),
    ([dict(messages=[dict(role='user', content='x'*9000), dict(role='assistant', content='b')])]*3,
     '3 of 3 rows have no answer within 1024 tokens'),
    ([dict(messages=[dict(role='user', content='a')])]*3, '3 of 3 rows have no answer'),
    (['{'], 'Row 1 of the data is not JSON'),
])
def test_rows_that_cannot_be_learned_from(lines, says, tmp_path):
    f = tmp_path/'rows.jsonl'
    f.write_text('\n'.join(x if isinstance(x, str) else json.dumps(x) for x in lines))
    with pytest.raises(Invalid, match=says): list(Trl().train({}, BASE, f, tmp_path/'m'))
    assert not (tmp_path/'m').exists()


def folder_without(out: Path, **gone) -> Path:
    from transformers import AutoModelForCausalLM, AutoTokenizer
    AutoModelForCausalLM.from_pretrained(BASE).save_pretrained(out)
    tok = AutoTokenizer.from_pretrained(BASE)
    for k, v in gone.items(): setattr(tok, k, v)
    tok.save_pretrained(out)
    return out


def test_tokenizers_that_lack_a_part(tickets, tmp_path):
    with pytest.raises(Invalid, match='no chat template'):
        list(Trl().train(dict(max_steps=1), folder_without(tmp_path/'a', chat_template=None), tickets['few'],
                         tmp_path/'m'))
    with pytest.raises(Invalid, match='neither a pad nor an end token'):
        list(Trl().train(dict(max_steps=1), folder_without(tmp_path/'b', pad_token=None, eos_token=None),
                         tickets['few'], tmp_path/'m'))
    rows = list(Trl().train(dict(max_steps=1, batch=2), folder_without(tmp_path/'c', pad_token=None), tickets['few'],
                            tmp_path/'m'))
    assert rows[-1]['step'] == 1 and json.loads((tmp_path/'m'/'recipe.json').read_text())['rows']['used'] == 60


# --- verbs ----------------------------------------------------------------------------------------------------------

def add_base(ws):
    return ws.store.put('model', 'tiny-qwen', dict(describe(BASE), files=ws.store.blobs.put_folder(BASE)))


def test_adapter_and_merged_model_say_the_same(ws):
    from llmops.verbs import files
    base, data = add_base(ws), ws.samples(rows=60, dirty=False)
    lora = ws.sft(base, data, method='lora', max_steps=4, batch=8, lr=1e-2, rank=4, alpha=8)
    whole = ws.merge(lora)
    rows = draw(60, dirty=False)[:20]
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer
    tok = AutoTokenizer.from_pretrained(BASE)
    both = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32),
                                     files(ws.store, lora)).eval()
    one = AutoModelForCausalLM.from_pretrained(files(ws.store, whole), dtype=torch.float32)
    ask = [r['messages'][:1] for r in rows]
    assert (answer(one, tok, ask, new=16) == answer(both, tok, ask, new=16)
            != answer(AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32), tok, ask, new=16))
    assert lora.body['adapter'] and not whole.body['adapter'] and whole.body['base']['digest'] == base.digest
    assert ({k: whole.body[k] for k in ('chat_template', 'tokenizer', 'licence', 'parameters')}
            == {k: base.body[k] for k in ('chat_template', 'tokenizer', 'licence', 'parameters')})


def test_long_rows_of_real_data_are_cut_and_counted(ws, data):
    base = add_base(ws)
    v = ws.load(data/'llamafactory'/'alpaca_en_demo.json', rows=60)
    m = ws.sft(base, v, max_steps=2, batch=2, max_length=200)
    n = m.body['recipe']['rows']
    assert n['cut'] > 0 and n['used'] + n['left_out'] == 60


@pytest.mark.parametrize('family', ['Llama', 'Glm4'])
@pytest.mark.parametrize('method', ['full', 'lora'])
def test_other_families_and_unmarked_templates_train(family, method, tickets, tmp_path):
    import torch
    import transformers
    tok = transformers.AutoTokenizer.from_pretrained(BASE)
    tok.chat_template = tok.chat_template.replace('{%- generation %}', '').replace('{%- endgeneration %}', '')
    torch.manual_seed(0)
    config = getattr(transformers, f'{family}Config')(
        vocab_size=len(tok), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        head_dim=16, intermediate_size=64,
        max_position_embeddings=256, pad_token_id=tok.pad_token_id, eos_token_id=tok.eos_token_id, bos_token_id=None)
    getattr(transformers, f'{family}ForCausalLM')(config).save_pretrained(tmp_path/'base')
    tok.save_pretrained(tmp_path/'base')
    rows = list(Trl().train(dict(method=method, max_steps=8, batch=8, rank=4, alpha=8, log_every=1, lr=1e-2),
                            tmp_path/'base', tickets['few'], tmp_path/'m'))
    rows = [r for r in rows if 'loss' in r]
    assert [r['step'] for r in rows] == list(range(1, 9)) and rows[-1]['loss'] < rows[0]['loss']
    assert describe(tmp_path/'m')['adapter'] == (method == 'lora')


def test_tickets_as_an_alpaca_file_come_back_the_same(ws, tmp_path):
    from llmops.data.samples import to_alpaca
    rows = draw(60, dirty=False)
    v = ws.load(write_rows(to_alpaca(rows), tmp_path/'tickets.jsonl'))
    back = list(stored_rows(ws.store, v, origin=False))
    assert ([(r['messages'], r['phrase'], r['split']) for r in back]
            == [(r['messages'], r['phrase'], r['split']) for r in rows])


def test_cleaning_takes_out_what_was_spoiled_and_splitting_keeps_held_out_rows_apart(ws):
    raw = ws.samples(rows=600)
    clean = ws.clean(raw)
    assert (raw.body['rows'], clean.body['rows']) == (620, 600)
    assert ({p.name: p.body['rows'] for p in ws.split(clean, out='t')}
            == {'t-train': 500, 't-test': 50, 't-phrasings': 50})
