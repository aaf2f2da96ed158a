"""The SiliconFlow API in a process of its own: the same rules, a seeded service model, faults on demand.

It shares the rule table and the catalogue with the client, never its parsing: what the client reads was written here
by other code.
"""
