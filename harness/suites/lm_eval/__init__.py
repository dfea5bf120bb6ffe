"""Multiple-choice and exact-match benchmarks, run by lm-eval.

    settings     settings of a run, and the parameters of its stage
    catalogue    benchmark lists of the papers; folders of built-in tasks; unavailable benchmarks
    sources      load tasks by name; reasons why a task cannot be loaded
    questions    (in `harness.nano`) questions of the nano world in the format that tasks read
    batches      assignment of requests to forward passes
    answers      wrapper of a model that stores every answer, so that a killed run resumes
    samples      results of lm-eval as JSON rows
    running      the operation `lm_eval_run`
    cells        the operation `score_lm_eval`: rows to cells
    measures     values and resamples of lm-eval's aggregations

Prompts, filters and document metrics are lm-eval's. Task names, few-shot settings, hashes, stored
answers, intervals and tables are Crucible's. None of lm-eval's three caches is used: the key of one
lacks the model, that of another the data, and the third is written into the installed package.
"""
