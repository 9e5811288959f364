"""Work spread over processes of this machine, or over a cluster of machines: one way for every command that can."""
