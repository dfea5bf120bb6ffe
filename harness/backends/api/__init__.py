"""The one client for hosted models: every OpenAI-compatible server is called through it.

    endpoint      which model, where, with which key; its part of keys and fingerprints
    wire          requests as bodies and keys; bodies as responses
    logprobs      log-probabilities in bodies
    served        whether another model answered
    responses     the file of stored responses
    capabilities  what a server supports, found out once
    limits        number and rate of attempts
    transport     one attempt through the openai SDK, and whether its reply is usable
    refusals      kinds of refusals, for any provider's words
    faults        which failures belong to a row and which end the run
    patience      whether failures in a row are the rows' or the server's
    arrivals      responses on their way to the store
    budget        money of calls in flight
    background    an event loop in its own thread
    client        workers, stored responses and cost of many calls at once
    batch         the same calls through a batch interface

`harness.backends.openai` is the backend on top of it. None of these modules imports the SDK before
the first call is sent.
"""
