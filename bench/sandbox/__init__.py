"""Programs that a model wrote, run where they can do no harm: no network, no files, no secrets, and hard limits.

Every program has a sandbox of its own, made of the kernel's namespaces: it sees the system's programs and libraries and
Python's own, read-only, an empty ``/tmp`` of bounded size, four devices, and no process but its own. It has no rights
and can gain none, cannot make further namespaces, and all its processes end with it, whatever they ignore or fork.

What this does not hold. A program shares the interpreter with the checks that judge it, as in the published
evaluations: that it passed is told with a token that no name of the program leads to, so that an early exit or a
printed word never passes, but code written to search the interpreter's frames for the token, or to replace what the
checks compare with, could pretend. Without cgroups the memory of all processes together is watched every 20 ms and not
capped in between, and what lies in files without a name (``memfd``) is bounded by the limits of
each process alone. Where bubblewrap is used by root, the number of processes is watched likewise. And the kernel itself
is trusted: there is no filter of system calls.
"""
