"""Checks of answers: mathematics by equivalence, code by its tests, choices by their letter; and
the choice of training rows among checked candidates.

    operations    row operations that add `checks` to response rows
    mathematics   a child process around math-verify (equivalence)
    code          tests in a jail (jail, confinement, screening)
    letters       the letter that an answer to a multiple-choice question chooses
    candidates    one row a response with everything known of it; export as a data set
    selection     rules: which candidates become SFT rows and preference pairs

jail, confinement, screening and equivalence run in processes of their own and import nothing else
of this distribution.
"""
