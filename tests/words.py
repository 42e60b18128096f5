"""Small words for small trainings: what the tests of stages, preferences, reinforcement and distillation share."""
import json

from llmops.verbs import files

WORDS = 'cat dog sun tree blue red milk bread rain snow hand foot door wall fish bird ship road lamp book'.split()
LEARN, NEW = WORDS[:14], WORDS[14:]
CAPITALS = '''def capitals(completions, **more):
    texts = [[c for c in x[0]["content"] if c.isalpha()] for x in completions]
    return [sum(c.isupper() for c in t)/len(t) if t else 0. for t in texts]
def wrong(completions, **more): return [1.]
def same(completions, **more): return [0.]*len(completions)
def raises(completions, **more): raise KeyError('gold')
'''


def ask(w): return [dict(role='user', content=f'Say the word {w}.')]
def says(text): return [dict(role='assistant', content=text)]
def pair(w): return dict(prompt=ask(w), chosen=says(w.upper()), rejected=says(w))
def prompt(w): return dict(prompt=ask(w), answer=w)


def put(ws, folder, name, rows, **more):
    "Rows as a dataset, by way of a file"
    (folder/f'{name}.jsonl').write_text('\n'.join(map(json.dumps, rows)))
    return ws.load(folder/f'{name}.jsonl', out=name, **more)


def rows_in(ws, v):
    "The rows of a dataset"
    from llmops.rows import rows
    return list(rows(ws.store, v))


def whole(ws, v):
    "A model with whole weights"
    return ws.merge(v, out=f'{v.name}-whole') if v.body['adapter'] else v


def opened(ws, v):
    "The network and the tokenizer of a model"
    from transformers import AutoModelForCausalLM, AutoTokenizer
    at = files(ws.store, v)
    return AutoModelForCausalLM.from_pretrained(at, dtype='float32'), AutoTokenizer.from_pretrained(at)
