"""The blocks, objectives and data sets that come with blockforge: one file a family, found by being here."""
