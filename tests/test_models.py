"Models of the Llama, Qwen and GLM families: built from their own configuration classes, checked, imported, loaded."
import http.server
import json
import os
import shutil
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from llmops.core import Failed, Invalid
from llmops.modelfolder import check, describe
from llmops.weights import read_header

WORDS = ['the quick brown fox jumps over the lazy dog', 'pack my box with five dozen liquor jugs', '天地玄黄 宇宙洪荒']
TEMPLATE = ("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
            "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
SIZE = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            max_position_embeddings=128, pad_token_id=0, eos_token_id=2, bos_token_id=None)
FAMILIES = {'llama': ('Llama', 'Llama', {}), 'qwen2': ('Qwen2', 'Qwen', {}),
            'qwen3': ('Qwen3', 'Qwen', dict(head_dim=8)),
            'glm': ('Glm', 'ChatGLM', dict(head_dim=8)), 'glm4': ('Glm4', 'ChatGLM', dict(head_dim=8))}


@pytest.fixture(scope='module')
def tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast
    t = Tokenizer(models.BPE())
    t.pre_tokenizer, t.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    t.train_from_iterator(
        WORDS, trainers.BpeTrainer(vocab_size=300, special_tokens=['<|endoftext|>', '<|im_start|>', '<|im_end|>'],
                                   initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    fast = PreTrainedTokenizerFast(tokenizer_object=t, eos_token='<|im_end|>', pad_token='<|endoftext|>')
    fast.chat_template = TEMPLATE
    return fast


@pytest.fixture(scope='module')
def folders(tmp_path_factory, tokenizer):
    "One folder a family, as transformers writes it; qwen3 in several shards"
    import torch
    import transformers
    torch.manual_seed(0)
    at = tmp_path_factory.mktemp('families')
    for name, (cls, _, more) in FAMILIES.items():
        config = getattr(transformers, f'{cls}Config')(vocab_size=len(tokenizer), **SIZE, **more)
        model = getattr(transformers, f'{cls}ForCausalLM')(config)
        model.generation_config = transformers.GenerationConfig(max_new_tokens=20, do_sample=True, temperature=0.7,
                                                                eos_token_id=[2, 0])
        model.save_pretrained(at/name, max_shard_size='20KB' if name == 'qwen3' else '1GB')
        tokenizer.save_pretrained(at/name)
    return at


def failed(folder, **kw): return {r['check']: r['why'] for r in check(folder, **kw) if not r['passed']}


def listing(ws): return [r['ref'] for r in ws.ls(all=True)], sorted((d, s) for d, s, _ in ws.store.blobs.all())


@pytest.mark.parametrize('name', FAMILIES)
def test_a_family_passes_every_check_and_is_described(folders, tokenizer, name):
    from blake3 import blake3
    from transformers import AutoModelForCausalLM
    cls, family, _ = FAMILIES[name]
    assert failed(folders/name) == {}
    d = describe(folders/name)
    model = AutoModelForCausalLM.from_pretrained(folders/name)
    assert (d['architecture'], d['family'], d['dtype']) == (f'{cls}ForCausalLM', family, 'F32')
    assert d['parameters'] == sum(p.numel() for p in model.parameters())
    assert (d['vocab'], d['context'], d['layers'], d['hidden']) == (len(tokenizer), 128, 2, 32)
    assert d['chat_template'] == blake3(TEMPLATE.encode()).hexdigest()
    assert d['tokenizer'] == blake3((folders/name/'tokenizer.json').read_bytes()).hexdigest()


@pytest.mark.parametrize('name', FAMILIES)
def test_an_imported_family_answers_as_before(ws, folders, name):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from llmops.verbs import files
    v = ws.import_model(str(folders/name), licence='apache-2.0')
    assert str(v) == f'model:{name}@1' and v.body['licence'] == 'apache-2.0' and str(folders) not in json.dumps(v.body)
    at = files(ws.store, v)
    assert sorted(p.name for p in at.iterdir()) == sorted(p.name for p in (folders/name).iterdir())
    t = AutoTokenizer.from_pretrained(at)
    ids = t(t.apply_chat_template([dict(role='user', content='the quick fox')], tokenize=False,
                                  add_generation_prompt=True), return_tensors='pt').input_ids
    with torch.no_grad():
        a, b = (AutoModelForCausalLM.from_pretrained(p).eval()(ids).logits for p in (folders/name, at))
    assert torch.equal(a, b) and ids.shape[1] > 5
    assert (str(ws.import_model(str(folders/name), licence='apache-2.0'))
            == f'model:{name}@1'), 'the same files make no second version'


def test_the_headers_agree_with_the_reference_reader(folders):
    from safetensors import safe_open
    seen = 0
    for p in folders.rglob('*.safetensors'):
        with safe_open(p, 'pt') as f:
            mine = read_header(p)
            assert set(mine) == set(f.keys())
            for k in mine:
                assert (mine[k]['dtype'], mine[k]['shape']) == (f.get_slice(k).get_dtype(),
                                                                list(f.get_slice(k).get_shape()))
            seen += len(mine)
    assert seen > 90


def test_settings_of_nearly_all_families_that_transformers_knows():
    "Every configuration class with its defaults, read back: text models all pass, a few of vision and sound do not"
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING, CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    from llmops.modeljson import check_json
    good, bad = [], {}
    for k in sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        if k not in CONFIG_MAPPING_NAMES: continue
        try: o = json.loads(CONFIG_MAPPING[k]().to_json_string())
        except Exception: continue # Some classes cannot be made without arguments
        got = check_json('config.json', o)
        if w := got['code']+got['keys']+got['values']: bad[k] = w
        else: good.append(k)
    assert len(good) > 150 and len(bad) <= 0.03*len(good), bad
    assert {'llama', 'qwen2', 'qwen3', 'qwen3_moe', 'glm', 'glm4', 'glm4_moe', 'mistral', 'gemma3_text', 'phi3',
            'deepseek_v3', 'gpt2', 'opt'} <= set(good), bad


def test_an_adapter_needs_its_base(ws, folders, tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM
    p = get_peft_model(AutoModelForCausalLM.from_pretrained(folders/'llama'),
                       LoraConfig(r=4, task_type='CAUSAL_LM', target_modules=['q_proj', 'v_proj']))
    p.save_pretrained(tmp_path/'lora')
    base = ws.import_model(str(folders/'llama'))
    with pytest.raises(Invalid, match='base=model:NAME'): ws.import_model(str(tmp_path/'lora'))
    a = ws.import_model(str(tmp_path/'lora'), base='llama')
    assert (a.body['adapter'], a.body['base'], a.body['rank'],
            a.body['method']) == (True, dict(ref=str(base), digest=base.digest), 4, 'lora')
    assert [r['ref'] for r in ws.lineage(a) if r['direction'] == 'up'] == ['model:llama@1']
    c = json.loads((tmp_path/'lora'/'adapter_config.json').read_text())
    (tmp_path/'lora'/'adapter_config.json').write_text(json.dumps(c | {'r': 8}))
    assert 'do not have rank 8' in failed(tmp_path/'lora')['adapter']
    (tmp_path/'lora'/'adapter_config.json').write_text(
        json.dumps(c | {'auto_mapping': {'parent_library': 'os', 'base_model_class': 'x'}}))
    assert "engine import 'os'" in failed(tmp_path/'lora')['code']


# --- what goes wrong with real folders --------------------------------------------------------------------------------

def _edit(folder, name, **change):
    p = folder/name
    p.write_text(json.dumps(json.loads(p.read_text()) | change))


def _first(folder, pattern='*.safetensors'): return sorted(folder.glob(pattern))[0]


def _nan(folder):
    h = read_header(p := _first(folder))
    with open(p, 'r+b') as f:
        f.seek(next(iter(h.values()))['start'])
        f.write(struct.pack('<f', float('nan')))


FAULTS = {
    'a shard is missing': ('qwen3', lambda d: _first(d).unlink(), 'shards', 'is missing; the index names it'),
    'the index names a tensor that is nowhere':
    ('qwen3', lambda d: _edit(d, 'model.safetensors.index.json', weight_map={
        **json.loads((d/'model.safetensors.index.json').read_text())['weight_map'], 'ghost.weight': _first(d).name}),
     'shards', 'ghost.weight'),
    'the index leads out': ('qwen3', lambda d: _edit(d, 'model.safetensors.index.json',
                                                     weight_map={'a': '../../secret.safetensors'}),
                            'shards', 'not a .safetensors file of this folder'),
    'two shards are exchanged': ('qwen3', lambda d: [
        shutil.move(d/a, d/b) for a, b in (('model-00001-of-00007.safetensors', 'x'),
                                           ('model-00002-of-00007.safetensors', 'model-00001-of-00007.safetensors'),
                                           ('x', 'model-00002-of-00007.safetensors'))], 'shards', 'not in the shard'),
    'the index is lost': ('qwen3', lambda d: (d/'model.safetensors.index.json').unlink(), 'shards',
                          'no index names it'),
    'cut short': ('llama', lambda d: os.truncate(d/'model.safetensors', 5000), 'weights', 'cut short'),
    'a bit more': ('llama', lambda d: (d/'model.safetensors').write_bytes((d/'model.safetensors').read_bytes()+b'x'),
                   'weights', 'extra bytes'),
    'a NaN': ('llama', _nan, 'numbers', 'model.safetensors: '),
    'the vocabulary is larger than the weights': ('glm4', lambda d: _edit(d, 'config.json', vocab_size=200),
                                                  'tokenizer', 'vocab_size 200'),
    'an end token that is nowhere': ('glm4', lambda d: _edit(d, 'generation_config.json', eos_token_id=[2, 9000]),
                                     'tokenizer', '9000'),
    'no settings': ('glm', lambda d: (d/'config.json').unlink(), 'complete', 'no config.json'),
    'no weights': ('glm', lambda d: (d/'model.safetensors').unlink(), 'complete', 'no .safetensors'),
    'weights of a torch.save': ('llama', lambda d: __import__('torch').save({}, d/'pytorch_model.bin'), 'formats',
                                '.bin is not taken'),
    'a torch.save that calls itself safetensors': ('llama',
                                                   lambda d: __import__('torch').save({}, d/'model.safetensors'),
                                                   'formats', 'pickle inside'),
    'a pointer instead of the weights': ('llama', lambda d: (d/'model.safetensors').write_text(
        'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n'), 'formats', 'git lfs pull'),
    'a page instead of the weights': ('llama', lambda d: (d/'model.safetensors').write_text('<!DOCTYPE html><html>'),
                                      'formats', 'web page'),
    'nothing in the weights': ('llama', lambda d: (d/'model.safetensors').write_bytes(b''), 'formats', 'empty'),
    'a key that nobody knows': ('qwen2', lambda d: _edit(d, 'config.json', surprise=1), 'keys', 'unknown key surprise'),
    'a method that nobody knows': ('qwen2',
                                   lambda d: _edit(d, 'config.json', quantization_config={'quant_method': 'mine'}),
                                   'keys', 'not a known method'),
    'a family that needs code': ('qwen2', lambda d: _edit(d, 'config.json', model_type='my_model'), 'keys',
                                 'no family that transformers brings'),
    'old ChatGLM': ('qwen2', lambda d: _edit(d, 'config.json', model_type='chatglm'), 'code', '-hf'),
}


@pytest.mark.parametrize('what', FAULTS)
def test_a_fault_is_named_and_nothing_is_kept(ws, folders, tmp_path, what):
    name, spoil, where, why = FAULTS[what]
    shutil.copytree(folders/name, tmp_path/'m')
    spoil(tmp_path/'m')
    before = listing(ws)
    assert why in failed(tmp_path/'m')[where]
    with pytest.raises(Invalid, match='This model was refused'): ws.import_model(str(tmp_path/'m'))
    assert listing(ws) == before


def test_an_unknown_key_can_be_allowed_and_code_can_not(ws, folders, tmp_path):
    shutil.copytree(folders/'qwen2', tmp_path/'m')
    _edit(tmp_path/'m', 'config.json', surprise=1)
    with pytest.raises(Invalid, match='allow=key'): ws.import_model(str(tmp_path/'m'))
    assert ws.import_model(str(tmp_path/'m'), allow='surprise').body['allowed'] == ['surprise']
    _edit(tmp_path/'m', 'config.json', auto_map={'AutoModel': 'x.Y'})
    with pytest.raises(Invalid, match='auto_map can make the engine run code'):
        ws.import_model(str(tmp_path/'m'), allow='surprise,auto_map')


# --- hubs -------------------------------------------------------------------------------------------------------------

class Hub(http.server.BaseHTTPRequestHandler):
    "As much of both hubs' protocols as their own clients ask for, over files of a folder"
    root, sha, asked = Path(), 'c'*40, [] # type: ignore[var-annotated]

    def log_message(self, *_): pass

    def _files(self): return sorted(p for p in self.root.iterdir() if p.is_file())

    def _send(self, body, code=200, **headers):
        self.send_response(code)
        for k, v in {'Content-Length': len(body), **headers}.items(): self.send_header(k.replace('_', '-'), str(v))
        self.end_headers()
        if self.command == 'GET': self.wfile.write(body)

    def _json(self, o, code=200): self._send(json.dumps(o).encode(), code, Content_Type='application/json')

    def _file(self, name, **headers):
        import hashlib
        p = self.root/name
        if not p.is_file(): return self._send(b'', 404)
        b = p.read_bytes()
        span = self.headers.get('Range')
        if span and self.command == 'GET':
            a, _, z = span.removeprefix('bytes=').partition('-')
            part = b[int(a):int(z)+1 if z else None]
            return self._send(part, 206, Content_Range=f'bytes {a}-{int(a)+len(part)-1}/{len(b)}',
                              ETag=f'"{hashlib.sha256(b).hexdigest()}"', **headers)
        self._send(b, ETag=f'"{hashlib.sha256(b).hexdigest()}"', **headers)

    def do_HEAD(self): self.do_GET()

    def do_GET(self):
        import hashlib
        from urllib.parse import parse_qs, unquote, urlsplit
        u = urlsplit(self.path)
        path, q = unquote(u.path), parse_qs(u.query)
        self.asked.append(path+('?'+u.query if u.query else ''))
        if path.startswith(('/api/models/org/tiny/revision/', '/api/models/org/tiny')) and '/tree/' not in path:
            if path.endswith('/nope'): return self._send(b'', 404, **{'X_Error_Code': 'RevisionNotFound'})
            return self._json(dict(id='org/tiny', modelId='org/tiny', sha=self.sha, private=False, tags=[], downloads=0,
                                   likes=0, siblings=[dict(rfilename=p.name) for p in self._files()]))
        if '/tree/' in path:
            return self._json([dict(type='file', path=p.name, size=p.stat().st_size,
                                    oid=hashlib.sha1(p.read_bytes()).hexdigest()) for p in self._files()])
        if path.startswith('/org/tiny/resolve/'):
            return self._file(path.rsplit('/', 1)[1], X_Repo_Commit=self.sha, Accept_Ranges='bytes')
        if path == '/api/v1/models/org/tiny/repo/files':
            return self._json(dict(Code=200, Success=True, Data=dict(Files=[
                dict(Path=p.name, Name=p.name, Type='blob', Size=p.stat().st_size, Revision=self.sha, CommittedDate=1,
                     Sha256=hashlib.sha256(p.read_bytes()).hexdigest()) for p in self._files()])))
        if path == '/api/v1/models/org/tiny/repo': return self._file(q['FilePath'][0], Accept_Ranges='bytes')
        return self._json(dict(Code=404, Success=False, Message='not found', error='not found'), 404)


@pytest.fixture
def hub(folders, tmp_path):
    root = tmp_path/'hub'
    shutil.copytree(folders/'qwen3', root)
    (root/'pytorch_model.bin').write_bytes(b'\x80\x04pickle')
    (root/'modeling_qwen.py').write_text('raise SystemExit')
    (root/'README.md').write_text('---\nlicense: mit\nbase_model: org/base\n---\n# tiny\n')
    handler = type('H', (Hub,), dict(root=root, asked=[]))
    s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
    threading.Thread(target=s.serve_forever, daemon=True).start()
    s.handler = handler
    yield s
    s.shutdown()
    s.server_close()


def _cli(tmp_path, hub, *args):
    "The command line in a process of its own: the hubs' clients read their settings when they are imported"
    at = f'http://127.0.0.1:{hub.server_port}' if hub else 'http://127.0.0.1:9'
    env = {k: v for k, v in os.environ.items() if k not in ('HF_HUB_OFFLINE', 'HF_TOKEN')}
    env |= dict(HF_ENDPOINT=at, MODELSCOPE_ENDPOINT=at, HOME=str(tmp_path/'home'), HF_HOME=str(tmp_path/'hf'),
                MODELSCOPE_CACHE=str(tmp_path/'ms'),
                LLMOPS_STORE=str(tmp_path/'ws'), NO_PROXY='127.0.0.1', PYTHONWARNINGS='ignore')
    t = time.time()
    r = subprocess.run([str(Path(sys.executable).parent/'llmops'), *args], env=env, cwd=tmp_path, capture_output=True,
                       text=True, timeout=120)
    return r, time.time()-t


@pytest.mark.parametrize('source', ['hf:org/tiny', 'ms:org/tiny'])
def test_a_hub_model_is_pinned_and_brings_no_pickle(folders, tmp_path, hub, source):
    r, _ = _cli(tmp_path, hub, 'add', 'model:tiny', source, '--json')
    assert r.returncode == 0, r.stderr
    r, _ = _cli(tmp_path, hub, 'show', 'model:tiny', '--json')
    body = json.loads(r.stdout)[0]['body']
    assert body['source'] == f'{source}@{Hub.sha}' and body['hub']['commit'] == Hub.sha and body['licence'] == 'mit'
    names = [e['path'] for e in body['files']]
    assert 'README.md' in names and 'model.safetensors.index.json' in names
    assert not {'pytorch_model.bin', 'modeling_qwen.py'} & set(names)
    got = {e['path']: e['size'] for e in body['files']}
    assert got['tokenizer.json'] == (folders/'qwen3'/'tokenizer.json').stat().st_size
    assert not [a for a in hub.handler.asked if '.bin' in a or '.py' in a], 'what is not taken is not even fetched'


def test_without_a_network_it_says_what_to_do(tmp_path):
    for source, command in (('hf:Qwen/Qwen3-0.6B', 'hf download Qwen/Qwen3-0.6B'),
                            ('ms:Qwen/Qwen3-0.6B', 'modelscope download --model Qwen/Qwen3-0.6B')):
        r, seconds = _cli(tmp_path, None, 'add', 'model:q', source)
        assert r.returncode == 1 and 'Traceback' not in r.stderr and seconds < 20, (r.stderr, seconds)
        assert command in r.stderr and 'llmops add model:NAME FOLDER' in r.stderr
    r, _ = _cli(tmp_path, None, 'ls', '--json')
    assert json.loads(r.stdout) == []


def test_a_hub_without_safetensors_or_without_the_revision(ws, hub, monkeypatch, tmp_path):
    r, _ = _cli(tmp_path, hub, 'import-model', 'hf:org/tiny', '--revision', 'nope')
    assert r.returncode == 1 and "no revision 'nope'" in r.stderr, r.stderr
    r, _ = _cli(tmp_path, hub, 'import-model', 'hf:org/other')
    assert r.returncode == 1 and 'no model org/other' in r.stderr, r.stderr
    for p in hub.handler.root.glob('*.safetensors*'): p.unlink()
    r, _ = _cli(tmp_path, hub, 'import-model', 'hf:org/tiny')
    assert r.returncode == 1 and 'only .bin' in r.stderr, r.stderr


def test_offline_by_setting(ws, monkeypatch):
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    t = time.time()
    with pytest.raises(Failed, match='HF_HUB_OFFLINE is set'): ws.import_model('Qwen/Qwen3-0.6B')
    assert time.time()-t < 3 and ws.ls() == []


# --- card -------------------------------------------------------------------------------------------------------------

def test_the_card_is_read_by_the_hubs_own_reader(ws, folders):
    from huggingface_hub import ModelCard
    v = ws.import_model(str(folders/'glm4'), licence='My: "own" terms')
    for lang in ('en', 'zh'):
        c = ModelCard(ws.card(v, lang=lang))
        assert (c.data.license, c.data.license_name, c.data.library_name,
                c.data.pipeline_tag) == ('other', 'My: "own" terms', 'transformers', 'text-generation')
        assert c.data.tags == ['llmops-workbench', 'chatglm'] and str(v.digest) in c.text
        assert f'{v.body["parameters"]:,}' in c.text
