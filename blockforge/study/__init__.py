"""Architecture search: a study, its trials, the processes that run them, and what they leave behind."""
