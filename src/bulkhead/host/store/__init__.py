"""The settings of a node on its disk: transactions, commits, history, migrations.

The API writes, the apply agent reads; both at boot and while the other works.
What holds whatever happens: a reader sees committed states only, a power cut
leaves the state before a commit or the one after it, and no file in here can
keep the node from booting.
"""
