"""What the processes of `test_parallel` run."""
import os
import signal
import time


def several(job, tell, asked):
    "One training after another, by each kind of parallelism, in the same processes"
    from llmops.core import Failed
    from llmops.engines.trl_kinds import begin
    from llmops.engines.trl_work import work
    for name, more in job['each'].items():
        for k in [k for k in os.environ if k.startswith(('ACCELERATE_', 'FSDP_'))]: del os.environ[k]
        one = job | dict(out=f"{job['out']}/{name}", sizes=dict(dp=2)) | more
        if name != 'dropped': begin(one)
        try: work(one, lambda row, name=name: tell(row | dict(name=name)), asked)
        except Failed as e: tell(dict(name=name, failed=str(e)))


def fault(job, tell, asked):
    "Add the numbers of all processes, then do what `how` says on the second one"
    import torch
    import torch.distributed as dist

    from llmops.core import Invalid
    how, me = job['how'], int(os.environ['RANK'])
    from llmops.engines.trl_kinds import foreign
    assert not [k for k in os.environ if foreign(k) and k.startswith(('SLURM_', 'OMPI_', 'PMI_', 'ACCELERATE_'))]
    x = torch.tensor([me+1])
    dist.all_reduce(x)
    tell(dict(sum=int(x), world=dist.get_world_size(), pids=pids(dist)))
    if how == 'invalid': raise Invalid('Row 3 of the data is empty')
    if how == 'raise' and me == 1: raise ValueError('no such row')
    if how == 'kill' and me == 1: os.kill(os.getpid(), signal.SIGKILL)
    if how == 'hang' and me == 1: time.sleep(600)
    for i in range(2400 if how == 'long' else 0):
        if said := asked():
            tell(dict(said=said, step=i))
            return
        time.sleep(.05)
    dist.all_reduce(x)


def pids(dist) -> list[int]:
    "Of all processes and their launcher"
    out: list = [None]*dist.get_world_size()
    dist.all_gather_object(out, os.getpid())
    return [*out, os.getppid()]


def killed(job, tell, asked):
    "A training whose second process is killed after the first checkpoint, once"
    from llmops.engines import trl_work

    if not job['resume'] and os.environ['RANK'] == '1':
        import threading
        from pathlib import Path
        def wait():
            while not list(Path(job['work']).glob('checkpoint-*/kept.json')): time.sleep(.02)
            os.kill(os.getpid(), signal.SIGKILL)
        threading.Thread(target=wait, daemon=True).start()
    trl_work.work(job, tell, asked)
