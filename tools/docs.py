"""Build the documentation, offline, into docs/_build/html.

Pages are docs/**/*.md and the notebooks; docs/_src holds copies of the notebooks without `#| …` lines and hidden cells,
and the reference, which is read off the code: verbs, views, kinds of event, ports, commands.
"""
import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCS, SRC, OUT = ROOT/'docs', ROOT/'docs/_src', ROOT/'docs/_build/html'
AREAS = {'index': 'The idea', '': 'The core', 'data': 'Data', 'models': 'Models', 'training': 'Training',
         'evaluation': 'Evaluation', 'serving': 'Serving', 'observability': 'Observability', 'faces': 'Faces',
         'engines': 'Engines', 'migrations': 'Migrations of the store'}


def page(nb: dict) -> dict:
    "The notebook as a reader wants it"
    cells = []
    for c in nb['cells']:
        text = ''.join(c['source'])
        marks = re.match(r'(?:#\|[^\n]*\n?)*', text)[0]
        if c['cell_type'] == 'code' and re.search(r'#\|\s*(hide|default_exp)\b', marks): continue
        text = (text[len(marks):].strip('\n') if c['cell_type'] == 'code'
                else re.sub(r'(\]\([\w./-]+)\.html(#[\w-]+)?\)', r'\1.ipynb\2)', text))
        if text.strip(): cells.append({**c, 'source': text})
    return {**nb, 'cells': cells}


def notebooks() -> dict[str, list[str]]:
    "Copy them; area → pages"
    found: dict[str, list[str]] = {}
    for p in sorted((ROOT/'nbs').rglob('*.ipynb')):
        rel = p.relative_to(ROOT/'nbs')
        if any(x.startswith(('.', '_')) for x in rel.parts): continue
        to = SRC/'nbs'/rel
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text(json.dumps(page(json.loads(p.read_text()))))
        where = 'index' if rel.as_posix() == 'index.ipynb' else rel.parent.as_posix().replace('.', '')
        found.setdefault(where, []).append(f'nbs/{rel.with_suffix("").as_posix()}')
    return found


def cell(s: object) -> str:
    return str(s).replace('|', '\\|').replace('\n', ' ').replace('<', '&lt;')


def spec_page(title: str, intro: str, specs: dict, call: str) -> str:
    out = [f'# {title}\n', intro + '\n']
    for name, s in sorted(specs.items(), key=lambda kv: (kv[1].area, kv[0])):
        given = ', '.join(p.name if p.required else f'{p.name}={p.default!r}' for p in s.params.values())
        out.append(f'## {name}\n\n{cell(s.doc)}' + (f'. Writes a {s.writes}.' if s.writes else '.')
                   + f'\n\n`{call}{name}({given})`\n')
        if s.params:
            out.append('| parameter | type | what it is |\n| --- | --- | --- |')
            for p in s.params.values():
                kind = (' or '.join(f'`{c}`' for c in p.choices) if p.choices
                        else (p.kind or 'any') + ' ref' if p.type == 'ref' else p.type)
                out.append(f'| `{p.name}` | {"list of " if p.many else ""}{kind}{"" if p.required else ", optional"} '
                           f'| {cell(p.doc)} |')
            out.append('')
    return '\n'.join(out)


def commands() -> str:
    from llmops.faces import cli
    out, todo = ['# Commands\n', 'All take `--json`: a list of objects, newest last.\n'], [('llmops', cli.parser(), '')]
    while todo:
        name, p, about = todo.pop(0)
        subs = [a for a in p._actions if isinstance(a, argparse._SubParsersAction)]
        if name != 'llmops':
            out.append(f'{"#"*(name.count(" ") + 1)} {name}\n\n{cell(about or p.description or "")}\n\n'
                       '| argument | what it is |\n| --- | --- |')
            for a in p._actions:
                if a.dest in ('help',) or isinstance(a, argparse._SubParsersAction): continue
                shown = ', '.join(a.option_strings) or (a.metavar if isinstance(a.metavar, str) else a.dest)
                out.append(f'| `{shown}` | {cell((a.help or "").replace("%(default)s", str(a.default)))} |')
            out.append('')
        for s in subs:
            shown = {c.dest: c.help for c in s._choices_actions}
            todo += [(f'{name} {n}', q, shown.get(n) or '') for n, q in s.choices.items()]
    return '\n'.join(out)


def reference() -> list[str]:
    "Pages read off the code"
    sys.path.insert(0, str(ROOT))
    from llmops import core, ports, verbs
    verbs.load_all()
    (SRC/'reference').mkdir(parents=True, exist_ok=True)
    def write(name: str, text: str) -> None: (SRC/'reference'/f'{name}.md').write_text(text + '\n')
    write('verbs', spec_page('Verbs', 'A verb makes a run: `ws = llmops.open()`, then as below. '
                             'Refs are written like `model:chat@3`.', verbs.VERBS, 'ws.'))
    write('views', spec_page('Views', 'A view reads the store and changes nothing.', verbs.VIEWS, 'ws.'))
    write('commands', commands())
    write('events', '# Kinds of event\n\nThe log holds these; current state follows from them.\n\n'
          '| kind | what it says | changes current state |\n| --- | --- | --- |\n' + '\n'.join(
              f'| `{k}` | {cell(e.doc)} | {"yes" if e.project else ""} |' for k, e in sorted(core.EVENTS.items())))
    rows = ['# Ports and engines\n', 'A port is what the product needs from something heavy; '
            'an engine does it and is found by entry point (`llmops.PORT`).\n']
    for name, port in sorted(ports.PORTS.items()):
        rows += [f'## {name}\n\n{cell(port.__doc__)}.\n', '| method | what it does |\n| --- | --- |']
        rows += [f'| `{m}` | {cell(f.__doc__)} |'
                 for m, f in vars(port).items() if callable(f) and not m.startswith('_')]
        rows += ['', 'Engines here: ' + (', '.join(f'`{e}`' for e in sorted(ports.engines(name))) or 'none') + '.\n']
    write('ports', '\n'.join(rows))
    return [f'reference/{n}' for n in ('verbs', 'views', 'commands', 'events', 'ports')]


def contents(nbs: dict[str, list[str]], ref: list[str]) -> None:
    "The page that leads to all of them"
    def tree(caption: str, pages: list[str]) -> str:
        return '```{toctree}\n:caption: ' + caption + '\n:maxdepth: 1\n\n' + '\n'.join(pages) + '\n```\n'
    order = [*AREAS, *sorted(set(nbs) - set(AREAS))]
    (SRC/'reference.md').write_text('# Reference\n\nRead off the code.\n\n' + tree('Reference', ref))
    (SRC/'source.md').write_text(
        '# The source, explained\n\nEvery module is a notebook: why, code, example, what must hold.\n\n'
        + '\n'.join(tree(AREAS.get(a, a.capitalize()), nbs[a]) for a in order if a in nbs))


def outside(folder: Path) -> list[str]:
    "Scripts, styles, pictures and frames that a page would fetch from elsewhere"
    pattern = re.compile(r'<(?:script|img|iframe|source)[^>]+src="(https?:)?//|<link[^>]+rel="(?:stylesheet|preload'
                         r'|preconnect|icon)[^>]+href="(https?:)?//|@import\s+url\(["\']?(https?:)?//')
    return [str(p.relative_to(folder))
            for p in sorted(folder.rglob('*.html')) if pattern.search(p.read_text(errors='replace'))]


def main() -> int:
    shutil.rmtree(SRC, ignore_errors=True)
    SRC.mkdir(parents=True)
    contents(notebooks(), reference())
    r = subprocess.run([Path(sys.executable).parent/'sphinx-build', '-W', '--keep-going', '-q', '-b', 'html', '-d',
                        DOCS/'_build/trees', DOCS, OUT])
    if r.returncode: return r.returncode
    if bad := outside(OUT):
        print('These pages fetch something from another host:', *bad, sep='\n  ')
        return 1
    print(f'docs/_build/html/index.html: {sum(1 for _ in OUT.rglob("*.html"))} pages, no request to other hosts')
    return 0


if __name__ == '__main__': sys.exit(main())
