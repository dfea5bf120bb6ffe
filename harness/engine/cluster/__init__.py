"""Execution of a plan on the nodes of a cluster, over one shared store.

    executor.py    ClusterExecutor: which stage runs where, and what becomes of its results
    jobs.py        a stage under way: computed whole by one worker, or batch by batch by several
    needs.py       what a stage needs of a node, from its estimate
    pools.py       Pool: workers somewhere; LocalPool: workers in threads of this process
    rays.py        RayPool: workers that are actors of Ray
    actors.py      what runs in the processes of Ray
    nodes.py       what a node must have: the same code and libraries, the store, working locks
    worker.py      Worker: computes a stage or batches of it, in a process of a node
    messages.py    stages as plain data

The process of the run keeps the journals of row stages and hands batches out, so that a worker
that dies costs the batches that it had not finished, and a run that dies continues from its
journals, on a cluster or without one. Batches are those of an inline run and are written in the
order of the input: the bytes of an artifact do not depend on the executor.
"""
