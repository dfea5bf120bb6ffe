"""The one client for hosted models: every OpenAI-compatible server is called through it.

    endpoint     which model, where, with which key; what stands in keys and fingerprints
    wire         requests as bodies and keys; bodies as responses
    responses    the file of stored responses
    limits       how many attempts are in flight, and how fast they go out
    transport    one attempt on the openai SDK; its verdict on what came back
    faults       which failures belong to a row and which end the run
    background   an event loop in a thread of its own
    client       workers, retries of capabilities, money: many calls at once
    batch        the same calls through a batch interface

`harness.backends.openai` makes a backend of it. None of these modules imports the SDK before the
first call that goes out.
"""
