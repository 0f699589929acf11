//! Plays the cluster around a leader's machines, over a real ledger. Not here: what is expected of them.
