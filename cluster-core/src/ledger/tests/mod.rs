//! Rules of the ledger, each as a script that a person can read.
