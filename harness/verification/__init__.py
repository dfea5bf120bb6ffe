"""Verification of answers, and selection of training rows among verified candidates.

    operations    row operations that add `checks` to response rows
    mathematics   equivalence of answers, by math-verify in a child process (equivalence)
    equal_answers equality of final answers (final_answers, answer_forms; final_answers_released)
    code          tests in a jail: tester, asserting, pytest_rules run the tests; answer runs the
                  code; proxies, remote and wire join them; jail, confinement, landlock and memory
                  confine both; screening, scripts and reasons prepare and report
    letters       the letter chosen in an answer to a multiple-choice question
    candidates    table with one row per response; export as a data set
    selection     rules that turn candidates into SFT rows and preference pairs

The modules of the jail and equivalence run in separate processes and import nothing else of this
distribution.
"""
