"""What fine-tuning of models that see must do: learn from pictures, bring them along from the store, and come back the same."""
import json
import random
from pathlib import Path

import pytest

pytest.importorskip('trl', reason="training needs the packages of the 'train' extra")

from llmops.adapter import load_whole
from llmops.core import Invalid
from llmops.engines.trl_vision import ids_of, open_picture, open_processor
from llmops.modelfolder import check, describe
from llmops.verbs import files

BASE = Path(__file__).resolve().parent.parent/'assets'/'tiny-qwen'
TEMPLATE = """{%- for m in messages %}{{- '<|im_start|>' + m['role'] + '\\n' }}{%- for p in m['content'] %}{{- '<image>' if p['type'] == 'image' else p['text'] }}{%- endfor %}
{{- '<|im_end|>\\n' }}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""
COLOURS = dict(red=(1, 0, 0), blue=(0, 0, 1))


@pytest.fixture(scope='module')
def llava(tmp_path_factory) -> Path:
    "A small random model that sees, from LLaVA's own configuration class"
    import torch
    from transformers import (AutoTokenizer, CLIPImageProcessorPil, CLIPVisionConfig, LlamaConfig, LlavaConfig,
                              LlavaForConditionalGeneration, LlavaProcessor)
    out, tok = tmp_path_factory.mktemp('llava'), AutoTokenizer.from_pretrained(BASE)
    tok.add_special_tokens(dict(additional_special_tokens=['<image>']))
    torch.manual_seed(0)
    see = CLIPVisionConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
                           image_size=28, patch_size=14)
    say = LlamaConfig(vocab_size=len(tok), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                      num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=256,
                      pad_token_id=tok.pad_token_id, eos_token_id=tok.eos_token_id, bos_token_id=None)
    LlavaForConditionalGeneration(LlavaConfig(vision_config=see, text_config=say, vision_feature_layer=-1,
                                              image_token_index=tok.convert_tokens_to_ids('<image>'))).save_pretrained(
                                                  out)
    LlavaProcessor(image_processor=CLIPImageProcessorPil(size=dict(shortest_edge=28),
                                                         crop_size=dict(height=28, width=28)),
                   tokenizer=tok, patch_size=14, image_token='<image>', vision_feature_select_strategy='default',
                   num_additional_image_tokens=1, chat_template=TEMPLATE).save_pretrained(out)
    return out


def draw(folder: Path, n: int, seed: int) -> Path:
    "A file of questions about pictures: mostly red or mostly blue, of any size, shade and noise"
    from PIL import Image
    r, rows = random.Random(seed), []
    (folder/'pics').mkdir(parents=True)
    for i in range(n):
        name = r.choice(list(COLOURS))
        w, h = r.randint(20, 60), r.randint(20, 60)
        base = [60*r.random()+on*(110+50*r.random()) for on in COLOURS[name]]
        im = Image.new('RGB', (w, h))
        im.putdata([tuple(min(255, max(0, int(c+r.uniform(-30, 30)))) for c in base) for _ in range(w*h)])
        im.save(folder/'pics'/f'{i}.png')
        rows.append(dict(messages=[dict(role='user', content='<image>What colour is it?'),
                                   dict(role='assistant', content=name)], images=[f'pics/{i}.png']))
    (folder/'rows.jsonl').write_text('\n'.join(map(json.dumps, rows)))
    return folder/'rows.jsonl'


def right(net, reader, file: Path) -> float:
    "Part of the questions that are answered to the letter"
    good = 0
    rows = [json.loads(x) for x in file.read_text().splitlines()]
    for r in rows:
        asked = [dict(role='user', content=[dict(type='image'), dict(type='text', text='What colour is it?')])]
        text = reader.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        o = reader(text=[text], images=[[open_picture(str(file.parent/r['images'][0]))]], return_tensors='pt',
                   add_special_tokens=False)
        said = net.generate(**o, max_new_tokens=6, do_sample=False)[0, o['input_ids'].shape[1]:]
        good += reader.tokenizer.decode(said, skip_special_tokens=True).strip() == r['messages'][1]['content']
    return good/len(rows)


def test_a_folder_of_a_model_that_sees_is_taken(llava):
    assert [r for r in check(llava) if not r['passed']] == []
    d = describe(llava)
    assert d['architecture'] == 'LlavaForConditionalGeneration' and d['layers'] == 2 and not d['adapter']


@pytest.mark.parametrize('method, lr, steps', [('full', 1e-3, 24), ('lora', 1e-2, 24)])
def test_it_learns_to_tell_colours_from_pictures_in_the_store(method, lr, steps, llava, ws, tmp_path):
    import torch
    base = ws.add('model:llava', llava)
    data, test = ws.load(draw(tmp_path/'train', 64, 1), out='colours'), draw(tmp_path/'test', 40, 2)
    v = ws.sft(base, data, out='sees', method=method, max_steps=steps, batch=16, lr=lr, rank=8, alpha=16)
    assert v.body['recipe']['rows'] == dict(used=64, cut=0, left_out=0)
    whole = ws.merge(v, out='whole')
    reader, net = open_processor(files(ws.store, whole)), load_whole(files(ws.store, whole), dtype=torch.float32).eval()
    assert right(net, reader, test) >= .95 > .6 > right(load_whole(llava, dtype=torch.float32).eval(), reader, test)
    was, now = load_whole(llava, dtype=torch.float32).state_dict(), net.state_dict()
    moved = {k for k in was if not torch.equal(was[k], now[k])}
    assert (any(k.startswith('model.vision_tower') for k in moved)
            == (method == 'full')), 'an adapter leaves the eyes as they are'
    if method == 'full':
        assert all((files(ws.store, v)/n).read_bytes() == (llava/n).read_bytes()
                   for n in ('processor_config.json', 'chat_template.jinja', 'tokenizer.json'))


def test_a_picture_takes_as_many_places_as_it_has_patches(llava, tmp_path):
    file = draw(tmp_path/'x', 2, 3)
    reader = open_processor(llava)
    asked = [dict(role='user', content=[dict(type='image'), dict(type='text', text='?')])]
    ids = ids_of(reader, asked, [str(tmp_path/'x'/'pics'/'0.png')], True)
    assert ids.count(reader.tokenizer.convert_tokens_to_ids('<image>')) == 4 and file.exists()


def test_what_cannot_be_seen_is_said(llava, ws, tmp_path):
    base = ws.add('model:llava', llava)
    folder = draw(tmp_path/'x', 4, 4).parent
    rows = [json.loads(x) for x in (folder/'rows.jsonl').read_text().splitlines()]
    (folder/'sound.jsonl').write_text(
        '\n'.join(json.dumps(dict(messages=[dict(role='user', content=[dict(type='video', url='https://a.b/c.mp4')]),
                                            r['messages'][1]])) for r in rows))
    with pytest.raises(Invalid, match="part of type 'video'"):
        ws.sft(base, ws.load(folder/'sound.jsonl'), max_steps=1, batch=2)
    far = [dict(messages=[dict(role='user', content=[dict(type='image', url='https://a.b/c.png')]), r['messages'][1]])
           for r in rows]
    (folder/'far.jsonl').write_text('\n'.join(map(json.dumps, far)))
    with pytest.raises(Invalid, match='A picture is not there: https://a.b/c.png'):
        ws.sft(base, ws.load(folder/'far.jsonl'), max_steps=1, batch=2)
    with pytest.raises(Invalid, match='longer than 8 tokens with their pictures'):
        ws.sft(base, ws.load(folder/'rows.jsonl', out='y'), max_steps=1, batch=2, max_length=8)


def test_asking_and_serving_it_is_refused_in_a_sentence(llava, ws, tmp_path):
    base, data = ws.add('model:llava', llava), ws.load(draw(tmp_path/'x', 4, 5), out='colours')
    with pytest.raises(Invalid, match='This model sees pictures.*asking and serving it is not built yet'):
        ws.evaluate(base, [data])
    with pytest.raises(Invalid, match='model:llava@1 sees pictures.*serving it is not built yet'): ws.release(base)
    assert ws.store.find('report') == [] and ws.store.find('release') == []
