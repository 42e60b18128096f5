"What is left out of a training to make it lean changes nothing: losses, gradients and counts of tokens are those of plain Transformers."
from pathlib import Path

import pytest

from llmops.engines import trl_lean, trl_work
from llmops.engines.trl_data import open_tokenizer
from llmops.engines.trl_watch import watch
from llmops.tuning import complete

ROOT = Path(__file__).resolve().parent.parent
BASE = ROOT/'assets'/'tiny-qwen'
FAMILIES = dict(Llama={}, Mistral=dict(sliding_window=8), Qwen2={}, Qwen3={},
                Gemma2=dict(sliding_window=8, query_pre_attn_scalar=16), Phi3={}, Glm4={},
                OPT=dict(ffn_dim=112, word_embed_proj_dim=64),
                GPT2=dict(n_embd=64, n_layer=2, n_head=4, n_positions=128),
                Qwen3Moe=dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32))
SIZE = dict(vocab_size=768, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            head_dim=16, intermediate_size=112, max_position_embeddings=128,
            pad_token_id=0, bos_token_id=None, eos_token_id=2)


def rows(n=12, packed=False) -> dict:
    ids = [[5+(7*i+k) % 500 for k in range(6+(i*5) % 23)] for i in range(n)]
    if not packed: return dict(input_ids=ids, labels=[[-100]*2+x[2:] for x in ids])
    from llmops.engines.trl_pack import pack
    return pack(dict(input_ids=ids, labels=ids), 40)


def job(model: Path, **more) -> dict:
    return (complete(dict(stage='sft', max_steps=3, batch=4, micro_batch=4, log_every=1,
                          lr=1e-3, save_steps=-1, **more))
            | dict(model=str(model), rows='', out='', work='', resume='', eval='', adapter='', teacher='', reward=''))


def trained(j: dict, cols: dict, folder: Path) -> list:
    told = []
    tok = open_tokenizer(BASE)
    t = trl_work.make(j, tok, cols, None, folder)
    done = watch(t, j, told.append, lambda: '', tok)
    try: t.train()
    finally: done()
    return [(r['loss'], r['grad_norm'], r['tokens']) for r in told if 'loss' in r]


@pytest.mark.parametrize('family', FAMILIES)
def test_without_the_mask_of_padding_a_model_learns_the_same(family, tmp_path, monkeypatch):
    import torch
    import transformers
    config = getattr(transformers, f'{family}Config')(**(SIZE | FAMILIES[family]))
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(tmp_path/'m')
    lean = trained(job(tmp_path/'m'), rows(), tmp_path/'a')
    monkeypatch.setattr('llmops.engines.trl_stages.unmasked', lambda *_: False)
    plain = trained(job(tmp_path/'m'), rows(), tmp_path/'b')
    assert len(lean) == 3 and [x[2] for x in lean] == [x[2] for x in plain]
    for a, b in zip(lean, plain): assert a[:2] == pytest.approx(b[:2], rel=1e-4, abs=2e-5)


@pytest.mark.parametrize('method', ['full', 'lora', 'prompt'])
def test_tokens_are_those_of_the_rows(method, tmp_path):
    cols = rows()
    said = trained(job(BASE, method=method), cols, tmp_path)
    assert said[-1][2] == sum(map(len, cols['input_ids'])) # Learned tokens are no tokens of the data


def test_tokens_of_packed_rows_are_all_counted(tmp_path):
    cols = rows(24, packed=True)
    j = job(BASE, packing=True) | dict(max_steps=0, epochs=1.)
    assert (trained(j, cols, tmp_path)[-1][2] == sum(map(sum, cols['seq_lengths']))
            == sum(len(x) for x in rows(24)['input_ids']))


@pytest.mark.parametrize('method', ['lora', 'rslora', 'dora', 'qlora'])
def test_adapters_in_16_bits_learn_the_same_from_inputs_that_are_not_copied(method, tmp_path, monkeypatch):
    j = job(BASE, method=method, precision='bf16', rank=4)
    lean = trained(dict(j), rows(), tmp_path/'a')
    monkeypatch.setattr(trl_work, 'uncopied', lambda *_: 0)
    assert lean == trained(dict(j), rows(), tmp_path/'b')


@pytest.mark.parametrize('twice', ['on', 'off'])
def test_sixteen_bit_copies_are_kept_where_they_are_used_again(twice, tmp_path, monkeypatch):
    import torch
    from transformers.models.qwen3.modeling_qwen3 import Qwen3MLP
    real, seen = Qwen3MLP.forward, set()

    def forward(self, *a, **kw):
        seen.add((torch.is_autocast_enabled('cpu'), torch.is_autocast_cache_enabled()))
        return real(self, *a, **kw)
    monkeypatch.setattr(Qwen3MLP, 'forward', forward)
    got = trained(job(BASE, precision='bf16', checkpointing=twice), rows(), tmp_path)
    torch.set_autocast_cache_enabled(True)
    assert seen == {(True, twice == 'off')} and len(got) == 3


def test_an_answer_is_written_with_its_mask():
    import torch
    from transformers import AutoModelForCausalLM
    net = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32).eval()
    ids, mask = torch.tensor([[0, 0, 0, 5, 9, 30], [5, 9, 30, 41, 8, 7]]), torch.tensor([[0, 0, 0, 1, 1, 1], [1]*6])
    def write(): return net.generate(input_ids=ids, attention_mask=mask, max_new_tokens=5, do_sample=False).tolist()
    before = write()
    assert trl_lean.unmasked(dict(method='full', parallel=''), net) and write() == before


@pytest.mark.parametrize('kind', ['AutoModelForImageTextToText', 'eager'])
def test_models_that_may_look_ahead_keep_their_mask(kind):
    import torch
    import transformers
    text = transformers.Qwen2Config(**SIZE)
    if kind == 'eager':
        net = transformers.AutoModelForCausalLM.from_config(text, attn_implementation='eager', dtype=torch.float32)
    else:
        see = transformers.CLIPVisionConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=1,
                                            num_attention_heads=2, image_size=28, patch_size=14)
        net = transformers.LlavaForConditionalGeneration(
            transformers.LlavaConfig(vision_config=see, text_config=text, image_token_index=3))
    assert trl_lean.unmasked(dict(method='full', parallel=''), net) is False


@pytest.mark.parametrize('there', [True, False])
def test_liger_is_used_where_it_is_installed_and_there_is_a_gpu(there, monkeypatch):
    monkeypatch.setattr(trl_lean, 'have', lambda name: there and name == 'liger_kernel')
    assert (trl_lean.liger(dict(use_cpu=False)),
            trl_lean.liger(dict(use_cpu=True))) == (dict(use_liger_kernel=True) if there else {}, {})


def test_a_gpu_gets_one_kernel_and_older_transformers_its_own_words(monkeypatch):
    assert trl_lean.lean(dict(optim='adamw_torch', use_cpu=False))['optim'] == 'adamw_torch_fused'
    real = trl_lean.fields
    monkeypatch.setattr(trl_lean, 'fields', lambda c: [f for f in real(c) if f.name != 'activation_checkpointing'])
    assert (trl_lean.lean(dict(use_cpu=True, gradient_checkpointing=None, activation_checkpointing=True))
            == dict(use_cpu=True, gradient_checkpointing=True))
