"""A run of an empty ten-cell notebook: our runner, whole process and all, beside bare nbclient in this process.

The goal is a difference in seconds: what a recorded, killable run in a process of its own costs over the bare kernel.
"""
import statistics as st
import time

import nbformat


def measure(ctx) -> None:
    nb = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell('') for _ in range(10)],
        metadata={'kernelspec': {'name': 'python3', 'display_name': 'python3', 'language': 'python'}})
    path = ctx.folder/'empty.ipynb'
    nbformat.write(nb, path)

    def bare() -> float:
        from nbclient import NotebookClient
        t = time.perf_counter()
        NotebookClient(nbformat.read(path, 4), kernel_name='python3').execute()
        return time.perf_counter() - t

    def papermill() -> float:
        import papermill as pm
        t = time.perf_counter()
        pm.execute_notebook(path, ctx.folder/'out.ipynb', progress_bar=False, log_output=False)
        return time.perf_counter() - t

    run = ours(ctx.folder, path)
    ctx.turn('empty notebook of ten cells', {'llmops': run, 'nbclient': bare, 'papermill': papermill},
             rounds=max(3, ctx.rounds))
    t = ctx.times['empty notebook of ten cells']
    over = [a - b for a, b in zip(t['llmops'], t['nbclient'])]
    ctx.figure('a run over bare nbclient', st.median(over), .4, st.median(over) <= .4, 'below', unit=' s',
               spread=[round(min(over), 3), round(max(over), 3)])


def ours(folder, path):
    "An arm that starts a run of `path`, in a process and a kernel of its own, and waits for its end"
    from llmops.faces.notebook import run_template
    from llmops.settings import write_settings
    from llmops.verbs import open_workspace
    write_settings(folder/'ws')
    ws = open_workspace(folder/'ws')

    def arm() -> float:
        t = time.perf_counter()
        got = run_template(ws, str(path), wait=True)
        t = time.perf_counter() - t
        if got['status'] != 'done': raise RuntimeError(f'the run ended as {got}')
        return t
    return arm
