"""From what a user asks to rows: the plan, the run, its shards, and single explanations."""
