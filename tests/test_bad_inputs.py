"Names, refs, paths and files that attackers write: refused with a sentence or kept, never outside the store."
import json
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import unicodedata
import zipfile
from pathlib import Path

import pytest

from llmops.core import KINDS, Denied, Failed, Invalid, LlmopsError, NotFound, Ref
from llmops.models.load import body_of

# Our own list: what breaks parsers, shells, paths, SQL, HTML, terminals and look-alike checks.
NAUGHTY = ['', ' ', '.', '..', '...', '/', '\\', '//', '-', '--', '-rf', '--help', '_', '*', '?', '~', '~root', '$HOME',
           '${HOME}', '%PATH%', '$(id)', '`id`', ';id', '|id', '&id', '>x',
           "'", '"', "' or 1=1 --", "'; drop table versions; --", '" or ""="', '1;select pg_sleep(9)', '%s%s%n', '%00',
           '{{7*7}}', '{0}', '{x.__class__}', '${7*7}', '<script>alert(1)</script>',
           '<img src=x onerror=alert(1)>', 'javascript:alert(1)', '../etc/passwd', '../../x', '..\\..\\x',
           '/etc/passwd', '/proc/self/root/etc/passwd', 'file:///etc/passwd', 'a/b', 'a\\b', 'a/../b',
           './a', 'a/.', '.hidden', 'a..b', 'a.', 'a ', ' a', 'a\tb', 'a\nb', 'a\rb', 'a\0b', '\0', 'a\x1b[31mb',
           'a\x7fb', 'C:\\x', 'C:x', '\\\\host\\share', '%2e%2e%2f', '..%2f', '..;/', '..%c0%af', 'a#b', 'a?b', 'a&b',
           'a=b', 'a:b', 'a@b', 'a,b', 'a;b', 'a"b', "a'b", 'a`b', 'a|b', 'a<b', 'a>b', 'a*b', 'a[b]', 'a{b}', 'a(b)',
           'a!b', 'a^b', 'a+b', 'a~b', 'a%b', 'a$b',
           '\u202egpj.exe', 'a\u200bb', 'a\u200db', '\ufeffa', 'a\u2028b', 'a\u00adb', '\u0430dmin', 'ch\u0430t',
           'pr\u03bfd', '\u0440rod', '\uff41\uff42', '\u2170', '\u212a', 'I\u0307', 'cafe\u0301', 'caf\u00e9', '\u1e9e',
           '\U0001f600', '\U0001d4b6', 'e\u0301'*40, '\u0e49'*50, 'Ω', 'ﬀ', 'ª', '①', '٣', '१', '\ud800', '\udfff',
           'a\ud800', '\uffff', '\ufdd0', 'x'*129, 'x'*256, 'x'*4096, '张'*129, '张三/李四', '张 三', '𠀀', '㐀', '々',
           'a'*100+'/'+'b'*100, 'null\0null', '\x00'*10, '\n', '\r\n', '\t', '\u3000', '\u00a0', 'con ', 'x\u0000.json',
           '=1+1', '@SUM(A1)', '+1', '-1', '1e9999', '0x10', '#', '%', 'a\\x00b']
ALSO_FINE = ['nul', 'CON', 'undefined', 'null', 'None', 'true', 'NaN', '0', '1', '007', 'a', 'chat-zh.v2', 'A_b-c.d',
             '中文', '模型-7b', 'x'*128, '张'*128, '__class__'[2:7], 'select', 'prod', 'latest']

PLAIN = {'0x10', '1e9999'} # Odd to people, plain to every program


def listing(ws):
    "Every version, every alias and other state of versions, every blob"
    return ([(r['ref'], r['digest'], r['aliases'], r['status']) for r in ws.ls(all=True)],
            sorted((d, s) for d, s, _ in ws.store.blobs.all()))


def outside(tmp_path):
    "Files beside the store"
    return sorted((str(p.relative_to(tmp_path)), p.lstat().st_size)
                  for p in tmp_path.rglob('*') if not p.is_relative_to(tmp_path/'ws'))


@pytest.fixture
def full(ws, tmp_path):
    "A workspace that holds something, and a file that must stay as it is"
    (tmp_path/'canary').write_text('do not touch')
    (tmp_path/'rows.jsonl').write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "c", "completion": "d"}\n')
    ws.load(tmp_path/'rows.jsonl')
    ws.alias('dataset:rows@1', 'prod')
    return ws


def test_names_are_refused_or_kept_exactly(full, tmp_path):
    kept = []
    for name in NAUGHTY+ALSO_FINE:
        before = listing(full)
        try: v = full.load(str(tmp_path/'rows.jsonl'), out=name)
        except (Invalid, NotFound) as e:
            assert listing(full) == before and len(str(e)) < 600 and str(e).isprintable(), (name, str(e))
            continue
        if name == '': continue # Then the file's name is taken
        assert v.name == name and full.store.get(Ref('dataset', name, '1')).digest == v.digest
        kept.append(name)
    assert set(ALSO_FINE) <= set(kept) and set(kept) <= set(ALSO_FINE) | PLAIN, set(kept)-set(ALSO_FINE)
    assert outside(tmp_path) == [('canary', 12), ('rows.jsonl', (tmp_path/'rows.jsonl').stat().st_size)]


def test_look_alikes_are_other_letters_and_refused():
    "No accepted name can be mistaken for another: one form in Unicode, Latin or Chinese letters only"
    for n in ALSO_FINE: assert unicodedata.normalize('NFKC', n) == n and str(Ref.parse(f'model:{n}')) == f'model:{n}'
    for n in ('ch\u0430t', 'pr\u03bfd', '\uff41', 'cafe\u0301', '\u212a', 'ﬀ', '①'):
        with pytest.raises(Invalid): Ref.parse(f'model:{n}')


@pytest.mark.parametrize('kind',
                         ['', 'Model', 'models', 'mod el', '../model', 'model\0', 'mоdel', 'x'*4096, '*', "model'--"])
def test_kinds_are_a_closed_list(full, kind):
    with pytest.raises(Invalid): Ref.parse(f'{kind}:rows')
    with pytest.raises((Invalid, NotFound)): full.ls(kind=kind) if kind else full.show(':rows')
    assert kind not in KINDS


def test_refs_and_tags(full):
    before = listing(full)
    for tag in NAUGHTY:
        for ref in (f'dataset:rows@{tag}', f'{tag}:rows', f'dataset:{tag}', tag):
            with pytest.raises((Invalid, NotFound)): full.show(ref)
        if tag not in PLAIN:
            with pytest.raises((Invalid, NotFound)): full.alias('dataset:rows', tag)
    for ref in ('dataset:rows@0', 'dataset:rows@2', 'dataset:rows@99999999999999999999', 'dataset:rows@-1',
                'dataset:rows@1.0', 'dataset:rows@1@1', 'dataset::rows', ':', '@', 'dataset', None, 5, [], {}):
        with pytest.raises((Invalid, NotFound)): full.show(ref)
    for alias in ('1', '7', 'latest', '007'):
        with pytest.raises(Invalid): full.alias('dataset:rows', alias)
    assert listing(full) == before


def test_text_is_kept_to_the_letter(full, tmp_path):
    "What is no name is free: rows, notes and licences come back as they were"
    texts = [t for t in NAUGHTY if t and not any(0xD800 <= ord(c) < 0xE000 for c in t)]
    (tmp_path/'odd.jsonl').write_text('\n'.join(json.dumps({'prompt': t, 'completion': t+'!'}) for t in texts))
    v = full.load(tmp_path/'odd.jsonl', licence='<b>&"\'')
    b = full.store.blobs.get(next(f['blob'] for f in v.body['files'] if f['path'] == 'rows.jsonl'))
    assert [json.loads(x)['messages'][0]['content'] for x in b.decode().split('\n') if x] == texts
    assert v.body['licence'] == '<b>&"\''
    half = tmp_path/'half.jsonl'
    half.write_text('{"prompt": "ok", "completion": "x"}\n{"prompt": "\\ud800", "completion": "x"}\n')
    assert full.load(half).body['counts'] == dict(read=2, rejected=1, left=0, rows=1)


PATHS = ['/no/such', '../nothing', 'a\0b', 'x'*5000, '/'.join(['d']*3000), '/dev/zero', '/dev/stdin', '/proc/self/mem',
         '/proc/self/environ/x', 'file:///etc/passwd', '\\\\host\\x', '', '.', '-', '~nobody-here/x', '\ud800']


@pytest.mark.parametrize('n', range(len(PATHS)))
def test_paths_that_lead_nowhere(full, tmp_path, n):
    before = listing(full)
    for f in (lambda p: full.load(p, out='x'), lambda p: full.import_model(p, out='x'),
              lambda p: full.add('dataset:x', p), lambda p: full.add('model:x', p)):
        with pytest.raises((Invalid, NotFound, Failed)) as e: f(PATHS[n])
        assert len(str(e.value)) < 1500
    assert listing(full) == before


def test_unknown_and_wrong_arguments_say_what_is_right(full, tmp_path):
    for args, why in ((dict(formt='auto'), "Did you mean 'format'"), (dict(format='alpaka'), "Did you mean 'alpaca'"),
                      (dict(rows='many'), 'whole number'), (dict(rows=-1), 'rows is -1'),
                      (dict(rows=1.5), 'whole number'), (dict(seed=True), 'whole number'), (dict(out=5), 'text'),
                      (dict(licence=['x']), 'text')):
        with pytest.raises(Invalid, match=why): full.load(tmp_path/'rows.jsonl', **args)
    for args, why in ((dict(test=0), 'share'), (dict(test=float('nan')), 'number'),
                      (dict(by='nothing'), "no column 'nothing'"), (dict(column='prompt\0'), 'NUL')):
        with pytest.raises(Invalid, match=why): full.split('rows', **args)
    with pytest.raises(Invalid, match='is a dataset, not a model'): full.evaluate('dataset:rows', data='dataset:rows')


# --- model folders ----------------------------------------------------------------------------------------------------

class Evil:
    "Leaves a mark when it is ever unpickled"
    def __init__(self, mark): self.mark = str(mark)
    def __reduce__(self): return (open, (self.mark, 'w'))


def weights(**tensors):
    raw = json.dumps(
        tensors or {'model.embed_tokens.weight': {'dtype': 'F32', 'shape': [4, 2], 'data_offsets': [0, 32]}}).encode()
    return struct.pack('<Q', len(raw))+raw+bytes(32)


@pytest.fixture
def model(tmp_path):
    "A small folder that is as it should be"
    (d := tmp_path/'m').mkdir()
    (d/'config.json').write_text(
        json.dumps({'model_type': 'qwen3', 'architectures': ['Qwen3ForCausalLM'], 'vocab_size': 4, 'hidden_size': 2}))
    (d/'model.safetensors').write_bytes(weights())
    (d/'generation_config.json').write_text('{"max_new_tokens": 5}')
    (d/'tokenizer_config.json').write_text('{"tokenizer_class": "PreTrainedTokenizerFast", '
                                           '"chat_template": "{{ messages }}"}')
    return d


def refused(ws, folder, why):
    before, mark = listing(ws), folder.parent/'owned'
    with pytest.raises((Invalid, NotFound)) as e: ws.import_model(str(folder), out='x')
    assert why in str(e.value), str(e.value)
    with pytest.raises(Invalid): body_of(None, folder) # Nothing is even tried with the store
    assert listing(ws) == before and not mark.exists()


def test_the_good_folder_is_taken(ws, model):
    assert str(ws.import_model(str(model))) == 'model:m@1'


REMOTE = [('config.json', {'auto_map': {'AutoModelForCausalLM': 'modeling.M'}}),
          ('config.json', {'auto_map': {'AutoConfig': 'evil/repo--configuration.C'}}),
          ('config.json', {'_attn_implementation_internal': 'evil/kernel'}),
          ('config.json', {'attn_implementation': 'evil/kernel'}),
          ('config.json', {'_attn_implementation': {'': 'evil/kernel:fn'}}),
          ('config.json', {'trust_remote_code': True}), ('config.json', {'custom_pipelines': {'x': {'impl': 'a.B'}}}),
          ('config.json', {'text_config': {'model_type': 'llama', 'auto_map': {}}}),
          ('config.json', {'rope_scaling': {'deep': [{'auto_map': {'A': 'b.C'}}]}}),
          ('config.json', {'_experts_implementation_internal': 'evil/x'}),
          ('config.json', {'kernel_config': {'RMSNorm': 'evil/k:R'}}),
          ('tokenizer_config.json', {'auto_map': {'AutoTokenizer': ['tok.T', None]}}),
          ('tokenizer_config.json', {'tokenizer_class': 'os.system'}),
          ('tokenizer_config.json', {'tokenizer_file': '/etc/passwd'}),
          ('tokenizer_config.json', {'init_inputs': ['/etc/passwd']}),
          ('special_tokens_map.json', {'vocab_file': '../../x'}),
          ('generation_config.json', {'custom_generate': 'evil/repo'}),
          ('generation_config.json', {'trust_remote_code': True}),
          ('generation_config.json', {'assistant_model': 'evil/repo'}),
          ('preprocessor_config.json', {'auto_map': {'AutoProcessor': 'p.P'}}),
          ('processor_config.json', {'auto_map': {'AutoProcessor': 'p.P'}}),
          ('adapter_config.json', {'auto_mapping': {'base_model_class': 'x', 'parent_library': 'subprocess'}}),
          ('adapter_config.json', {'corda_config': {'cache_file': 'x.pt'}}),
          ('adapter_config.json', {'peft_type': 'LORA', 'megatron_core': 'os'}),
          ('configuration.json', {'plugins': ['evil']}), ('configuration.json', {'allow_remote': True}),
          ('modules.json', [{'type': 'os.system'}]), ('chat_template.json', {'chat_template': 'x', '_auto_class': 'y'})]


@pytest.mark.parametrize('name,keys', REMOTE,
                         ids=[f'{n}-{next(iter(k)) if isinstance(k, dict) else "list"}' for n, k in REMOTE])
def test_settings_that_name_code(ws, model, name, keys):
    p = model/name
    old = json.loads(p.read_text()) if p.exists() else {}
    p.write_text(json.dumps({**old, **keys} if isinstance(keys, dict) else keys))
    refused(ws, model, name)


def _tar(p, mark):
    p.with_suffix('.x').write_bytes(pickle.dumps(Evil(mark)))
    with tarfile.open(p, 'w') as t: t.add(p.with_suffix('.x'), 'data.pkl')
    p.with_suffix('.x').unlink()


def _zip(p, mark):
    with zipfile.ZipFile(p, 'w') as z: z.writestr('archive/data.pkl', pickle.dumps(Evil(mark)))


NAMES = ['pytorch_model.bin', 'model.pt', 'model.pth', 'model.pkl', 'x.ckpt', 'x.npy', 'x.npz', 'x.joblib', 'x.h5',
         'x.keras', 'training_args.bin', 'optimizer.pt', 'X.PKL', 'x.safetensors.pkl',
         'model.safetensors', 'tokenizer.model', 'tokenizer.json', 'merges.txt', 'README.md', 'LICENSE',
         'chat_template.jinja', 'vocab.txt', 'weights', 'a.safetensors', 'x.gguf', 'figure.png']


@pytest.mark.parametrize('form', ['0', '1', '2', '3', '4', '5', 'zip', 'tar'])
def test_pickles_under_any_name(ws, model, tmp_path, form):
    "Protocols 0 to 5, in a zip as torch.save writes it, in a tar: refused, never opened by what runs them"
    mark = tmp_path/'owned'
    for name in NAMES:
        p = model/name
        old = p.read_bytes() if p.exists() else None
        if form == 'zip': _zip(p, mark)
        elif form == 'tar': _tar(p, mark)
        else: p.write_bytes(pickle.dumps(Evil(mark), int(form)))
        refused(ws, model, name)
        p.unlink() if old is None else p.write_bytes(old)


@pytest.mark.parametrize('name', ['modeling_x.py', 'x.pyc', 'lib.so', 'x.sh', 'setup.ipynb', 'x.js', 'a.whl',
                                  'hook.pth', 'x.exe'])
def test_programs(ws, model, name):
    (model/name).write_text('import os')
    refused(ws, model, name)


def test_links_lead_nowhere(ws, model, tmp_path):
    secret = tmp_path/'secret.txt'
    secret.write_text('secret')
    for target in (secret, '/etc/passwd', '../secret.txt', '/nowhere', 'config.json', tmp_path):
        link = model/'link.txt'
        link.symlink_to(target)
        refused(ws, model, 'link.txt is a link')
        link.unlink()
    os.rename(model/'model.safetensors', tmp_path/'w.safetensors')
    (model/'model.safetensors').symlink_to(tmp_path/'w.safetensors')
    refused(ws, model, 'cp -rL')
    (model/'model.safetensors').unlink()
    os.mkfifo(model/'model.safetensors')
    refused(ws, model, 'not a plain file')


@pytest.mark.parametrize('name', ['a\\b.json', 'a\nb.txt', 'a\x1bb.md', '\u202etxt.md', 'x'*201+'.md', 'Config.json',
                                  'README .md ', 'nul.txt', 'a:b.txt', '-x.md', 'a\u200b.md'])
def test_file_names(ws, model, name):
    (model/name).write_text('{}' if name.endswith('json') else 'x')
    refused(ws, model, '[names]')


def test_bytes_that_are_no_name(ws, model):
    with open(os.fsencode(model)+b'/\xff.md', 'w') as f: f.write('x')
    with pytest.raises(Invalid, match=r'\[names\]'): body_of(None, model)
    with pytest.raises(Invalid): ws.import_model(str(model))
    assert ws.ls() == []


HEADERS = {
    'duplicate tensor':
    b'{"w":{"dtype":"F32","shape":[8],"data_offsets":[0,32]},"w":{"dtype":"F32","shape":[8],"data_offsets":[0,32]}}',
    'not JSON': b'{"w":', 'NaN': b'{"w":NaN}', 'a list': b'[]',
    'blank first': b' {"w":{"dtype":"F32","shape":[8],"data_offsets":[0,32]}}',
    'name leads out': b'{"../../x":{"dtype":"F32","shape":[8],"data_offsets":[0,32]}}',
    'hole': b'{"w":{"dtype":"F32","shape":[4],"data_offsets":[16,32]}}', 'overlap':
    b'{"a":{"dtype":"F32","shape":[8],"data_offsets":[0,32]},"b":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}',
    'too large a shape':
    b'{"w":{"dtype":"F32","shape":[4611686018427387904,4611686018427387904],"data_offsets":[0,32]}}',
    'negative': b'{"w":{"dtype":"F32","shape":[-8],"data_offsets":[0,32]}}',
    'backwards': b'{"w":{"dtype":"F32","shape":[8],"data_offsets":[32,0]}}',
    'float offsets': b'{"w":{"dtype":"F32","shape":[8],"data_offsets":[0.0,32.0]}}',
    'strange dtype': b'{"w":{"dtype":"OBJ","shape":[8],"data_offsets":[0,32]}}',
    'more keys': b'{"w":{"dtype":"F32","shape":[8],"data_offsets":[0,32],"eval":"1"}}',
    'metadata': b'{"__metadata__":{"a":{}},"w":{"dtype":"F32","shape":[8],"data_offsets":[0,32]}}',
    'deep': b'{"w":'+b'['*100_000, 'not UTF-8': b'{"\xff":{"dtype":"F32","shape":[8],"data_offsets":[0,32]}}',
    'text in the length': b'{"w":{"dtype":"F32","shape":"8","data_offsets":[0,32]}}',
    'beyond the file': b'{"w":{"dtype":"F32","shape":[800],"data_offsets":[0,3200]}}',
    'sum of bits': b'{"w":{"dtype":"F4","shape":[3],"data_offsets":[0,32]}}'}


@pytest.mark.parametrize('what', HEADERS)
def test_safetensors_headers(ws, model, what):
    (model/'model.safetensors').write_bytes(struct.pack('<Q', len(HEADERS[what]))+HEADERS[what]+bytes(32))
    refused(ws, model, 'model.safetensors')


@pytest.mark.parametrize('cut', [0, 1, 7, 8, 9, 50, -33, -1])
def test_truncated_safetensors(ws, model, cut):
    b = (model/'model.safetensors').read_bytes()
    (model/'model.safetensors').write_bytes(b[:cut] if cut else b'')
    refused(ws, model, 'model.safetensors')


def test_lengths_that_lie(ws, model):
    for n in (2**63, 2**64-1, 2**40, 100_000_001, 10**6):
        (model/'model.safetensors').write_bytes(struct.pack('<Q', n)+b'{}')
        refused(ws, model, 'header')


def test_a_hundred_thousand_tensors_are_enough(ws, model):
    raw = json.dumps({f't{i}': {'dtype': 'F32', 'shape': [0], 'data_offsets': [0, 0]} for i in range(100_001)}).encode()
    (model/'model.safetensors').write_bytes(struct.pack('<Q', len(raw))+raw)
    refused(ws, model, '100,001 tensors')


@pytest.mark.parametrize('content,why',
                         [(b'', 'empty'), (b'{', 'line 1'), (b'{"a":1,"a":2}', 'comes twice'),
                          (b'\xff\xfe{\x00}\x00', 'UTF-8'), (b'['*200_000, 'nested'), (b'{"a":NaN}', 'not JSON'),
                          (b'{"a":1e999}', 'too large'), (b'[]', 'not an object'), (b'"x"', 'not an object'),
                          (b'{"vocab_size": '+b'9'*5000+b'}', 'digits'), (b'<html></html>', 'web page'),
                          (b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n', 'git lfs pull'),
                          (b'\xef\xbb\xbf{}', 'byte order mark')])
def test_json_files(ws, model, content, why):
    (model/'config.json').write_bytes(content)
    refused(ws, model, why)


# --- the same through a process of its own ----------------------------------------------------------------------------

def test_the_command_line_answers_with_a_sentence(tmp_path, model):
    exe = Path(sys.executable).parent/'llmops'
    env = {**os.environ, 'LLMOPS_STORE': str(tmp_path/'ws')}
    (model/'x.pkl').write_bytes(pickle.dumps(Evil(tmp_path/'owned')))
    for args in (['add', 'model:../x', str(model)], ['add', 'model:x', str(model)], ['show', 'model:nothing'],
                 ['add', 'dataset:x', str(tmp_path/'no.json')], ['ls', 'modles'], ['alias', 'model:x', '../prod']):
        r = subprocess.run([str(exe), *args], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert (r.returncode in (1, 2) and 'Traceback' not in r.stderr and r.stderr.strip()
                and not r.stdout), (args, r.stdout, r.stderr)
    assert not (tmp_path/'owned').exists() and not [p for p in tmp_path.iterdir() if p.name not in ('m', 'ws')]


def test_every_error_has_a_status_for_the_server():
    for e, s in ((Invalid, 400), (NotFound, 404), (Denied, 403), (Failed, 502)):
        assert issubclass(e, LlmopsError) and e.status == s


def test_random_damage_is_always_a_sentence(model, tmp_path):
    "Thousand mutants of a good folder: each is accepted and readable, or refused; nothing else is ever raised"
    import random
    import shutil

    from safetensors import SafetensorError, safe_open

    from llmops.modelfolder import check
    r = random.Random(7)
    names = sorted(p.name for p in model.iterdir())
    good = taken = 0
    for _ in range(1000):
        name = r.choice([*names, 'model.safetensors', 'model.safetensors'])
        p, how = model/name, r.randrange(4)
        old = p.read_bytes()
        b, at = bytearray(old), r.randrange(len(old))
        if how == 0: b[at] ^= 1 << r.randrange(8)
        elif how == 1: del b[at:at+r.randrange(1, 9)]
        elif how == 2: b[at:at] = r.randbytes(r.randrange(1, 9))
        else: b[at:at+4] = r.choice([b'\0'*4, b'\xff'*4, b'[[[[', b'{"a"', b'1e99'])
        p.write_bytes(b)
        rows = check(model)
        assert all(x['passed'] or (x['why'] and len(x['why']) < 2000) for x in rows)
        if all(x['passed'] for x in rows):
            good += 1
            if name == 'model.safetensors':
                try:
                    with safe_open(p, 'pt') as f: taken += bool([f.get_tensor(k) for k in f.keys()])
                except SafetensorError as e: pytest.fail(f'we took what the reference reader refuses: {e}')
        p.write_bytes(old)
    assert 50 < good < 600 and taken > 20, (good, taken)
    shutil.rmtree(model)
