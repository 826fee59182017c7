"""What the compiled kernel executes, counted without a GPU: its machine code, interpreted thread by thread.

``listing`` reads nvdisasm's listing, ``decode`` makes its instructions ready (``operands``, ``integer``,
``bits``, ``floating``, ``memory``, ``lanes``; in the forms of ``modifiers``), ``machine`` runs them for all
blocks at once (``sides``: warps that came apart). ``timeline`` keeps each warp's chain of waits, ``record``
and ``counts`` what came out, by phase of the kernel (``phases``). Only ``compiled`` starts a compiler;
``launch`` and ``case`` lay one out. For development and reports: nothing of it runs where the kernel is used.
"""
