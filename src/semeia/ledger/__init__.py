"""The claims ledger: what a paper says, put as numbers of matched arms, and how sure their difference is."""
