"""From stored rows to claims: statistics, verdicts, sections."""
