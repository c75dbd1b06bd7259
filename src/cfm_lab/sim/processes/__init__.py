"""The programs of a simulated node: cfm, the workers of both kinds, and the transfers between them.

They know the environment, and each other only by the requests that each answers (`environment.services`).
Each tells its witness what it does; who checks that is in the layers above.
"""
