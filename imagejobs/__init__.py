"""The contract: what a job is, its states, and the ledger where jobs live."""
