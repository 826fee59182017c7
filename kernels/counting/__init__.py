"""What the compiled kernel executes, counted without a GPU: its machine code, interpreted thread by thread.

``listing`` reads nvdisasm's listing; ``machine`` runs it for all blocks at once (``operands``, ``integer``,
``floating``, ``memory`` are its instructions); ``timeline`` keeps each warp's chain of waits; ``counts`` says
what came out, by phase of the kernel (``phases``). Only ``compiled`` starts a compiler. For development and
reports: nothing of this runs where the kernel is used.
"""
