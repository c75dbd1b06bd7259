"""The programs of a simulated node: cfm, workers of ours, old workers, and the transfers between them.

They know the environment, and they know each other only by the requests that each answers
(`environment.services`).  Each tells a witness what it does, and does not know who that is.
"""
