"""The path by which multiple-choice and exact-match benchmarks run: lm-eval, driven by us.

    settings     what a run is asked to do, and the parameters of its stage
    catalogue    the lists of the papers; where built-in tasks stand; what lm-eval cannot give
    sources      from task names to loaded tasks; what cannot be loaded, and why
    questions    (in `harness.nano`) questions of the nano world in the shape that tasks read
    batches      which requests share a forward pass
    answers      a model whose answers are kept as they come, so that a killed run resumes
    samples      what lm-eval returns, as JSON rows
    running      the operation `lm_eval_run`
    cells        the operation `score_lm_eval`: rows to cells

lm-eval owns prompts, filters and metrics of a document; names, few-shot choices, hashes, caches,
intervals and tables are ours. None of its three caches is used: one leaves the model out of its
key, one the data, one is written into the installed package.
"""
